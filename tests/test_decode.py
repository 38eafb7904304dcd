"""Decoding: batches, utterances without a path, what is refused, and steps/decode.py as users call it."""

import json
import math
import os
import random
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from egret.base.errors import EgretError
from egret.base.files import read_json, read_jsonl, write_jsonl
from egret.decoding.greedy import ctc_greedy
from egret.decoding.options import HlgOptions
from egret.decoding.recognise import batches
from egret.graph import arcs
from egret.graph.grammar import grammar
from egret.lang.lang import Lang
from egret.lang.symbols import BACKOFF
from egret.models.files import load_model, save_weights
from exhaustive import random_ngram
from folders import ROOT, make_cuts, make_experiment, make_lang, random_log_probs

LEXICON = [("a", ["x"]), ("ab", ["x", "y"]), ("be", ["y"]), ("bee", ["y"]), ("c", ["z", "z"])]
FRAMES = [40, 12, 64, 13, 25]


def one_hot(path: list[int], units: int = 6) -> torch.Tensor:
    """Log probabilities [1, T, V] in which only one path is likely, and more so with each frame."""
    log_probs = torch.full((1, len(path), units), -99.0)
    for frame, token in enumerate(path):
        log_probs[0, frame, token] = -0.5 - frame
    return log_probs


# Greedy


def test_greedy_merges_repeats_and_drops_blanks():
    [(tokens, score)] = ctc_greedy(one_hot([0, 3, 3, 0, 3, 4, 4, 0, 0, 4]), torch.tensor([10]))
    assert tokens == [3, 3, 4, 4]
    assert score == pytest.approx(-0.5 * 10 - sum(range(10)))


def test_greedy_ends_with_the_utterance():
    path = one_hot([3, 4, 5])
    found = ctc_greedy(torch.cat([path, path]), torch.tensor([2, 3]))
    assert [tokens for tokens, _ in found] == [[3, 4], [3, 4, 5]]
    assert [score for _, score in found] == pytest.approx([-2.0, -4.5])


def test_greedy_of_blanks_only_is_nothing():
    assert ctc_greedy(one_hot([0, 0]), torch.tensor([2]))[0][0] == []


# Batches


def test_batches_are_of_similar_lengths_and_not_larger_than_asked():
    rng = random.Random(1)
    rows = [{"id": str(n), "duration": rng.uniform(0.5, 20)} for n in range(100)]
    planned = list(batches(rows, 60.0))
    assert sorted(row["id"] for batch in planned for row in batch) == sorted(row["id"] for row in rows)
    assert all(max(row["duration"] for row in batch) * len(batch) <= 60 for batch in planned)
    assert len(planned) < 40
    lengths = [row["duration"] for batch in planned for row in batch]
    assert lengths == sorted(lengths, reverse=True)


def test_an_utterance_longer_than_a_batch_has_one_of_its_own():
    planned = list(
        batches([{"id": "long", "duration": 90}, {"id": "a", "duration": 9}, {"id": "b", "duration": 9}], 20)
    )
    assert [[row["id"] for row in batch] for batch in planned] == [["long"], ["a", "b"]]


# Decoding in a graph


@pytest.fixture
def k2():
    return pytest.importorskip("k2")


def make_graph(folder: Path, lang: Lang, order: int = 2) -> Path:
    from egret.graph.hlg import compile_hlg

    folder.mkdir(exist_ok=True)
    ngram = random_ngram(random.Random(2), lang.word_names[1:-3], order)
    g = grammar(ngram.write(folder / "lm.arpa"), lang.folder / "words.txt", order)
    lexicon = arcs.load(lang.folder / "L_disambig.safetensors")
    graph, _ = compile_hlg(lexicon, g, len(lang.units), lang.first_disambiguation, lang.words[BACKOFF])
    arcs.save(folder / "HLG.safetensors", graph, arcs.identity(lang))
    return folder


@pytest.fixture
def decoder(k2, tmp_path):
    from egret.decoding.graph import GraphDecoder

    lang = make_lang(tmp_path / "lang", LEXICON, "SIL")
    return GraphDecoder(make_graph(tmp_path / "graph", lang), lang, torch.device("cpu"))


