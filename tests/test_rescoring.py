"""The methods that weigh n-best lists and lattices anew, as users call them."""

import random
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kaldialign
import pytest
import torch
import yaml

from egret.base.errors import EgretError
from egret.base.files import read_json, read_jsonl, sha256
from egret.decoding.hypotheses import Hypothesis
from egret.decoding.rescoring import decoder_scores
from egret.decoding.search import Encoded, Kept
from egret.graph import arcs
from egret.graph.arcs import ArcTable
from egret.graph.grammar import grammar
from egret.lang.lang import Lang
from egret.models.decoder import END
from egret.models.files import load_model
from egret.report.compare_text import score_rows
from egret.scoring.best import choose_best
from egret.scoring.tables import chosen_cell
from exhaustive import random_ngram
from folders import make_cuts, make_experiment, make_lang
from graphs import make_graph

LEXICON = [("a", ["x"]), ("ab", ["x", "y"]), ("be", ["y"]), ("c", ["z", "z"])]
FRAMES = [40, 12, 64, 13, 25]
TEXTS = ["a be", "c", "ab a c", "be", "be a"]
BASE = ["--experiment", "exp", "--lang", "lang", "--graph", "graph", "--out", "out", "--threads", "1"]
DEV = [*BASE, "--dev-cuts", "feats/dev.jsonl", "--test-cuts", "feats/test.jsonl"]
TEST = [*BASE, "--test-cuts", "feats/test.jsonl"]


@pytest.fixture
def project(k2, tmp_path):
    """A lang folder, a model with CTC and a decoder, a graph, its G and another, and features of dev and test."""
    lang = make_lang(tmp_path / "lang", LEXICON, "SIL")
    make_experiment(tmp_path / "exp", lang, decoder="speller", ctc_weight=0.3)
    make_graph(tmp_path / "graph", lang)
    save_grammar(tmp_path / "G_first.safetensors", lang, 2)  # the seed of make_graph
    save_grammar(tmp_path / "G_other.safetensors", lang, 5)
    make_cuts(tmp_path / "feats/dev.jsonl", TEXTS, FRAMES, seed=1)
    make_cuts(tmp_path / "feats/test.jsonl", TEXTS, FRAMES, seed=2)
    return tmp_path


def save_grammar(path: Path, lang: Lang, seed: int) -> None:
    ngram = random_ngram(random.Random(seed), lang.word_names[1:-3], 2)
    table = grammar(ngram.write(path.with_suffix(".arpa")), lang.folder / "words.txt", 2)
    save_table(path, lang, table)


def save_table(path: Path, lang: Lang, table: ArcTable) -> None:
    arcs.save(path, table, {"words": arcs.identity(lang)["words"], "order": 2})


@pytest.fixture
def decode(run_step, project):
    """Run the step in this process, in `project`, and return what it said."""

    def run(*arguments: str, code: int = 0) -> str:
        return run_step("decode", project, *arguments, code=code)

    return run


def rows(project: Path, folder: str) -> list[dict[str, Any]]:
    return list(read_jsonl(project / "out" / folder / "hyp.jsonl"))


def said(project: Path, folder: str) -> list[tuple]:
    return [(row["words"], row["tokens"], pytest.approx(row["score"]["total"], abs=1e-3))
            for row in rows(project, folder)]  # fmt: skip


def errors(row: dict[str, Any], text: str) -> int:
    return kaldialign.edit_distance(text.split(), row["words"])["total"]


# hlg_nbest


@pytest.mark.k2
def test_the_first_of_the_list_is_the_best_path(project, decode):
    decode(*TEST, "--method", "hlg_1best", "hlg_nbest", "--hlg.graph-scale", "0.7", "--hlg.word-score", "0.5")
    assert said(project, "test_hlg_nbest") == said(project, "test_hlg_1best")


@pytest.mark.k2
def test_the_total_is_the_weighted_sum_of_its_parts(project, decode):
    decode(*TEST, "--method", "hlg_nbest", "--hlg.graph-scale", "0.7", "--hlg.word-score", "0.5")
    for row in rows(project, "test_hlg_nbest"):
        score = row["score"]
        assert score["total"] == pytest.approx(score["acoustic"] + 0.7 * score["graph"] + 0.5 * len(row["words"]))


