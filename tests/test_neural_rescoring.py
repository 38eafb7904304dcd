"""neural_lm_rescore: n-best lists weighed with a neural language model, as users call it."""

from pathlib import Path
from typing import Any

import pytest

from egret.base.files import read_json, read_jsonl
from egret.lang.lang import Lang
from egret.lm.vocabulary import Vocabulary, usual_unit
from egret.models import language_model
from egret.models.language_model import LanguageModel, token_scores
from folders import make_cuts, make_experiment, make_lang, step_module
from graphs import make_graph
from language_models import make_lm

LEXICON = [("a", ["x"]), ("ab", ["x", "y"]), ("be", ["y"]), ("c", ["z", "z"])]
FRAMES = [40, 12, 64, 13, 25]
TEXTS = ["a be", "c", "ab a c", "be", "be a"]
FILES = ["--experiment", "exp", "--lang", "lang", "--out", "out", "--threads", "1", "--test-cuts", "feats/test.jsonl"]
GRAPH = ["--graph", "graph"]
NEURAL = ["--method", "neural_lm_rescore", "--neural-lm", "lm"]


def make_project(folder: Path) -> Lang:
    """A lang folder, a model with CTC, a word language model, and features of dev and test."""
    lang = make_lang(folder / "lang", LEXICON, "SIL")
    make_experiment(folder / "exp", lang)
    make_lm(folder / "lm", lang)
    make_cuts(folder / "feats/dev.jsonl", TEXTS, FRAMES, seed=1)
    make_cuts(folder / "feats/test.jsonl", TEXTS, FRAMES, seed=2)
    return lang


@pytest.fixture
def project(tmp_path: Path) -> Path:
    make_project(tmp_path)
    return tmp_path


@pytest.fixture
def with_graph(k2, tmp_path: Path) -> Path:
    make_graph(tmp_path / "graph", make_project(tmp_path))
    return tmp_path


@pytest.fixture
def decode(run_step, tmp_path: Path):
    def run(*arguments: str, code: int = 0) -> str:
        return run_step("decode", tmp_path, *FILES, *arguments, code=code)

    return run


def rows(project: Path, folder: str) -> list[dict[str, Any]]:
    return list(read_jsonl(project / "out" / folder / "hyp.jsonl"))


def words(project: Path, folder: str) -> list[list[str]]:
    return [row["words"] for row in rows(project, folder)]


def lm_scores(project: Path, sentences: list[list[str]], model: LanguageModel, unit: Any = "word") -> list[float]:
    vocabulary = Vocabulary(Lang.read(project / "lang"), unit)
    return [sum(token_scores(model, [vocabulary.encode(sentence)])[0]) for sentence in sentences]


@pytest.mark.k2
def test_with_no_weight_the_language_model_changes_nothing(with_graph, decode):
    decode(*GRAPH, "--method", "neural_lm_rescore", "hlg_nbest", "--neural-lm", "lm", "--nbest.neural-lm-scale", "0")
    assert words(with_graph, "test_neural_lm_rescore") == words(with_graph, "test_hlg_nbest")


@pytest.mark.k2
@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_it_is_the_best_of_the_whole_list_scored_one_by_one(with_graph, decode, scale):
    model = make_lm(with_graph / "lm", Lang.read(with_graph / "lang"), seed=4)
    weights = ["--hlg.graph-scale", "0.7", "--hlg.word-score", "0.4", "--nbest.neural-lm-scale", str(scale)]
    decode(*GRAPH, "--method", "neural_lm_rescore", "hlg_nbest", "--neural-lm", "lm", *weights, "--nbest.keep", "100")
    chosen = []
    for row in rows(with_graph, "test_hlg_nbest"):
        listed = row["nbest"]
        scores = lm_scores(with_graph, [each["words"] for each in listed], model)
        totals = [each["score"]["total"] + scale * score for each, score in zip(listed, scores, strict=True)]
        chosen.append((listed[totals.index(max(totals))]["words"], pytest.approx(max(totals), abs=1e-3)))
    found = [(row["words"], row["score"]["total"]) for row in rows(with_graph, "test_neural_lm_rescore")]
    assert found == chosen
    assert words(with_graph, "test_neural_lm_rescore") != words(with_graph, "test_hlg_nbest")