WIDE = HlgOptions(search_beam=1e4, output_beam=1e4, max_active=1_000_000)


def lang_of(tmp_path: Path) -> Lang:
    return Lang.read(tmp_path / "lang")


@pytest.mark.k2
def test_a_batch_of_many_lengths_gives_what_each_utterance_gives_alone(decoder, tmp_path):
    lengths = [9, 30, 1, 17, 30, 4]
    log_probs, counts = random_log_probs(1, lengths, lang_of(tmp_path), spread=3.0)
    together = decoder.decode(log_probs, counts, WIDE, 1.0)
    alone = [
        decoder.decode(log_probs[n : n + 1, :length], counts[n : n + 1], WIDE, 1.0)[0]
        for n, length in enumerate(lengths)
    ]
    assert [(best.words, best.tokens) for best in together] == [(best.words, best.tokens) for best in alone]
    assert [best.score for best in together] == pytest.approx([best.score for best in alone], abs=1e-3)
    assert len({tuple(best.words) for best in together}) > 3  # an order mixed up would show


@pytest.mark.k2
def test_tokens_are_those_of_the_best_path(decoder, tmp_path):
    lang = lang_of(tmp_path)
    x, y, z, silence = (lang.tokens[name] for name in ("x", "y", "z", "SIL"))
    path = [silence, x, x, y, 0, silence, silence, z, 0, z, 0]
    [best] = decoder.decode(one_hot(path, len(lang.units)) * 3, torch.tensor([len(path)]), WIDE, 1e-3)
    assert [lang.units[token] for token in best.tokens] == ["SIL", "x", "y", "SIL", "z", "z"]
    assert [lang.word_names[word] for word in best.words][-1] == "c"


@pytest.mark.k2
def test_an_utterance_without_a_path_gets_no_words_and_disturbs_no_other(decoder, tmp_path):
    log_probs, lengths = random_log_probs(2, [12, 9, 7], lang_of(tmp_path), spread=3.0)
    before = decoder.decode(log_probs, lengths, WIDE, 1.0)
    assert all(math.isfinite(best.score) for best in before) and before[0].words and before[2].words
    log_probs[1] = -math.inf
    after = decoder.decode(log_probs, lengths, WIDE, 1.0)
    assert (after[1].words, after[1].tokens, after[1].score) == ([], [], -math.inf)
    assert [after[0], after[2]] == [before[0], before[2]]
    assert decoder.decode(log_probs[1:2], lengths[1:2], WIDE, 1.0) == [after[1]]


@pytest.mark.k2
def test_the_graph_scale_multiplies_the_graph_and_nothing_else(decoder, tmp_path):
    lang = lang_of(tmp_path)
    path = [lang.tokens["x"], lang.tokens["y"], 0]
    log_probs = one_hot(path, len(lang.units)) * 50  # one token sequence only is possible
    acoustic = sum(log_probs[0, frame, token].item() for frame, token in enumerate(path))
    graph = {scale: decoder.decode(log_probs, torch.tensor([3]), WIDE, scale)[0].score - acoustic
             for scale in (1.0, 0.5, 2.0, 1.0)}  # fmt: skip
    assert graph[1.0] < -1
    assert graph[0.5] == pytest.approx(graph[1.0] / 2, abs=1e-3)
    assert graph[2.0] == pytest.approx(graph[1.0] * 2, abs=1e-3)


@pytest.mark.k2
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_word_score_is_added_for_each_word(decoder, tmp_path, scale):
    lang = lang_of(tmp_path)
    path = [lang.tokens[name] for name in ("x", "y", "z")] + [0, lang.tokens["z"]]
    log_probs, lengths = one_hot(path, len(lang.units)) * 50, torch.tensor([5])
    found = {score: decoder.decode(log_probs, lengths, WIDE, scale, score)[0] for score in (0.0, 30.0, -30.0, 0.0)}
    said = {score: [lang.word_names[word] for word in best.words] for score, best in found.items()}
    assert said[30.0] in (["a", "be", "c"], ["a", "bee", "c"]) and said[-30.0] == [
        "ab",
        "c",
    ]  # x y z z, most and fewest
    for score in (30.0, -30.0):
        plain = found[score].score - score * len(said[score])
        assert plain <= found[0.0].score + 1e-2
        if said[score] == said[0.0]:
            assert plain == pytest.approx(found[0.0].score, abs=1e-2)
    assert said[0.0] in (said[30.0], said[-30.0])