@pytest.mark.k2
def test_rows_list_as_many_hypotheses_as_asked_for_the_best_first_and_none_twice(project, decode):
    decode(*TEST, "--method", "hlg_nbest", "--nbest.keep", "3")
    for row in rows(project, "test_hlg_nbest"):
        scores = [each["score"]["total"] for each in row["nbest"]]
        assert scores == sorted(scores, reverse=True)
        assert len({tuple(each["words"]) for each in row["nbest"]}) == len(scores) == 3
        assert row["nbest"][0]["words"] == row["words"]


@pytest.mark.k2
def test_rows_list_nothing_unless_asked(project, decode):
    decode(*TEST, "--method", "hlg_nbest")
    assert not any("nbest" in row for row in rows(project, "test_hlg_nbest"))


@pytest.mark.k2
def test_the_list_is_as_long_as_asked(project, decode):
    decode(*TEST, "--method", "hlg_nbest", "--nbest.paths", "2", "--nbest.keep", "9")
    assert {len(row["nbest"]) for row in rows(project, "test_hlg_nbest")} == {2}


@pytest.mark.k2
def test_all_settings_weigh_what_one_search_found(project, decode, monkeypatch):
    from egret.decoding.graph import GraphDecoder

    searched = []
    found = GraphDecoder.lattices
    monkeypatch.setattr(GraphDecoder, "lattices", lambda *given: (searched.append(given[-2:]), found(*given))[1])
    methods = ["--method", "hlg_nbest", "lattice_rescore", "attention_rescore", "nbest_oracle"]
    settings = ["--hlg.graph-scale", "0.5", "1", "2", "--hlg.word-score", "0", "1", "--nbest.attention-scale", "0", "1"]
    decode(*DEV, *methods, *settings, "--rescore-lm", "G_other.safetensors")
    assert searched == [(1.0, 1.0)] * 2  # a batch of dev and one of test, with the middle of what is tried


def test_what_is_found_made_counts_as_if_it_had_been_made(monkeypatch):
    clock = iter([10.0, 13.0])
    monkeypatch.setattr("egret.decoding.search.time.monotonic", lambda: next(clock))
    kept = Kept()
    assert (kept.once("list", lambda: 7), kept.settle()) == (7, 0.0)
    assert (kept.once("list", lambda: 8), kept.settle(), kept.settle()) == (7, 3.0, 0.0)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--rescore-lm", "G_first.safetensors"], "--rescore-lm is for --method lattice_rescore, which is not asked"),
        (["--rescore-scale", "0.5"], "--rescore-scale is the share of --rescore-lm, which is not given"),
        (["--first-lm", "G_first.safetensors"], "--first-lm goes with --rescore-lm, which is not given"),
        (["--prefix.hot-words", "hot"], "--prefix.hot-words is for --method ctc_prefix_beam, which is not asked"),
    ],
)
def test_what_no_method_would_read_is_wrong_usage(project, decode, given, says):
    (project / "hot").write_text("a 1\n")
    assert says in decode(*TEST, "--method", "hlg_nbest", *given, code=2)


@pytest.mark.k2
@pytest.mark.parametrize("given", ["graph/HLG.safetensors", "lang/L.safetensors", "graph"])
def test_what_is_no_grammar_is_refused(project, decode, given):
    heard = decode(*TEST, "--method", "lattice_rescore", "--rescore-lm", given, code=1)
    assert f"{given}: no G of an n-gram model" in heard or f"{given}: not a whole graph file" in heard


@pytest.mark.k2
def test_histories_are_pruned_alike_alone_and_in_a_batch(project, decode, monkeypatch):
    monkeypatch.setattr("egret.decoding.grammar_walk.MOST", 6)
    found = []
    for seconds in ("200", "0.1"):
        decode(*TEST, "--method", "lattice_rescore", "--rescore-lm", "G_other.safetensors",
               "--max-duration", seconds, "--force")  # fmt: skip
        found.append(rows(project, "test_lattice_rescore"))
    assert any(row.get("histories_pruned") for row in found[0])
    assert [(row["words"], row.get("histories_pruned")) for row in found[0]] == [
        (row["words"], row.get("histories_pruned")) for row in found[1]
    ]


