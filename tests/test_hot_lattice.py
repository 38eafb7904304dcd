"""Hot words in the methods that search in a graph, against trying everything."""

import pytest
import torch

from egret.base.errors import EgretError
from egret.base.files import read_json, read_jsonl
from egret.decoding.hot_lattice import HotPhrases
from egret.decoding.lattice import best_paths
from egret.lang.lang import Lang
from folders import make_cuts, make_experiment, make_lang, random_log_probs
from graphs import LEXICON, make_graph
from language_models import make_lm
from test_hlg import HOMOPHONES, PREFIXES, WIDE, compile_case
from test_nbest import EVERYTHING, all_sequences

PHRASES = {"homo": "write 3\nright write 2.5\nwright wright -4\n", "prefix": "a 1\nab a 2\nabx -1.5\na bx 3\n"}


def bonus(phrases: str, words: list[str]) -> float:
    """The score of each phrase as often as it is in the words."""
    total = 0.0
    for line in phrases.splitlines():
        *phrase, score = line.split()
        total += float(score) * sum(words[at : at + len(phrase)] == phrase for at in range(len(words)))
    return total


@pytest.mark.k2
@pytest.mark.parametrize(("scale", "word_score"), [(1.0, 0.0), (0.4, 1.0)])
@pytest.mark.parametrize(("lexicon", "name"), [(HOMOPHONES, "homo"), (PREFIXES, "prefix")], ids=["homo", "prefix"])
def test_every_word_sequence_gets_the_scores_of_its_phrases(k2, tmp_path, lexicon, name, scale, word_score):
    from egret.decoding.graph import GraphDecoder

    case = compile_case(tmp_path, lexicon, "SIL", 2, seed=1)
    (tmp_path / "hot.txt").write_text(PHRASES[name])
    decoder = GraphDecoder(case.folder, case.lang, torch.device("cpu"))
    decoder.hot = HotPhrases(tmp_path / "hot.txt", case.lang)
    log_probs, lengths = random_log_probs(2, [4, 3], case.lang, spread=3.0)
    lists = best_paths(decoder.lattices(log_probs, lengths, WIDE, 0.7, 0.5), scale, word_score, EVERYTHING)
    for paths, frames, length in zip(lists, log_probs, [4, 3], strict=True):
        found = [(path.total(scale, word_score), [case.lang.word_names[word] for word in path.words]) for path in paths]
        wanted = [(score + bonus(PHRASES[name], words), words)
                  for score, words in all_sequences(case, frames[:length].tolist(), scale, word_score)]  # fmt: skip
        wanted.sort(key=lambda each: -each[0])
        assert [words for _, words in found] == [words for _, words in wanted]
        assert [score for score, _ in found] == pytest.approx([score for score, _ in wanted], abs=1e-4)


@pytest.fixture
def project(tmp_path):
    lang = make_lang(tmp_path / "lang", LEXICON, "SIL")
    make_experiment(tmp_path / "exp", lang, decoder="speller", ctc_weight=0.3)
    make_cuts(tmp_path / "feats/test.jsonl", ["a be", "c", "ab a", "be", "a"], [60, 12, 40, 33, 20], seed=2)
    (tmp_path / "hot.txt").write_text("bee 20\n")
    return tmp_path


HOT = ["--experiment", "exp", "--lang", "lang", "--out", "out", "--threads", "1", "--test-cuts", "feats/test.jsonl",
       "--graph", "graph", "--hlg.hot-words", "hot.txt"]  # fmt: skip


@pytest.mark.k2
def test_all_methods_of_the_graph_prefer_them_and_say_by_how_much(k2, run_step, project):
    make_graph(project / "graph", Lang.read(project / "lang"))
    methods = ["hlg_1best", "hlg_nbest", "attention_rescore"]
    beams = ["--hlg.search-beam", "100", "--hlg.output-beam", "50"]
    run_step("decode", project, *HOT, *beams, "--method", *methods, "--nbest.attention-scale", "0")
    rows = {method: list(read_jsonl(project / f"out/test_{method}/hyp.jsonl")) for method in methods}
    said = [word for row in rows["hlg_1best"] for word in row["words"]]
    assert "bee" in said and "be" not in said  # they sound alike
    for method in methods:
        for row, first in zip(rows[method], rows["hlg_1best"], strict=True):
            assert row["words"] == first["words"]
            assert row["score"].get("added", 0.0) == pytest.approx(20 * row["words"].count("bee"), abs=1e-6)


@pytest.mark.k2
@pytest.mark.parametrize("method", ["hlg_1best", "hlg_nbest", "neural_lm_rescore"])
def test_a_lattice_with_too_many_histories_is_marked_and_counted(k2, run_step, project, monkeypatch, method):
    monkeypatch.setattr("egret.decoding.grammar_walk.MOST", 8)
    (project / "hot.txt").write_text("a be 3\nab a 2\nbee c a 4\n")
    lang = Lang.read(project / "lang")
    make_graph(project / "graph", lang)
    make_lm(project / "lm", lang)
    neural = ["--neural-lm", "lm"] if method == "neural_lm_rescore" else []
    run_step("decode", project, *HOT, "--method", method, *neural)
    marked = [row["id"] for row in read_jsonl(project / f"out/test_{method}/hyp.jsonl") if row.get("histories_pruned")]
    assert read_json(project / f"out/test_{method}/params.json")["histories_pruned"] == len(marked) > 0


@pytest.mark.parametrize(
    ("method", "graph", "says"),
    [("ctc_greedy", True, "--hlg.hot-words is for methods"), ("hlg_1best", False, "--hlg.hot-words is for methods")],
)
def test_without_a_search_in_a_graph_they_are_wrong_usage(run_step, project, method, graph, says):
    (project / "graph").mkdir()
    given = HOT if graph else [*HOT[: HOT.index("--graph")], *HOT[HOT.index("--graph") + 2 :]]
    assert says in run_step("decode", project, *given, "--method", method, code=2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("zebra 3\na 2\nemu zebra 1", r"no word of .*lang has zebra \(lines 1, 3\), emu \(line 3\);"),
        ("a 1\na 2", "the same words as line 1"),
        ("a", "expected `word or"),
    ],
)
def test_what_cannot_be_heard_is_refused(project, text, says):
    (project / "hot.txt").write_text(text + "\n")
    with pytest.raises(EgretError, match=says):
        HotPhrases(project / "hot.txt", Lang.read(project / "lang"))
