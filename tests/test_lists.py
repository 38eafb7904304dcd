"""N-best lists without a graph, chosen from by an attention decoder, a language model and the transcripts."""

from pathlib import Path
from typing import Any

import kaldialign
import pytest
import torch

from egret.base.files import read_json, read_jsonl
from egret.corpus.cuts import write_cuts
from egret.decoding import attention_beam, joint_beam, prefix_search
from egret.decoding.hypotheses import Hypothesis, Lists, row_of
from egret.decoding.rescoring import decoder_scores
from egret.decoding.search import Encoded
from egret.features.store import load_features
from egret.lang.lang import Lang
from egret.lm.vocabulary import Vocabulary
from egret.models.files import load_model
from egret.models.language_model import LanguageModel, token_scores
from folders import make_cuts, make_experiment
from language_models import make_lm

FRAMES = [40, 12, 64, 13, 25]
TEXTS = ["AB A", "B", "BA B AB", "A", "B A"]
FILES = ["--experiment", "exp", "--lang", "lang", "--out", "out", "--threads", "1", "--test-cuts", "feats/test.jsonl"]
NEURAL = ["--method", "neural_lm_rescore", "--neural-lm", "lm", "--nbest.neural-lm-scale", "2"]
BOTH, DECODER = {"decoder": "speller", "ctc_weight": 0.3}, {"decoder": "speller", "ctc_weight": 0.0}


@pytest.fixture
def lang(tmp_path, run_step) -> Lang:
    """A lang folder of characters."""
    cut = {"id": "c", "start": 0.0, "duration": 1.0, "channel": 0}
    said = {"id": "s", "recording_id": "r", "start": 0.0, "duration": 1.0, "text": " ".join(TEXTS)}
    write_cuts(tmp_path / "cuts.jsonl", [{**cut, "supervisions": [said]}])
    run_step(
        "prepare_lang", tmp_path, "--kind", "char", "--normaliser", "plain", "--cuts", "cuts.jsonl", "--out", "lang"
    )
    return Lang.read(tmp_path / "lang")


@pytest.fixture
def project(tmp_path, lang) -> Path:
    """A language model of characters, and features of dev and test."""
    make_lm(tmp_path / "lm", lang, "token", seed=4)
    for seed, part in enumerate(("dev", "test"), 1):
        make_cuts(tmp_path / f"feats/{part}.jsonl", TEXTS, FRAMES, seed=seed)
    return tmp_path


@pytest.fixture
def decode(run_step, project, lang):
    """Decode with a model of this shape, and return what was said."""

    def run(shape: dict[str, Any], *arguments: str, code: int = 0) -> str:
        make_experiment(project / "exp", lang, **shape)
        return run_step("decode", project, *FILES, *arguments, code=code)

    return run


def rows(project: Path, method: str) -> list[dict[str, Any]]:
    return list(read_jsonl(project / f"out/test_{method}/hyp.jsonl"))


def params(project: Path, method: str) -> dict[str, Any]:
    return read_json(project / f"out/test_{method}/params.json")["params"]


def lm_score(model: LanguageModel, lang: Lang, words: list[str]) -> float:
    return sum(token_scores(model, [Vocabulary(lang, "token").encode(words)])[0])


# Where the lists come from


@pytest.mark.parametrize(
    ("shape", "method", "source"),
    [
        (BOTH, "neural_lm_rescore", "joint_beam"),
        (DECODER, "neural_lm_rescore", "attention_beam"),
        ({}, "neural_lm_rescore", "ctc_prefix_beam"),
        (BOTH, "nbest_oracle", "joint_beam"),
        (BOTH, "attention_rescore", "ctc_prefix_beam"),
    ],
)
def test_it_is_said_where_the_lists_come_from(project, decode, shape, method, source):
    said = decode(shape, "--method", method, *(NEURAL[2:] if method == "neural_lm_rescore" else []))
    assert f"{method}: chooses from the n-best lists of {source}" in said
    assert params(project, method)["lists"] == source


@pytest.mark.parametrize(
    ("shape", "found"), [(BOTH, "joint_beam"), (DECODER, "attention_beam"), ({}, "ctc_prefix_beam")]
)
def test_without_a_weight_the_best_is_that_of_the_source(project, decode, shape, found):
    decode(shape, *NEURAL[:-1], "0", "--joint.length-penalty", "0.6")
    chosen = [row["words"] for row in rows(project, "neural_lm_rescore")]
    decode(shape, "--method", found, "--joint.length-penalty", "0.6")
    assert chosen == [row["words"] for row in rows(project, found)]