def test_without_k2_it_says_what_to_do(project, decode, monkeypatch):
    monkeypatch.setitem(sys.modules, "k2", None)
    monkeypatch.delitem(sys.modules, "egret.decoding.graph", raising=False)
    assert "--method hlg_nbest needs k2, which cannot be imported" in decode(*TEST, "--method", "hlg_nbest", code=1)


def only_blanks(project: Path, frames: list[int], whole: int) -> None:
    """A graph of blanks, as many as an utterance of `whole` frames has of the model's, and two to decode."""
    length = -(-whole // 2)
    rows_of = [(place, place + 1, 0, 0, 0.0) for place in range(length)] + [(length, length + 1, -1, -1, 0.0)]
    graph = arcs.from_rows(rows_of, final=length + 1)
    arcs.save(project / "graph/HLG.safetensors", graph, arcs.about(project / "graph/HLG.safetensors"))
    make_cuts(project / "feats/test.jsonl", ["a", "be"], frames)


FROM_LATTICES = ["hlg_nbest", "nbest_oracle", "lattice_rescore", "attention_rescore"]


def decode_one(decode, method: str) -> str:
    larger = ["--rescore-lm", "G_first.safetensors"] if method == "lattice_rescore" else []
    return decode(*TEST, "--method", method, *larger)


@pytest.mark.k2
@pytest.mark.parametrize("method", FROM_LATTICES)
@pytest.mark.parametrize("lost", [0, 1])
def test_an_utterance_without_a_path_gets_no_words(project, decode, method, lost):
    only_blanks(project, [40, 2] if lost == 0 else [2, 40], whole=2)
    assert f"no path for 1 of 2 utterances, which get no words (test-{lost})" in decode_one(decode, method)
    assert rows(project, f"test_{method}")[lost] == {
        "id": f"test-{lost}", "words": [], "tokens": [], "score": {"total": None}
    }  # fmt: skip


@pytest.mark.k2
@pytest.mark.parametrize("method", ["hlg_1best", *FROM_LATTICES])
@pytest.mark.parametrize("frames", [[10, 2], [2, 10]])
def test_where_no_path_ends_as_the_graph_the_best_of_the_others_is_taken_and_counted(project, decode, method, frames):
    only_blanks(project, frames, whole=10)
    said = decode_one(decode, method)
    short = frames.index(2)
    assert f"no path ends where a sentence may (wider beams may help), the best of the others was taken for 1 of 2 " \
           f"utterances (test-{short})" in said  # fmt: skip
    found = [(row["score"]["total"] is not None, row.get("partial")) for row in rows(project, f"test_{method}")]
    assert found[short] == (True, True) and found[1 - short] == (True, None)


# nbest_oracle


@pytest.mark.k2
def test_no_hypothesis_of_the_list_has_fewer_errors_than_the_oracle(project, decode):
    decode(*TEST, "--method", "nbest_oracle", "--nbest.keep", "100")
    for row, text in zip(rows(project, "test_nbest_oracle"), TEXTS, strict=True):
        assert errors(row, text) == min(errors(each, text) for each in row["nbest"])


@pytest.mark.k2
def test_of_hypotheses_with_as_few_errors_the_oracle_takes_the_best(project, decode):
    decode(*TEST, "--method", "nbest_oracle", "--nbest.keep", "100")
    for row, text in zip(rows(project, "test_nbest_oracle"), TEXTS, strict=True):
        nearest = [each for each in row["nbest"] if errors(each, text) == errors(row, text)]
        assert row["words"] == nearest[0]["words"] and len(row["nbest"]) > 5


def score_row(method: str, wer: float, **params: Any) -> dict[str, Any]:
    counts = dict.fromkeys(["cer", "ci95", "ref", "ins", "del", "sub", "missing", "ser", "rtf"], 1)
    counts["ci95"] = {"wer": [0, 100], "cer": [0, 100]}
    return {**counts, "method": method, "part": "dev", "wer": wer, "params": params, "chosen_on": "dev",
            "normaliser": "plain"}  # fmt: skip


def test_the_oracle_is_never_the_best_method():
    scores = [score_row("hlg_nbest", 9.0), score_row("nbest_oracle", 1.0, floor=True)]
    assert choose_best(scores, ["dev"], "", "wer")["method"] == "hlg_nbest"
    assert choose_best(scores, [], "", "wer")["method"] == "hlg_nbest"
    with pytest.raises(EgretError, match="--main-method nbest_oracle: a floor, which looks at the transcripts"):
        choose_best(scores, [], "nbest_oracle", "wer")


def test_tables_call_the_oracle_a_floor():
    scores = [score_row("hlg_nbest", 9.0), score_row("nbest_oracle", 1.0, floor=True)]
    assert [chosen_cell(score) for score in scores] == ["dev", "floor"]
    each = SimpleNamespace(scores=scores, best={"method": "hlg_nbest"})
    assert [row[1] for row in score_rows([each, each], "*")] == ["hlg_nbest", "nbest_oracle (floor)"]


def test_with_the_oracle_alone_there_is_no_best_method():
    with pytest.raises(EgretError, match="nothing but floors was decoded"):
        choose_best([score_row("nbest_oracle", 1.0, floor=True)], ["dev"], "", "wer")


@pytest.mark.k2
def test_the_oracle_is_marked_as_a_floor(project, decode):
    decode(*TEST, "--method", "nbest_oracle")
    assert read_json(project / "out/test_nbest_oracle/params.json")["params"]["floor"] is True


# lattice_rescore


@pytest.mark.k2
def test_with_the_g_of_the_first_pass_nothing_changes(project, decode):
    same = ["--rescore-lm", "G_first.safetensors", "--first-lm", "G_first.safetensors"]
    decode(*TEST, "--method", "hlg_1best", "lattice_rescore", *same, "--hlg.graph-scale", "0.7")
    assert said(project, "test_lattice_rescore") == said(project, "test_hlg_1best")


@pytest.mark.k2
def test_another_g_changes_what_is_heard(project, decode):
    other = ["--rescore-lm", "G_other.safetensors", "--first-lm", "G_first.safetensors"]
    decode(*TEST, "--method", "hlg_1best", "lattice_rescore", *other, "--hlg.graph-scale", "3")
    assert said(project, "test_lattice_rescore") != said(project, "test_hlg_1best")


OTHER = ["--rescore-lm", "G_other.safetensors", "--first-lm", "G_first.safetensors", "--hlg.graph-scale", "3"]


@pytest.mark.k2
def test_none_of_another_g_changes_nothing(project, decode):
    decode(*TEST, "--method", "hlg_1best", "lattice_rescore", *OTHER, "--rescore-scale", "0")
    assert said(project, "test_lattice_rescore") == said(project, "test_hlg_1best")


@pytest.mark.k2
@pytest.mark.parametrize("right", [0.0, 0.5, 1.0])
def test_the_share_of_another_g_with_the_fewest_errors_on_dev_is_taken(project, decode, right):
    rescored = ["--method", "lattice_rescore", *OTHER, "--rescore-scale"]
    found = {}
    for share in (0.0, 0.5, 1.0):
        decode(*BASE, "--test-cuts", "feats/dev.jsonl", *rescored, str(share))
        found[share] = [" ".join(row["words"]) for row in rows(project, "dev_lattice_rescore")]
    assert len(set(map(tuple, found.values()))) == 3
    make_cuts(project / "feats/dev.jsonl", found[right], FRAMES, seed=1)  # with this share there is no error
    decode(*DEV, *rescored, "0", "0.5", "1")
    assert read_json(project / "out/test_lattice_rescore/params.json")["params"]["rescore_scale"] == right


@pytest.mark.k2
def test_auto_rescores_with_what_is_given(project, decode):
    decode(*TEST, "--method", "auto", "--rescore-lm", "G_other.safetensors")
    made = {path.parent.name.removeprefix("test_") for path in (project / "out").glob("*/hyp.jsonl")}
    assert made == {"ctc_greedy", "attention_beam", "hlg_1best", "lattice_rescore", "attention_rescore"}


@pytest.mark.k2
@pytest.mark.parametrize(("share", "greedy"), [(0.0, False), (0.3, True)])
def test_auto_leaves_greedy_search_out_where_training_was_by_the_graph_alone(project, decode, share, greedy):
    path = project / "exp/config.yaml"
    config = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**config, "loss": "lf_mmi", "ctc_share": share}))
    decode(*TEST, "--method", "auto")
    assert (project / "out/test_ctc_greedy/hyp.jsonl").exists() == greedy