@pytest.fixture
def without_sure_blanks(k2):
    from egret.decoding.graph import without_sure_blanks

    return without_sure_blanks


@pytest.mark.k2
def test_of_neighbouring_sure_blanks_the_first_stays(without_sure_blanks):
    sure, unsure, x = [-0.001, -7.0], [-0.5, -0.9], [-9.0, -0.0001]
    rows = [[sure, sure, x, sure, sure, sure, x, unsure, sure], [x, x, unsure, sure, sure, sure, sure, sure, sure]]
    shorter, lengths, scores = without_sure_blanks(torch.tensor(rows), torch.tensor([9, 5]), 0.99)
    assert lengths.tolist() == [6, 4]
    assert shorter[0].tolist() == torch.tensor([sure, x, sure, x, unsure, sure]).tolist()
    assert shorter[1, :4].tolist() == torch.tensor([x, x, unsure, sure]).tolist()
    assert scores == pytest.approx([-0.003, -0.001])  # beyond an utterance's end nothing counts


@pytest.mark.k2
def test_all_frames_stay_where_nothing_is_sure_enough(without_sure_blanks):
    log_probs = one_hot([0, 0, 3, 0, 0])
    assert without_sure_blanks(log_probs, torch.tensor([5]), 1.0)[0] is log_probs
    assert without_sure_blanks(log_probs, torch.tensor([5]), 0.99)[0].equal(log_probs)  # the blanks have 0.6 at most


@pytest.mark.k2
@pytest.mark.parametrize("seed", range(5))
def test_without_sure_blanks_the_best_path_is_the_same(decoder, tmp_path, seed):
    log_probs, lengths = random_log_probs(seed, [40, 33, 1, 17, 0], lang_of(tmp_path), spread=4.0)
    sure = torch.rand(log_probs.shape[:2], generator=torch.Generator().manual_seed(seed)) < 0.6
    log_probs[sure] = torch.tensor([0.0] + [-9.0] * (log_probs.shape[2] - 1)).log_softmax(0)
    every = decoder.decode(log_probs, lengths, WIDE, 1.0)
    fewer = decoder.decode(log_probs, lengths, replace(WIDE, sure_blank=0.99), 1.0)
    assert [(best.words, best.tokens) for best in fewer] == [(best.words, best.tokens) for best in every]
    assert [best.score for best in fewer] == pytest.approx([best.score for best in every], abs=1e-3)
    assert any(best.words for best in every)


@pytest.mark.k2
def test_equal_tokens_stay_apart_without_sure_blanks(decoder, tmp_path):
    lang = lang_of(tmp_path)
    z = lang.tokens["z"]
    path = [0, 0, z, 0, 0, 0, z, 0, 0]
    log_probs = torch.full((1, len(path), len(lang.units)), -30.0)
    log_probs[0, range(len(path)), path] = 0.0
    [best] = decoder.decode(log_probs, torch.tensor([len(path)]), replace(WIDE, sure_blank=0.99), 1.0)
    assert ([lang.word_names[word] for word in best.words], best.tokens) == (["c"], [z, z])


@pytest.mark.k2
def test_every_scale_is_tried_with_every_word_score(graph, project, decode):
    said = decode(*HLG, "--dev-cuts", "feats/dev.jsonl", "--hlg.graph-scale", "1", "2", "--hlg.word-score", "0", "-1.5")
    tried = [(float(scale), float(score)) for scale, score
             in re.findall(r"dev: hlg_1best, graph_scale ([\d.]+), word_score ([-\d.]+): ", said)]  # fmt: skip
    assert tried == [(1.0, 0.0), (1.0, -1.5), (2.0, 0.0), (2.0, -1.5)]
    assert "dev: chosen is hlg_1best, graph_scale" in said


