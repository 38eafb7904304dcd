"""HLG: what is searched in it is what trying everything finds, and what kaldi-decoder finds.

Back-off arcs of G are ordinary epsilon arcs in HLG. The best path is therefore compared with the best of all paths,
needless back-offs among them, and not with the probability that the n-gram model itself gives to the words.
"""

import random
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from egret.base.files import read_json, sha256
from egret.decoding.options import HlgOptions
from egret.graph import arcs
from egret.graph.arcs import ArcTable
from egret.graph.estimate import estimate
from egret.graph.grammar import grammar
from egret.graph.topology import Topology, is_modified
from egret.lang.lang import Lang
from egret.lang.symbols import BACKOFF
from exhaustive import Lexicon, Ngram, alignments, random_ngram, sayings, word_sequences
from folders import make_lang, random_log_probs
from graphs import outputs

FRAMES = 5
WIDE = HlgOptions(search_beam=1e4, output_beam=1e4, max_active=1_000_000)
PROBABILITY = 0.3  # of silence: other than one half, so that silence and no silence differ

HOMOPHONES = [("right", ["x", "y"]), ("write", ["x", "y"]), ("wright", ["x", "y"])]
PREFIXES = [("a", ["x"]), ("ab", ["x", "y"]), ("abx", ["x", "y", "x"]), ("bx", ["y", "x"])]
VARIANTS = [("a", ["x"]), ("a", ["y", "x"]), ("a", ["x", "x"]), ("b", ["y"]), ("b", ["x"])]
REPEATS = [("a", ["x", "x"]), ("b", ["x"]), ("c", ["y", "y"])]
PAUSES = [("a", ["x"]), ("uh", ["SIL"]), ("b", ["x", "SIL"])]  # silence is part of words, too


def random_lexicon(rng: random.Random) -> Lexicon:
    """Two to four words of one or two pronunciations of two phones: homophones and prefixes all over."""
    entries = [(f"w{word}", rng.choices("xy", k=rng.choice([1, 1, 2, 2, 3])))
               for word in range(rng.randint(2, 4)) for _ in range(rng.randint(1, 2))]  # fmt: skip
    return [entry for place, entry in enumerate(entries) if entry not in entries[:place]]


@dataclass
class Case:
    """A lexicon, an n-gram model and the HLG of both in `folder`."""

    folder: Path
    lexicon: Lexicon
    silence: str | None
    ngram: Ngram
    lang: Lang
    graph: ArcTable
    report: dict


def compile_case(
    folder: Path, lexicon: Lexicon, silence: str | None, order: int, seed: int, topology: Topology = "auto"
) -> Case:
    from egret.graph.hlg import compile_hlg

    lang = make_lang(folder / "lang", lexicon, silence, PROBABILITY)
    ngram = random_ngram(random.Random(seed), list(dict.fromkeys(word for word, _ in lexicon)), order)
    g = grammar(ngram.write(folder / "lm.arpa"), lang.folder / "words.txt", order)
    lexicon_graph = arcs.load(lang.folder / "L_disambig.safetensors")
    units, first = len(lang.units), lang.first_disambiguation
    graph, report = compile_hlg(lexicon_graph, g, units, first, lang.words[BACKOFF], topology)
    arcs.save(folder / "HLG.safetensors", graph, arcs.identity(lang))
    return Case(folder, lexicon, silence, ngram, lang, graph, report)


def best_of_all(case: Case, frames: list[list[float]], scale: float = 1.0, merge: bool = True) -> tuple[float, list]:
    """The highest score of all words, pronunciations, silences, back-offs and alignments, and its words."""
    units = case.lang.tokens
    spoken = [units[name] for name in case.lang.units[3:]]
    acoustic = {tokens: max(scores) for tokens, scores in alignments(frames, spoken, merge).items()}
    best: tuple[float, list] = (float("-inf"), [])
    for words in word_sequences(case.lexicon, len(frames)):
        language = case.ngram.score(words)
        for tokens, pauses in sayings(case.lexicon, words, case.silence, PROBABILITY):
            heard = acoustic.get(tuple(units[token] for token in tokens))
            if heard is not None:
                best = max(best, (heard + scale * (language + pauses), words))
    return best


def decode(case: Case, log_probs: torch.Tensor, lengths: torch.Tensor, scale: float = 1.0) -> list[tuple]:
    """(score, words) of each utterance, with beams so wide that nothing is pruned."""
    from egret.decoding.graph import GraphDecoder

    decoder = GraphDecoder(case.folder, case.lang, torch.device("cpu"))
    found = decoder.decode(log_probs, lengths, WIDE, scale)
    return [(best.score, [case.lang.word_names[word] for word in best.words]) for best in found]