@pytest.mark.k2
def test_an_utterance_whose_sentences_the_larger_g_lacks_keeps_its_words_and_is_counted(project, decode):
    lang = Lang.read(project / "lang")
    word = lang.words["c"]
    longer = [(place, place + 1, word, word, 0.0) for place in range(99)]  # than any utterance
    save_table(project / "G_c.safetensors", lang, arcs.from_rows([*longer, (99, 100, -1, -1, 0.0)], 100))
    heard = decode(*TEST, "--method", "hlg_1best", "lattice_rescore", "--rescore-lm", "G_c.safetensors")
    assert "has no sentence of the lattice, the words stay as they were for 5 of 5 utterances (test-0" in heard
    assert read_json(project / "out/test_lattice_rescore/params.json")["fell_back"] == 5
    assert all(row["fell_back"] for row in rows(project, "test_lattice_rescore"))
    assert said(project, "test_lattice_rescore") == said(project, "test_hlg_1best")


@pytest.mark.k2
def test_an_utterance_with_too_many_histories_is_counted(project, decode, monkeypatch):
    monkeypatch.setattr("egret.decoding.grammar_walk.MOST", 8)
    heard = decode(*TEST, "--method", "lattice_rescore", "--rescore-lm", "G_other.safetensors")
    marked = [row["id"] for row in rows(project, "test_lattice_rescore") if row.get("histories_pruned")]
    assert read_json(project / "out/test_lattice_rescore/params.json")["histories_pruned"] == len(marked) > 0
    says = "too wide to follow every history (a lower --hlg.output-beam helps), the best ones were for"
    assert f"{says} {len(marked)} of 5 utterances" in heard