@pytest.mark.k2
def test_the_list_comes_in_the_order_of_the_new_scores_and_has_them_by_source(with_graph, decode):
    decode(*GRAPH, *NEURAL, "--hlg.graph-scale", "0.7", "--nbest.neural-lm-scale", "2", "--nbest.keep", "5")
    for row in rows(with_graph, "test_neural_lm_rescore"):
        scores = [each["score"] for each in row["nbest"]]
        assert row["words"] == row["nbest"][0]["words"] and row["score"] == scores[0]
        assert [each["total"] for each in scores] == sorted((each["total"] for each in scores), reverse=True)
        for each in scores:
            total = each["acoustic"] + 0.7 * each["graph"] + 2 * each["neural_lm"]
            assert each["total"] == pytest.approx(total, abs=1e-6)


@pytest.mark.k2
def test_an_attention_decoder_has_its_say_too(with_graph, decode):
    make_experiment(with_graph / "exp", Lang.read(with_graph / "lang"), decoder="speller", ctc_weight=0.3)
    weights = ["--nbest.neural-lm-scale", "2", "--nbest.attention-scale", "0.3", "--hlg.graph-scale", "0.7"]
    decode(*GRAPH, *NEURAL, *weights)
    for row in rows(with_graph, "test_neural_lm_rescore"):
        score = row["score"]
        total = score["acoustic"] + 0.7 * score["graph"] + 0.3 * score["attention"] + 2 * score["neural_lm"]
        assert score["total"] == pytest.approx(total, abs=1e-5)


@pytest.mark.k2
def test_every_pair_of_weights_is_tried_on_dev_and_a_list_is_scored_once(with_graph, decode, monkeypatch):
    asked = []
    whole = language_model.token_scores
    monkeypatch.setattr("egret.decoding.neural_rescoring.token_scores", lambda *each: asked.append(1) or whole(*each))
    sweep = ["--hlg.graph-scale", "0.5", "1", "--nbest.neural-lm-scale", "0", "0.5", "1"]
    said = decode(*GRAPH, *NEURAL, *sweep, "--dev-cuts", "feats/dev.jsonl")
    assert said.count("dev: neural_lm_rescore, graph_scale") == 6 and "dev: chosen is neural_lm_rescore" in said
    params = read_json(with_graph / "out/test_neural_lm_rescore/params.json")
    assert params["chosen_on"] == "dev" and {"graph_scale", "neural_lm_scale"} <= params["params"].keys()
    assert len(asked) == 2  # a batch of dev, a batch of test


@pytest.mark.k2
def test_an_utterance_without_a_path_gets_no_words(with_graph, decode):
    make_cuts(with_graph / "feats/test.jsonl", ["a", "be a"], [1, 40])
    said = decode(*GRAPH, *NEURAL, "--hlg.output-beam", "0.1", "--nbest.keep", "1")
    assert len(rows(with_graph, "test_neural_lm_rescore")) == 2
    for row in rows(with_graph, "test_neural_lm_rescore"):
        assert bool(row["nbest"]) == (row["score"]["total"] is not None)
    assert "Traceback" not in said


# Without a graph


def test_without_a_graph_lists_come_from_ctc(project, decode):
    model = make_lm(project / "lm", Lang.read(project / "lang"), seed=4)
    decode("--method", "neural_lm_rescore", "ctc_prefix_beam", "--neural-lm", "lm", "--nbest.neural-lm-scale", "2",
           "--nbest.keep", "16")  # fmt: skip
    for row, listed in zip(*(rows(project, f"test_{name}") for name in ("neural_lm_rescore", "ctc_prefix_beam")),
                           strict=True):  # fmt: skip
        scores = lm_scores(project, [each["words"] for each in listed["nbest"]], model)
        totals = [each["score"]["ctc"] + 2 * score for each, score in zip(listed["nbest"], scores, strict=True)]
        assert row["score"]["total"] == pytest.approx(max(totals), abs=1e-3)
        assert row["words"] == listed["nbest"][totals.index(max(totals))]["words"]