@pytest.mark.parametrize("shape", [BOTH, DECODER])
def test_it_is_the_best_of_the_whole_list_over_the_length_penalty(project, lang, decode, shape, monkeypatch):
    lists: list[list[Hypothesis]] = []
    find = Lists.find
    monkeypatch.setattr(Lists, "find", lambda *each: lists.extend(find(*each)) or find(*each))
    decode(shape, *NEURAL, "--joint.length-penalty", "0.7", "--attention.length-penalty", "0.7")
    model = make_lm(project / "lm", lang, "token", seed=4)
    longest_first = sorted(zip(FRAMES, rows(project, "neural_lm_rescore"), strict=True), key=lambda pair: -pair[0])
    for found, (_, row) in zip(lists, longest_first, strict=True):
        best = max((each.total + 2 * lm_score(model, lang, each.words)) / ((5 + len(each.tokens)) / 6) ** 0.7
                   for each in found)  # fmt: skip
        assert len(found) > 2 and row["score"]["normalised"] == pytest.approx(best, abs=1e-3)


def test_a_joint_list_is_found_once_and_weighed_with_every_weight(project, decode, monkeypatch):
    asked = []
    whole = joint_beam.joint_beam
    monkeypatch.setattr(joint_beam, "joint_beam", lambda *each: asked.append(each[-3:]) or whole(*each))
    said = decode(BOTH, *NEURAL, "0", "--dev-cuts", "feats/dev.jsonl", "--joint.ctc-weight", "0.2", "0.4", "0.9",
                  "--joint.length-penalty", "0", "1")  # fmt: skip
    assert said.count("dev: neural_lm_rescore, ctc_weight") == 12
    assert asked == [(0.4, 1.0, 8)] * 2  # a batch of dev and one of test, with the middle ones
    chosen = params(project, "neural_lm_rescore")
    assert (chosen["searched_with_ctc_weight"], chosen["searched_with_length_penalty"]) == (0.4, 1.0)
    for row in rows(project, "neural_lm_rescore"):
        score, weight = row["score"], chosen["ctc_weight"]
        total = weight * score["ctc"] + (1 - weight) * score["attention"]
        assert score["total"] == pytest.approx(total + chosen["neural_lm_scale"] * score["neural_lm"], abs=1e-4)


@pytest.mark.parametrize(
    ("module", "name", "shape", "methods"),
    [
        (attention_beam, "attention_beam", DECODER, ["nbest_oracle", *NEURAL[1:]]),
        (prefix_search, "prefix_beam", BOTH, ["ctc_prefix_beam", "attention_rescore"]),
    ],
)
def test_methods_that_find_the_same_search_once(decode, monkeypatch, module, name, shape, methods):
    asked = []
    whole = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *each: asked.append(1) or whole(*each))
    decode(shape, "--method", *methods)
    assert len(asked) == 1


# attention_rescore


@pytest.mark.parametrize("scale", [0.0, 0.5, 20.0])
def test_the_decoder_chooses_from_what_ctc_finds(project, lang, decode, scale):
    decode(BOTH, "--method", "ctc_prefix_beam", "attention_rescore", "--nbest.attention-scale", str(scale),
           "--nbest.keep", "16")  # fmt: skip
    model = load_model(project / "exp")[0]
    pairs = zip(rows(project, "attention_rescore"), rows(project, "ctc_prefix_beam"), strict=True)
    for cut, (row, listed) in zip(read_jsonl(project / "feats/test.jsonl"), pairs, strict=True):
        features = torch.from_numpy(load_features(cut)).unsqueeze(0)
        frames = torch.tensor([features.shape[1]])
        with torch.no_grad():
            x, lengths, _ = model.encode(features, frames)
        found = [Hypothesis(each["words"], [], each["score"]["ctc"]) for each in listed["nbest"]]
        [scores] = decoder_scores(model.decoder, Encoded(x, lengths, frames, None), [found], lang)
        totals = [each.total + scale * score for each, score in zip(found, scores, strict=True)]
        assert row["score"]["total"] == pytest.approx(max(totals), abs=1e-3)
        assert row["words"] == found[totals.index(max(totals))].words


def test_every_weight_of_the_decoder_is_tried_on_dev_with_every_word_score(project, decode):
    said = decode(BOTH, "--method", "attention_rescore", "--dev-cuts", "feats/dev.jsonl", "--prefix.word-score", "0",
                  "1", "--nbest.attention-scale", "0", "0.5", "2")  # fmt: skip
    assert said.count("dev: attention_rescore, word_score") == 6
    for row in rows(project, "attention_rescore"):
        score, chosen = row["score"], params(project, "attention_rescore")
        total = score["ctc"] + chosen["attention_scale"] * score["attention"] + chosen["word_score"] * len(row["words"])
        assert score["total"] == pytest.approx(total)