def assert_exact(case: Case, seed: int, scale: float = 1.0, merge: bool = True) -> None:
    log_probs, lengths = random_log_probs(seed, [FRAMES, FRAMES - 1, FRAMES], case.lang, spread=3.0)
    found = decode(case, log_probs, lengths, scale)
    for row, length, (score, words) in zip(log_probs, lengths.tolist(), found, strict=True):
        expected, said = best_of_all(case, row[:length].tolist(), scale, merge)
        assert words == said
        assert score == pytest.approx(expected, abs=1e-4)


@pytest.mark.k2
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("silence", [None, "SIL"])
@pytest.mark.parametrize("lexicon", [HOMOPHONES, PREFIXES, VARIANTS, REPEATS], ids=["homo", "prefix", "variant", "rep"])
def test_the_best_path_is_the_best_of_all(k2, tmp_path, lexicon, silence, order):
    assert_exact(compile_case(tmp_path, lexicon, silence, order, seed=1), seed=2)


@pytest.mark.k2
@pytest.mark.parametrize("seed", range(10))
def test_the_best_path_is_the_best_of_all_in_random_lexicons(k2, tmp_path, seed):
    rng = random.Random(seed)
    case = compile_case(tmp_path, random_lexicon(rng), rng.choice([None, "SIL"]), rng.randint(1, 2), seed)
    assert_exact(case, seed, scale=rng.choice([0.3, 1.0, 2.0]))


@pytest.mark.k2
def test_silence_may_be_part_of_words(k2, tmp_path):
    assert_exact(compile_case(tmp_path, PAUSES, "SIL", 2, seed=3), seed=4)


@pytest.mark.k2
def test_of_homophones_the_language_model_takes_the_likelier(k2, tmp_path):
    case = compile_case(tmp_path, HOMOPHONES, None, 1, seed=1)
    log_probs = torch.full((1, 3, len(case.lang.units)), -20.0)
    for frame, token in enumerate(["x", "x", "y"]):
        log_probs[0, frame, case.lang.tokens[token]] = 0.0
    likeliest = max(["right", "write", "wright"], key=lambda word: case.ngram.unigrams[word])
    [(score, words)] = decode(case, log_probs, torch.tensor([3]))
    assert words == [likeliest]
    assert score == pytest.approx(case.ngram.score(words), abs=1e-5)


@pytest.mark.k2
def test_without_any_scale_only_the_model_counts_and_with_much_only_the_graph(k2, tmp_path):
    case = compile_case(tmp_path, PREFIXES, None, 2, seed=5)
    log_probs, lengths = random_log_probs(6, [FRAMES], case.lang)
    for scale in (1e-6, 1e3):
        expected, words = best_of_all(case, log_probs[0].tolist(), scale)
        assert decode(case, log_probs, lengths, scale) == [(pytest.approx(expected, rel=1e-5), words)]
    assert best_of_all(case, log_probs[0].tolist(), 1e-6)[1] != best_of_all(case, log_probs[0].tolist(), 1e3)[1]


@pytest.mark.k2
@pytest.mark.parametrize("lexicon", [REPEATS, VARIANTS], ids=["rep", "variant"])
def test_with_the_modified_topology_equal_neighbours_need_no_blank(k2, tmp_path, lexicon):
    case = compile_case(tmp_path, lexicon, "SIL", 2, seed=7, topology="modified")
    assert_exact(case, seed=8, merge=False)
    log_probs, lengths = random_log_probs(8, [2], case.lang)
    log_probs[:, :, case.lang.tokens["x"]] = 5.0  # x x within two frames: with blanks it would not fit
    [(score, _)] = decode(case, log_probs, lengths)
    assert score == pytest.approx(best_of_all(case, log_probs[0].tolist(), merge=False)[0], abs=1e-4)


@pytest.mark.parametrize(
    ("topology", "units", "modified"),
    [("auto", 500, False), ("auto", 501, True), ("standard", 5000, False), ("modified", 5, True)],
)
def test_the_topology_is_modified_where_units_are_many_or_it_is_said(topology, units, modified):
    assert is_modified(topology, units) is modified