@pytest.mark.k2
def test_utterances_without_frames_get_no_words_and_disturb_no_other(decoder, tmp_path):
    log_probs, lengths = random_log_probs(2, [12, 9, 7], lang_of(tmp_path), spread=3.0)
    before = decoder.decode(log_probs, lengths, WIDE, 1.0)
    after = decoder.decode(log_probs, torch.tensor([12, 0, 7]), WIDE, 1.0)
    assert [after[0], after[2]] == [before[0], before[2]]
    assert (after[1].words, after[1].tokens, after[1].score) == ([], [], -math.inf)
    assert decoder.decode(log_probs, torch.tensor([0, 0, 0]), WIDE, 1.0) == [after[1]] * 3


@pytest.mark.k2
def test_narrow_beams_lose_paths_and_never_win_score(decoder, tmp_path):
    log_probs, lengths = random_log_probs(3, [60] * 8, lang_of(tmp_path), spread=1.0)
    narrow = HlgOptions(search_beam=0.5, output_beam=0.5, min_active=1, max_active=4)
    pairs = zip(
        decoder.decode(log_probs, lengths, narrow, 1.0), decoder.decode(log_probs, lengths, WIDE, 1.0), strict=True
    )
    gaps = [wide.score - narrow.score for narrow, wide in pairs]
    assert min(gaps) > -1e-3 and max(gaps) > 0.1


@pytest.mark.k2
@pytest.mark.parametrize("lexicon", [[("aa", ["x"]), *LEXICON[1:]], [*LEXICON[:-1], ("c", ["q", "z"])]])
def test_a_graph_of_another_lang_folder_is_refused(decoder, tmp_path, lexicon):
    from egret.decoding.graph import GraphDecoder

    other = make_lang(tmp_path / "other", lexicon, "SIL")
    with pytest.raises(EgretError, match=r"HLG\.safetensors: made for other units or words than .*other"):
        GraphDecoder(tmp_path / "graph", other, torch.device("cpu"))


# steps/decode.py


@pytest.fixture
def project(tmp_path):
    """A lang folder, a model and features of dev and test."""
    lang = make_lang(tmp_path / "lang", LEXICON, "SIL")
    make_experiment(tmp_path / "exp", lang)
    texts = ["a be", "c", "ab a c", "bee", "be a"]
    make_cuts(tmp_path / "feats/dev.jsonl", texts, FRAMES, seed=1)
    make_cuts(tmp_path / "feats/test.jsonl", texts, FRAMES, seed=2)
    return tmp_path


@pytest.fixture
def graph(k2, project):
    return make_graph(project / "graph", Lang.read(project / "lang"))


BASE = ["--experiment", "exp", "--lang", "lang", "--out", "out", "--threads", "1"]
TEST = [*BASE, "--test-cuts", "feats/test.jsonl"]
HLG = [*TEST, "--graph", "graph", "--method", "hlg_1best"]


@pytest.fixture
def decode(run_step, project):
    """Run the step in this process, in `project`, and return what it said."""

    def run(*arguments: str, code: int = 0) -> str:
        return run_step("decode", project, *arguments, code=code)

    return run


def hypotheses(project: Path, folder: str) -> list[dict]:
    return list(read_jsonl(project / "out" / folder / "hyp.jsonl"))


def test_the_program_leaves_hypotheses_and_parameters(project):
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, str(ROOT / "steps/decode.py"), *TEST, "--dev-cuts", "feats/dev.jsonl"]
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    assert "decode: done in" in done.stdout and "utterances of dev 5, utterances of test 5" in done.stdout

    model, lang = load_model(project / "exp")[0], Lang.read(project / "lang")
    rows = hypotheses(project, "test_ctc_greedy")
    assert [row["id"] for row in rows] == [f"test-{number}" for number in range(5)]  # the manifest's order
    for row, cut in zip(rows, read_jsonl(project / "feats/test.jsonl"), strict=True):
        from egret.features.store import load_features

        features = torch.from_numpy(load_features(cut)).unsqueeze(0)
        with torch.no_grad():
            [(tokens, score)] = ctc_greedy(*model(features, torch.tensor([features.shape[1]])))
        assert row.keys() == {"id", "words", "tokens", "score"}
        assert row["tokens"] == [lang.units[token] for token in tokens] and tokens
        assert row["words"] == lang.decode(tokens)
        assert row["score"] == {"total": pytest.approx(score, abs=1e-3)}
    params = read_json(project / "out/test_ctc_greedy/params.json")
    assert params.pop("rtf").keys() == {"encoder", "search", "audio_seconds"}
    assert params == {"part": "test", "method": "ctc_greedy", "params": {}, "chosen_on": "dev"}
    assert read_json(project / "out/dev_ctc_greedy/params.json")["part"] == "dev"