@pytest.mark.k2
def test_without_a_larger_g_it_is_wrong_usage(project, decode):
    heard = decode(*TEST, "--method", "lattice_rescore", code=2)
    assert "--method lattice_rescore needs --rescore-lm, G of a larger n-gram (steps/train_ngram.py --order 4)" in heard


@pytest.mark.k2
def test_a_missing_g_says_who_makes_it(project, decode):
    heard = decode(*TEST, "--method", "lattice_rescore", "--rescore-lm", "G_4gram.safetensors", code=1)
    assert "--rescore-lm G_4gram.safetensors: not there; it is made by steps/train_ngram.py --order 4" in heard


@pytest.mark.k2
@pytest.mark.parametrize("given", ["--rescore-lm", "--first-lm"])
def test_a_g_of_another_lexicon_is_refused(project, decode, given):
    save_grammar(project / "G_else.safetensors", make_lang(project / "other", [("q", ["x"]), *LEXICON[1:]], "SIL"), 1)
    files = {"--rescore-lm": "G_other.safetensors", "--first-lm": "G_first.safetensors", given: "G_else.safetensors"}
    heard = decode(*TEST, "--method", "lattice_rescore", *(each for pair in files.items() for each in pair), code=1)
    assert "G_else.safetensors: made for other words than lang/words.txt has; make G again" in heard


# attention_rescore


LATTICE = [*TEST, "--method", "lattice_rescore", "--rescore-lm", "G_other.safetensors"]