@pytest.mark.k2
@pytest.mark.parametrize(("scale", "word_score", "sure"), [(1.0, 0.0, 1.0), (0.5, 1.5, 0.6)])
@pytest.mark.parametrize("lexicon", [HOMOPHONES, PREFIXES, VARIANTS], ids=["homo", "prefix", "variant"])
def test_kaldi_decoder_finds_the_same_in_longer_utterances(k2, tmp_path, lexicon, scale, word_score, sure):
    pytest.importorskip("kaldi_decoder")
    pytest.importorskip("kaldifst", reason="kaldi-decoder takes its graphs from kaldifst")
    from egret.decoding.graph import GraphDecoder
    from egret.decoding.kaldi import KaldiDecoder

    case = compile_case(tmp_path, lexicon, "SIL", 2, seed=9)
    log_probs, lengths = random_log_probs(10, [40, 25, 0], case.lang, spread=3.0)
    given = log_probs, lengths, replace(WIDE, sure_blank=sure), scale, word_score
    ours = GraphDecoder(case.folder, case.lang, torch.device("cpu")).decode(*given)
    theirs = KaldiDecoder(case.folder, case.lang).decode(*given)
    assert [(best.words, best.tokens) for best in theirs] == [(best.words, best.tokens) for best in ours]
    assert [best.score for best in theirs] == pytest.approx([best.score for best in ours], abs=1e-3)
    assert len(ours[0].words) > 2


# The table


@pytest.mark.k2
def test_hlg_reads_units_and_says_words(k2, tmp_path):
    case = compile_case(tmp_path, PREFIXES, "SIL", 2, seed=11)
    assert set(case.graph.arcs[:, 2].tolist()) == {-1, 0, *(case.lang.tokens[unit] for unit in ("x", "y", "SIL"))}
    said = {word for arc in range(case.graph.num_arcs) for word in outputs(case.graph, arc)}
    assert said == {case.lang.words[word] for word, _ in PREFIXES}
    assert (case.report["states"], case.report["arcs"]) == (case.graph.num_states, case.graph.num_arcs)


@pytest.mark.k2
def test_words_share_the_arcs_of_their_common_beginning(k2, tmp_path):
    case = compile_case(tmp_path, [("a", ["x", "y", "x"]), ("b", ["x", "y", "y"])], None, 1, seed=14)
    assert (case.report["lg_states"], case.report["lg_arcs"]) == (4, 5)  # x, y, then x or y; and the end


@pytest.mark.k2
def test_every_state_is_on_a_way_from_the_start_to_the_end(k2, tmp_path):
    case = compile_case(tmp_path, VARIANTS, "SIL", 2, seed=12)
    pairs = case.graph.arcs[:, :2].tolist()
    for start, edges in ((0, pairs), (case.graph.num_states - 1, [(d, s) for s, d in pairs])):
        seen, queue = {start}, [start]
        for state in queue:
            new = {destination for source, destination in edges if source == state} - seen
            seen |= new
            queue += new
        assert seen == set(range(case.graph.num_states))


@pytest.mark.k2
def test_the_same_inputs_give_the_same_graph(k2, tmp_path):
    first = compile_case(tmp_path / "1", VARIANTS, "SIL", 2, seed=13).folder / "HLG.safetensors"
    again = compile_case(tmp_path / "2", VARIANTS, "SIL", 2, seed=13).folder / "HLG.safetensors"
    assert first.read_bytes() == again.read_bytes()


# steps/compile_graph.py


@pytest.fixture
def project(tmp_path):
    """A lang folder and a G for it."""
    lang = make_lang(tmp_path / "lang", PREFIXES, "SIL", PROBABILITY)
    ngram = random_ngram(random.Random(1), [word for word, _ in PREFIXES], 2)
    table = grammar(ngram.write(tmp_path / "lm.arpa"), lang.folder / "words.txt", 2)
    arcs.save(tmp_path / "G.safetensors", table, {"words": arcs.identity(lang)["words"], "order": 2})
    return tmp_path


COMPILE = ("--lang", "lang", "--grammar", "G.safetensors", "--out", "graph")


@pytest.mark.k2
def test_the_step_leaves_graph_and_report(k2, run_step, project):
    said = run_step("compile_graph", project, *COMPILE)
    graph, report = arcs.load(project / "graph/HLG.safetensors"), read_json(project / "graph/report.json")
    assert graph.num_arcs == report["arcs"] > 0 and report["peak_memory_mib"] > 0
    made_of = {**arcs.identity(Lang.read(project / "lang")), "grammar": sha256(project / "G.safetensors")}
    assert arcs.about(project / "graph/HLG.safetensors") == made_of
    assert f"HLG: {graph.num_states} states, {graph.num_arcs} arcs" in said
    assert "up to date" in run_step("compile_graph", project, *COMPILE)