def test_small_batches_change_nothing(project, decode):
    decode(*TEST)
    large = hypotheses(project, "test_ctc_greedy")
    decode(*TEST, "--max-duration", "0.1", "--force")
    for one, other in zip(hypotheses(project, "test_ctc_greedy"), large, strict=True):
        assert (one["id"], one["words"], one["tokens"]) == (other["id"], other["words"], other["tokens"])
        assert one["score"]["total"] == pytest.approx(other["score"]["total"], abs=1e-3)


def test_run_again_it_is_up_to_date_until_something_changes(project, decode):
    decode(*TEST)
    assert "up to date" in decode(*TEST, "--max-duration", "7")
    make_experiment(project / "exp", Lang.read(project / "lang"), seed=3)
    assert "input experiment changed" in decode(*TEST)


def test_scores_of_earlier_hypotheses_do_not_stay(project, decode):
    decode(*TEST)
    (project / "out/test_ctc_greedy/score.json").write_text("{}")
    decode(*TEST, "--force")
    assert not (project / "out/test_ctc_greedy/score.json").exists()


def test_a_compressed_manifest_is_the_same_part(project, decode):
    write_jsonl(project / "feats/eval.jsonl.gz", read_jsonl(project / "feats/test.jsonl"))
    decode(*BASE, "--test-cuts", "feats/eval.jsonl.gz")
    assert read_json(project / "out/eval_ctc_greedy/params.json")["part"] == "eval"


def set_texts(manifest: Path, texts: dict[str, list[str]]) -> None:
    """Make these the transcripts of a manifest."""
    cuts = list(read_jsonl(manifest))
    for cut in cuts:
        cut["supervisions"][0]["text"] = " ".join(texts[cut["id"]])
    write_jsonl(manifest, cuts)


def words_of(rows: list[dict]) -> dict[str, list[str]]:
    return {row["id"]: row["words"] for row in rows}


SCALES = ["0.05", "1", "20"]


@pytest.mark.k2
@pytest.mark.parametrize("right", SCALES)
def test_the_scale_that_is_best_on_dev_is_applied_to_test(graph, project, decode, right):
    both = [*HLG[: HLG.index("--test-cuts")], "--graph", "graph", "--method", "hlg_1best"]
    alone = {}
    for scale in SCALES:
        decode(*both, "--test-cuts", "feats/dev.jsonl", "feats/test.jsonl", "--hlg.graph-scale", scale)
        alone[scale] = [words_of(hypotheses(project, f"{part}_hlg_1best")) for part in ("dev", "test")]
    assert all(alone[a][part] != alone[b][part] for part in (0, 1) for a, b in pairwise(SCALES))

    set_texts(project / "feats/dev.jsonl", alone[right][0])  # on dev, this scale makes no error
    set_texts(project / "feats/test.jsonl", alone["1" if right != "1" else "20"][1])  # which must not matter
    decode(*HLG, "--dev-cuts", "feats/dev.jsonl", "--hlg.graph-scale", *SCALES)
    for place, part in enumerate(("dev", "test")):
        about = read_json(project / f"out/{part}_hlg_1best/params.json")
        assert about["chosen_on"] == "dev" and about["params"]["graph_scale"] == float(right)
        assert words_of(hypotheses(project, f"{part}_hlg_1best")) == alone[right][place]