@pytest.mark.k2
@pytest.mark.parametrize(("given", "code"), [("G_first", 0), ("G_other", 1)])
def test_a_first_g_that_hlg_was_not_made_of_is_refused(project, decode, given, code):
    path = project / "graph/HLG.safetensors"
    made_of = {**arcs.about(path), "grammar": sha256(project / "G_first.safetensors")}
    arcs.save(path, arcs.load(path), made_of)
    said = decode(*LATTICE, "--first-lm", f"{given}.safetensors", code=code)
    assert ("HLG.safetensors was made of another G; give that one" in said) == bool(code)
    assert "does not say which G" not in said


@pytest.mark.k2
def test_of_a_graph_that_does_not_say_its_g_there_is_a_warning(project, decode):
    said = decode(*LATTICE, "--first-lm", "G_first.safetensors")
    assert "does not say which G it was made of" in said and "Run stage 3 again" in said


@pytest.mark.k2
def test_with_no_weight_the_decoder_changes_nothing(project, decode):
    decode(*TEST, "--method", "hlg_nbest", "attention_rescore", "--nbest.attention-scale", "0")
    assert said(project, "test_attention_rescore") == said(project, "test_hlg_nbest")


@pytest.mark.k2
def test_with_much_weight_the_decoder_chooses(project, decode):
    decode(*TEST, "--method", "attention_rescore", "--nbest.attention-scale", "1000", "--nbest.keep", "100")
    for row in rows(project, "test_attention_rescore"):
        scores = [each["score"]["attention"] for each in row["nbest"]]
        assert scores[0] == max(scores) and len(set(scores)) > 5


@pytest.mark.k2
def test_the_decoders_score_is_part_of_the_total(project, decode):
    decode(*TEST, "--method", "attention_rescore", "--nbest.attention-scale", "0.3")
    for row in rows(project, "test_attention_rescore"):
        score = row["score"]
        assert score["total"] == pytest.approx(score["acoustic"] + score["graph"] + 0.3 * score["attention"])


@pytest.mark.parametrize("decoder", ["speller", "transformer_decoder"])
def test_the_decoders_score_is_that_of_the_tokens_one_after_the_other(tmp_path, decoder):
    lang = make_lang(tmp_path / "lang", LEXICON, "SIL")
    make_experiment(tmp_path / "exp", lang, decoder=decoder, ctc_weight=0.3)
    decoder = load_model(tmp_path / "exp")[0].decoder
    x, lengths = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(1)), torch.tensor([9, 6])
    silence = lang.tokens["SIL"]
    texts = [["", "ab c", "a"], ["be be"]]
    lists = [[Hypothesis(text.split(), [silence, *lang.encode(text)], 0.0) for text in each] for each in texts]
    found = decoder_scores(decoder, Encoded(x, lengths, lengths, None), lists, lang)
    for place, each in enumerate(texts):
        for text, score in zip(each, found[place], strict=True):
            memory, state = decoder.begin(x[place : place + 1], lengths[place : place + 1], 1)
            given, total = END, 0.0
            for token in [*lang.encode(text), END]:
                logits, state = decoder.step(torch.tensor([[given]]), memory, state)
                total += float(logits.log_softmax(dim=2)[0, 0, token])
                given = token
            assert score == pytest.approx(total, abs=1e-4)


@pytest.mark.k2
def test_every_weight_of_the_decoder_is_tried_on_dev(project, decode):
    heard = decode(*DEV, "--method", "attention_rescore", "--nbest.attention-scale", "0", "0.5", "2")
    assert heard.count("dev: attention_rescore, attention_scale") == 3
    assert read_json(project / "out/test_attention_rescore/params.json")["params"]["lists"] == "hlg_nbest"
    assert "dev: chosen is attention_rescore, attention_scale" in heard


@pytest.mark.k2
def test_without_a_decoder_it_is_wrong_usage(project, decode):
    make_experiment(project / "exp", Lang.read(project / "lang"))
    heard = decode(*TEST, "--method", "attention_rescore", code=2)
    assert "--method attention_rescore: the model in exp has no attention decoder" in heard