def test_the_estimate_grows_with_the_grammar_and_the_words_and_with_the_topology():
    def table(arcs_of_words: int, others: int) -> ArcTable:
        rows = [(0, 1, 5, 7, 0.0)] * arcs_of_words + [(0, 1, 5, 0, 0.0)] * others
        return ArcTable(np.array([row[:3] for row in rows]), np.zeros(len(rows)), np.array([row[3] for row in rows]))

    small = estimate(table(100, 400), table(2000, 0), 40, modified=False)
    assert small.arcs == 2000 * 5
    assert estimate(table(100, 900), table(2000, 0), 40, modified=False).arcs == 2 * small.arcs
    assert estimate(table(100, 400), table(4000, 0), 40, modified=False).arcs == 2 * small.arcs
    many = [estimate(table(100, 400), table(2000, 0), 20_000, modified).memory for modified in (False, True)]
    assert many[0] > 1e9 > 10 * many[1]  # the standard topology has the square of the units


@pytest.mark.k2
def test_what_does_not_fit_the_memory_is_refused_before_it_is_composed(k2, run_step, project, monkeypatch):
    monkeypatch.setattr("egret.graph.estimate.available", lambda: 1000)
    said = run_step("compile_graph", project, *COMPILE, code=1)
    assert "GB of memory to make, and 0.0 GB are free; prune the n-gram model" in said and "LG:" not in said
    assert "--topology modified" in said
    said = run_step("compile_graph", project, *COMPILE, "--check-memory", "false")
    assert "prune the n-gram model" in said and "HLG: " in said


@pytest.mark.k2
def test_the_report_has_the_estimate_beside_what_came_of_it(k2, run_step, project):
    run_step("compile_graph", project, *COMPILE)
    report = read_json(project / "graph/report.json")
    assert 0.2 < report["estimated_arcs"] / report["arcs"] < 5 and report["estimated_memory_mib"] >= 0
    assert (report["topology"], report["units"]) == ("standard", len(Lang.read(project / "lang").units))


@pytest.mark.k2
def test_the_step_takes_the_topology_that_is_asked_for(k2, run_step, project):
    sizes = {}
    for topology in ("auto", "standard", "modified"):
        run_step("compile_graph", project, *COMPILE, "--topology", topology)
        sizes[topology] = read_json(project / "graph/report.json")["arcs"]
    assert sizes["auto"] == sizes["standard"] != sizes["modified"]
    assert "expected one of 'auto', 'standard'" in run_step(
        "compile_graph", project, *COMPILE, "--topology", "x", code=2
    )


@pytest.mark.k2
@pytest.mark.parametrize("other", ["b", "zz"])  # the same number of words
def test_a_grammar_of_other_words_is_refused(k2, run_step, project, other):
    lexicon = [(other, ["x"]), *PREFIXES[1:]]
    make_lang(project / "lang", lexicon, "SIL", PROBABILITY)
    said = run_step("compile_graph", project, *COMPILE, code=1)
    assert "G.safetensors: made for other words than lang/words.txt has; make G again" in said


@pytest.mark.k2
def test_a_grammar_of_unknown_origin_with_too_many_words_is_refused(k2, run_step, project):
    arcs.save(project / "G.safetensors", arcs.load(project / "G.safetensors"))
    make_lang(project / "lang", PREFIXES[:1])
    assert "is not in lang/words.txt; make G again" in run_step("compile_graph", project, *COMPILE, code=1)


@pytest.mark.k2
def test_a_grammar_without_a_sentence_of_the_lexicon_is_refused(k2, run_step, project):
    lang = Lang.read(project / "lang")
    start = lang.words["<s>"]  # no word of L
    arcs.save(project / "G.safetensors", arcs.from_rows([(0, 1, start, start, 0.0), (1, 2, -1, -1, 0.0)], 2))
    assert "no sentence passes through both L and G" in run_step("compile_graph", project, *COMPILE, code=1)


@pytest.mark.k2
def test_a_truncated_grammar_is_refused(k2, run_step, project):
    whole = (project / "G.safetensors").read_bytes()
    (project / "G.safetensors").write_bytes(whole[:-8])
    assert "G.safetensors: not a whole graph file" in run_step("compile_graph", project, *COMPILE, code=1)


def test_without_k2_the_step_says_what_to_do(run_step, project, monkeypatch):
    monkeypatch.setitem(sys.modules, "k2", None)
    monkeypatch.delitem(sys.modules, "egret.graph.hlg", raising=False)
    said = run_step("compile_graph", project, *COMPILE, code=1)
    assert "needs k2, which cannot be imported" in said and "--method ctc_greedy" in said
    assert not (project / "graph/HLG.safetensors").exists()


def test_a_missing_grammar_is_an_error_that_says_who_makes_it(run_step, project):
    (project / "G.safetensors").unlink()
    assert "made by steps/train_ngram.py (stage 3)" in run_step("compile_graph", project, *COMPILE, code=1)