@pytest.mark.k2
def test_of_equally_good_scales_the_first_is_taken(graph, project, decode):
    decode(*HLG, "--dev-cuts", "feats/dev.jsonl", "--hlg.graph-scale", "1", "1.000001")
    assert read_json(project / "out/test_hlg_1best/params.json")["params"]["graph_scale"] == 1.0


@pytest.mark.k2
def test_without_dev_the_first_scale_is_used_and_said_to_be_fixed(graph, project, decode):
    said = decode(*HLG, "ctc_greedy", "--hlg.graph-scale", "0.7", "0.2")
    assert "hlg_1best: no dev part to choose 2 settings on; the first is used" in said
    about = read_json(project / "out/test_hlg_1best/params.json")
    assert about["chosen_on"] == "fixed"
    assert about["params"] == {"search_beam": 20.0, "output_beam": 8.0, "min_active": 30, "max_active": 10000,
                               "sure_blank": 1.0, "graph_scale": 0.7, "word_score": 0.0}  # fmt: skip
    assert [row["id"] for row in hypotheses(project, "test_ctc_greedy")] == [f"test-{number}" for number in range(5)]


@pytest.mark.k2
def test_an_utterance_without_a_path_is_told_of_and_has_no_score(graph, project, decode):
    hlg = arcs.load(project / "graph/HLG.safetensors")
    short = arcs.from_rows([(0, 1, 0, 0, 0.0), (1, 2, -1, -1, 0.0)], final=2)  # a single blank, and no longer
    arcs.save(project / "graph/HLG.safetensors", short, arcs.about(project / "graph/HLG.safetensors"))
    assert hlg.num_arcs > short.num_arcs
    make_cuts(project / "feats/test.jsonl", ["a", "be"], [2, 40])
    assert "no path for 1 of 2 utterances, which get no words (test-1)" in decode(*HLG)
    lines = (project / "out/test_hlg_1best/hyp.jsonl").read_text().splitlines()
    assert json.loads(lines[1]) == {"id": "test-1", "words": [], "tokens": [], "score": {"total": None}}
    assert json.loads(lines[0])["score"]["total"] < 0


def test_an_utterance_without_frames_is_told_of_and_gets_no_words(project, decode):
    make_cuts(project / "feats/test.jsonl", ["a", "be"], [0, 40])
    assert "1 utterances have no frames and get no words: test-0" in decode(*TEST)
    rows = hypotheses(project, "test_ctc_greedy")
    assert rows[0] == {"id": "test-0", "words": [], "tokens": [], "score": {"total": None}}
    assert rows[1]["score"]["total"] < 0


@pytest.mark.k2
@pytest.mark.parametrize("scores", [[], ["--experiment", "exp", "--cuts", "feats/test.jsonl", "--sure-blank", "0.99"]])
def test_the_measurement_finds_what_kaldi_decoder_finds(graph, project, monkeypatch, capsys, scores):
    pytest.importorskip("kaldi_decoder")
    from bench.decode import main

    monkeypatch.chdir(project)
    common = ["--lang", "lang", "--graph", "graph", "--seconds", "20", "--repeat", "1"]
    monkeypatch.setattr("sys.argv", ["bench/decode.py", *common, *scores])
    main()
    said = capsys.readouterr().out
    [(utterances, same)] = re.findall(r"search: (\d+) utterances.*the same words in (\d+)", said, re.DOTALL)
    assert utterances == same and int(same) > 2 and ("encoder: " in said) == bool(scores)


# What is refused


def test_an_unknown_method_is_wrong_usage_and_the_nearest_is_named(decode):
    said = decode(*TEST, "--method", "ctc_gredy", code=2)
    assert "--method ctc_gredy: unknown; did you mean 'ctc_greedy'" in said and "hlg_1best" in said


def test_a_graph_method_without_a_graph_is_wrong_usage(decode):
    assert "--method hlg_1best needs --graph" in decode(*TEST, "--method", "hlg_1best", code=2)


def test_a_missing_graph_says_who_makes_it(decode):
    said = decode(*HLG, code=1)
    assert "--graph graph: not there; it is made by steps/compile_graph.py (stage 3)" in said