# nbest_oracle


@pytest.mark.parametrize("shape", [BOTH, DECODER, {}])
def test_no_hypothesis_of_the_list_has_fewer_errors_than_the_oracle(project, decode, shape):
    decode(shape, "--method", "nbest_oracle", "--nbest.keep", "100")
    assert params(project, "nbest_oracle")["floor"] is True
    for row, text in zip(rows(project, "nbest_oracle"), TEXTS, strict=True):
        errors = [kaldialign.edit_distance(text.split(), each["words"])["total"] for each in [row, *row["nbest"]]]
        assert len(errors) > 2 and errors[0] == min(errors)


# A graph, and what goes with it, with a model that has no CTC


def test_a_graph_is_not_read_without_ctc_nor_said_to_be(project, decode):
    (project / "graph").mkdir()
    said = decode(DECODER, "--graph", "graph", *NEURAL)
    assert "--graph graph: not read, --method neural_lm_rescore searches in none" in said
    about = read_json(project / "out/test_neural_lm_rescore/params.json")
    assert about["params"]["lists"] == "attention_beam" and about["files"] == {"neural_lm": "lm"}


def test_a_method_that_searches_in_a_graph_is_not_said_to_search_in_none(project, decode):
    (project / "graph").mkdir()
    said = decode(DECODER, "--graph", "graph", "--method", "hlg_1best", code=2)
    assert "has no CTC" in said and "not read" not in said


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--hlg.hot-words", "hot"], "--hlg.hot-words is for methods that search in a graph"),
        (["--nbest.paths", "9"], "--nbest.paths is for methods that choose from lists of a graph's lattices"),
        (["--hlg.searcher", "kaldi-decoder"], "--hlg.searcher is for methods that search in a graph"),
    ],
)
def test_what_goes_with_a_graph_is_refused_without_ctc(project, decode, given, says):
    (project / "graph").mkdir()
    (project / "hot").write_text("A 1\n")
    said = decode(DECODER, "--graph", "graph", *NEURAL, *given, code=2)
    assert says in said and "the model has no CTC, by which a graph is searched" in said


@pytest.mark.parametrize("method", ["nbest_oracle", "attention_rescore", "neural_lm_rescore"])
def test_lists_of_a_graph_need_a_searcher_that_makes_lattices(project, decode, method):
    (project / "graph").mkdir()
    given = ["--method", method, *(NEURAL[2:] if method == "neural_lm_rescore" else [])]
    said = decode(BOTH, "--graph", "graph", "--hlg.searcher", "kaldi-decoder", *given, code=2)
    assert f"--method {method}: --hlg.searcher kaldi-decoder finds the best path only" in said


# Which methods there are


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ({}, {"ctc_greedy", "neural_lm_rescore"}),
        (BOTH, {"ctc_greedy", "attention_beam", "attention_rescore", "neural_lm_rescore"}),
        (DECODER, {"attention_beam", "neural_lm_rescore"}),
    ],
)
def test_auto_rescores_without_a_graph(project, decode, shape, wanted):
    decode(shape, "--method", "auto", "--neural-lm", "lm")
    assert {path.name.removeprefix("test_") for path in (project / "out").glob("test_*")} == wanted


# Rows


def test_a_row_makes_no_more_hypotheses_than_it_lists(lang):
    found = (Hypothesis([word], [], -1.0) for word in "AABC")
    assert [each["words"] for each in row_of(lang, found, 2)["nbest"]] == [["A"], ["B"]]
    assert [each.words for each in found] == [["C"]]


@pytest.mark.parametrize("method", ["attention_beam", "joint_beam"])
def test_a_list_is_in_the_order_of_its_normalised_scores(project, decode, method):
    decode(BOTH, "--method", method, "--nbest.keep", "8", f"--{method.removesuffix('_beam')}.length-penalty", "0.8")
    for row in rows(project, method):
        scores = [each["score"] for each in row["nbest"]]
        normalised = [each["normalised"] for each in scores]
        assert normalised == sorted(normalised, reverse=True) and row["score"] == scores[0]
        divisor = ((5 + len(row["tokens"])) / 6) ** 0.8
        assert row["score"]["normalised"] == pytest.approx(row["score"]["total"] / divisor, rel=1e-5)