def test_scores_of_words_are_added(project, decode):
    decode(*NEURAL, "--prefix.word-score", "1.5")
    for row in rows(project, "test_neural_lm_rescore"):
        parts = row["score"]
        assert parts["total"] == pytest.approx(parts["ctc"] + 0.5 * parts["neural_lm"] + 1.5 * len(row["words"]))


def test_a_model_of_tokens_scores_the_spelling_of_the_words(project, decode):
    model = make_lm(project / "lm", Lang.read(project / "lang"), unit="token")
    decode(*NEURAL)
    found = rows(project, "test_neural_lm_rescore")
    scores = lm_scores(project, [row["words"] for row in found], model, "token")
    assert [row["score"]["neural_lm"] for row in found] == pytest.approx(scores, abs=1e-4)


# What cannot be


@pytest.mark.parametrize("unit", ["word", "token"])
def test_a_language_model_of_another_lang_folder_is_refused(project, decode, unit):
    make_lm(project / "lm", make_lang(project / "other", [("q", ["x", "w"])]), unit)
    assert f"--neural-lm lm: counts other {unit}s than lang has; train one with" in decode(*NEURAL, code=1)


def test_an_acoustic_model_is_refused(project, decode):
    said = decode("--method", "neural_lm_rescore", "--neural-lm", "exp", code=1)
    assert "exp/config.yaml: does not describe a neural language model" in said


def test_a_language_model_is_no_experiment_to_decode(project, decode):
    assert "does not describe a trained model" in decode("--experiment", "lm", "--method", "ctc_greedy", code=1)


def test_without_a_language_model_it_is_wrong_usage(project, decode):
    said = decode("--method", "neural_lm_rescore", code=2)
    assert "--method neural_lm_rescore needs --neural-lm, the folder of a language model (steps/train_lm.py)" in said


def test_a_language_model_that_no_method_reads_is_wrong_usage(project, decode):
    said = decode("--method", "ctc_greedy", "--neural-lm", "lm", code=2)
    assert "--neural-lm is for --method neural_lm_rescore, which is not asked for" in said


def test_a_weight_of_no_language_model_is_wrong_usage(project, decode):
    said = decode("--method", "ctc_greedy", "--nbest.neural-lm-scale", "1", code=2)
    assert "--nbest.neural-lm-scale is the weight of --neural-lm, which is not given" in said


def test_all_takes_it_where_there_is_a_language_model(project, decode):
    decode("--method", "all", "--neural-lm", "lm")
    assert (project / "out/test_neural_lm_rescore").is_dir()
    decode("--method", "all")
    assert not (project / "out/test_neural_lm_rescore").exists()


# Vocabularies


def test_words_are_counted_where_units_need_a_lexicon_else_tokens(tmp_path):
    lang = make_lang(tmp_path / "phones", LEXICON)
    (tmp_path / "words.txt").write_text("ab a b\nba b a\n")
    prepare = step_module("prepare_lang")
    prepare.run(prepare.Options(kind="char", lexicon=tmp_path / "words.txt", out=tmp_path / "chars"))
    assert (usual_unit(lang), usual_unit(Lang.read(tmp_path / "chars"))) == ("word", "token")


def test_words_are_numbered_behind_the_special_tokens_and_others_are_unknown(tmp_path):
    lang = make_lang(tmp_path / "lang", [("<UNK>", ["u"]), *LEXICON], oov="<UNK>")
    vocabulary = Vocabulary(lang, "word")
    assert vocabulary.names == ["<blk>", "<sos/eos>", "<unk>", "a", "ab", "be", "c"]
    assert vocabulary.encode(["c", "owl", "<UNK>", "a"]) == [6, 2, 2, 3]


def test_words_and_tokens_of_the_same_names_are_told_apart(tmp_path):
    lang = make_lang(tmp_path / "lang", [("x", ["x"])])
    assert Vocabulary(lang, "word").digest != Vocabulary(lang, "token").digest