@pytest.mark.k2
def test_a_graph_folder_without_a_graph_is_an_error_that_names_the_file(k2, project, decode):
    (project / "graph").mkdir()
    assert "graph/HLG.safetensors: no such graph" in decode(*HLG, code=1)


def test_without_k2_a_graph_method_says_what_to_do(project, decode, monkeypatch):
    (project / "graph").mkdir()
    monkeypatch.setitem(sys.modules, "k2", None)
    monkeypatch.delitem(sys.modules, "egret.decoding.graph", raising=False)
    said = decode(*HLG, code=1)
    assert "--method hlg_1best needs k2, which cannot be imported" in said and "--method ctc_greedy" in said


@pytest.mark.k2
def test_a_truncated_graph_is_refused(graph, project, decode):
    whole = (graph / "HLG.safetensors").read_bytes()
    (graph / "HLG.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "graph/HLG.safetensors: not a whole graph file" in decode(*HLG, code=1)


@pytest.mark.k2
def test_a_graph_of_another_lexicon_is_refused_by_the_step(graph, project, decode):
    other = make_lang(project / "other", [("aa", ["x"]), *LEXICON[1:]], "SIL")
    make_graph(project / "graph", other)
    assert "graph/HLG.safetensors: made for other units or words than lang; run stage 3" in decode(*HLG, code=1)


def test_beams_that_k2_would_abort_on_are_wrong_usage(decode):
    said = decode(*HLG, "--hlg.max-active", "20", code=2)
    assert "--hlg.max-active 20: must be above --hlg.min-active (30)" in said


def test_a_model_of_other_units_is_refused(project, decode):
    make_experiment(project / "exp", make_lang(project / "other", [*LEXICON[:-1], ("c", ["q", "q"])], "SIL"))
    said = decode(*TEST, code=1)
    assert "exp: trained on other units than lang has" in said and str(project / "other") in said


def test_truncated_weights_are_refused(project, decode):
    whole = (project / "exp/final.safetensors").read_bytes()
    (project / "exp/final.safetensors").write_bytes(whole[:-100])
    assert "exp/final.safetensors: not whole" in decode(*TEST, code=1)


def test_weights_of_another_shape_are_refused(project, decode):
    other = make_experiment(project / "other", Lang.read(project / "lang"), dim=9)
    save_weights(project / "exp/final.safetensors", other.state_dict())
    said = decode(*TEST, code=1)
    [line] = [line for line in said.splitlines() if "error:" in line]
    assert "exp/final.safetensors: weights of another model" in line and "train again" in line


def test_features_of_another_width_are_refused(project, decode):
    make_cuts(project / "feats/test.jsonl", ["a"], [20], features=9)
    assert "test-0 has 9 features a frame, the model was trained on 8" in decode(*TEST, code=1)


def test_cuts_without_features_are_refused_wherever_they_stand(project, decode):
    cuts = list(read_jsonl(project / "feats/test.jsonl"))
    del cuts[3]["features"]
    write_jsonl(project / "feats/test.jsonl", cuts)
    assert "test-3: no features; give the manifest that stage 1 leaves" in decode(*TEST, code=1)


def test_an_empty_manifest_is_refused(project, decode):
    (project / "feats/test.jsonl").write_text("")
    assert "feats/test.jsonl: no cuts" in decode(*TEST, code=1)


def test_a_manifest_without_a_frame_is_refused(project, decode):
    make_cuts(project / "feats/test.jsonl", ["a", "be"], [0, 0])
    assert "feats/test.jsonl: not one of its 2 cuts has a frame" in decode(*TEST, code=1)


def test_two_cuts_of_one_id_are_refused(project, decode):
    cuts = list(read_jsonl(project / "feats/test.jsonl"))
    write_jsonl(project / "feats/test.jsonl", [*cuts, cuts[0]])
    assert "test-0: more than one cut of this id" in decode(*TEST, code=1)


def test_two_parts_of_one_name_would_overwrite_each_other(project, decode):
    make_cuts(project / "more/test.jsonl", ["a"], [20])
    said = decode(*TEST, "more/test.jsonl", code=2)
    assert "more than one manifest is of the part test" in said
    assert not (project / "out/test_ctc_greedy").exists()
