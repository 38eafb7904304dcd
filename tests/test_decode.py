"""Decoding: batches, utterances without a path, what is refused, and steps/decode.py as users call it."""

import json
import math
import os
import random
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from egret.base.files import read_json, read_jsonl, write_jsonl
from egret.decoding.recognise import Recognised, batches
from egret.graph import arcs
from egret.lang.lang import Lang
from egret.models.files import load_model, save_weights
from egret.models.greedy import ctc_greedy
from folders import ROOT, make_cuts, make_experiment, make_lang
from graphs import LEXICON, make_graph, one_hot
from language_models import make_lm

FRAMES = [40, 12, 64, 13, 25]

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
    assert params == {"part": "test", "method": "ctc_greedy", "params": {}, "chosen_on": "dev", "files": {}}
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
def test_every_scale_is_tried_with_every_word_score(graph, project, decode):
    said = decode(*HLG, "--dev-cuts", "feats/dev.jsonl", "--hlg.graph-scale", "1", "2", "--hlg.word-score", "0", "-1.5")
    tried = [(float(scale), float(score)) for scale, score
             in re.findall(r"dev: hlg_1best, graph_scale ([\d.]+), word_score ([-\d.]+): ", said)]  # fmt: skip
    assert tried == [(1.0, 0.0), (1.0, -1.5), (2.0, 0.0), (2.0, -1.5)]
    assert "dev: chosen is hlg_1best, graph_scale" in said


@pytest.mark.k2
def test_the_end_of_what_was_tried_is_said_where_it_is_the_best(graph, project, decode):
    set_texts(project / "feats/dev.jsonl", {f"dev-{number}": [] for number in range(5)})
    said = decode(*HLG, "--dev-cuts", "feats/dev.jsonl", "--hlg.word-score", "-3", "0.5", "2")
    assert "dev: word_score -3 of hlg_1best is the last value that was tried on its side" in said


@pytest.mark.k2
def test_what_a_method_was_given_besides_the_model_is_kept_with_its_parameters(graph, project, decode):
    (project / "hot").write_text("a 1\n")
    decode(*HLG, "ctc_greedy", "--hlg.hot-words", "hot")
    given = {name: read_json(project / f"out/test_{name}/params.json")["files"] for name in ("hlg_1best", "ctc_greedy")}
    assert given == {"hlg_1best": {"graph": "graph", "hot_words": "hot"}, "ctc_greedy": {}}


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


def test_damaged_features_are_named(project, decode, monkeypatch):
    from egret.features import batching

    loaded = batching.load_features
    monkeypatch.setattr(batching, "load_features", lambda cut: loaded(cut) * (math.nan if cut["id"] == "test-2" else 1))
    assert "test-2: features that are no numbers, the file is damaged; run stage 1 again" in decode(*TEST, code=1)


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


def test_a_row_of_a_setting_that_is_kept_takes_little_memory():
    rng = random.Random(1)
    names = [f"speaker{number:04}-chapter-utterance{number:06}" for number in range(100)]
    rows = {name: {"words": rng.choices(["SOME", "WORDS", "OTHERS"], k=20), "tokens": rng.choices("abcdefghij", k=60),
                   "score": {"total": rng.gauss(0, 9), "acoustic": rng.gauss(0, 9)}} for name in names}  # fmt: skip
    kept = Recognised("hlg_nbest", {}, names)
    kept.add(rows)
    assert kept.hypotheses == [{"id": name, **rows[name]} for name in names]
    assert sum(map(len, kept.packed)) < 200 * len(names)  # a tenth of what the rows take


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
def test_kaldi_decoder_gives_the_same_words_and_needs_no_k2(graph, project, decode, monkeypatch):
    pytest.importorskip("kaldi_decoder")
    pytest.importorskip("kaldifst")
    decode(*HLG)
    wanted = hypotheses(project, "test_hlg_1best")
    monkeypatch.setitem(sys.modules, "k2", None)
    decode(*HLG, "--hlg.searcher", "kaldi-decoder")
    for row, other in zip(hypotheses(project, "test_hlg_1best"), wanted, strict=True):
        assert (row["words"], row["tokens"]) == (other["words"], other["tokens"])
        assert row["score"]["total"] == pytest.approx(other["score"]["total"], abs=1e-2)


@pytest.mark.k2
def test_kaldi_decoder_has_no_lattices(graph, project, decode):
    given = [*TEST, "--graph", "graph", "--hlg.searcher", "kaldi-decoder"]
    assert "finds the best path only" in decode(*given, "--method", "hlg_nbest", code=2)
    decode(*given, "--method", "all")
    found = {path.name for path in (project / "out").glob("test_*")}
    assert found == {"test_ctc_greedy", "test_ctc_prefix_beam", "test_hlg_1best"}


@pytest.mark.k2
def test_kaldi_decoder_makes_its_graph_once_for_each_word_score(graph, project, decode, monkeypatch):
    pytest.importorskip("kaldi_decoder")
    pytest.importorskip("kaldifst")
    from egret.decoding import kaldi

    made = []
    whole = kaldi.make_fst
    monkeypatch.setattr(kaldi, "make_fst", lambda *given: (made.append(given[-1]), whole(*given))[1])
    settings = ["--hlg.graph-scale", "0.5", "1", "--hlg.word-score", "0", "1", "--max-duration", "0.1"]
    decode(*HLG, "--hlg.searcher", "kaldi-decoder", "--dev-cuts", "feats/dev.jsonl", *settings)
    assert sorted(made) == [0.0, 1.0, 2.0]  # as parts of the scale


@pytest.mark.k2
@pytest.mark.parametrize("method", ["auto", "all"])
def test_a_neural_language_model_with_a_graph_needs_lattices(graph, project, decode, method):
    make_lm(project / "lm", Lang.read(project / "lang"))
    given = [*TEST, "--graph", "graph", "--hlg.searcher", "kaldi-decoder", "--neural-lm", "lm"]
    said = decode(*given, "--method", method, code=2)
    assert (f"--neural-lm is for --method neural_lm_rescore, which --method {method} leaves out with this model and "
            f"--hlg.searcher kaldi-decoder") in said  # fmt: skip


@pytest.mark.k2
def test_a_neural_language_model_is_refused_with_a_searcher_without_lattices(graph, project, decode):
    make_lm(project / "lm", Lang.read(project / "lang"))
    given = [*TEST, "--graph", "graph", "--hlg.searcher", "kaldi-decoder", "--neural-lm", "lm"]
    assert "finds the best path only" in decode(*given, "--method", "neural_lm_rescore", code=2)


@pytest.mark.k2
@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--rescore-lm", "G"], "--rescore-lm is for --method lattice_rescore, which --method auto leaves out"),
        (["--hlg.hot-words", "G"], "--hlg.hot-words is for methods that search in a graph"),
        (["--nbest.paths", "9"], "--nbest.paths is for methods that choose from lists of a graph's lattices"),
    ],
)
def test_what_auto_does_not_read_with_a_model_without_ctc_is_wrong_usage(graph, project, decode, given, says):
    make_experiment(project / "exp", Lang.read(project / "lang"), decoder="speller", ctc_weight=0.0)
    (project / "G").touch()
    assert says in decode(*TEST, "--graph", "graph", "--method", "auto", *given, code=2)


@pytest.mark.k2
def test_a_larger_n_gram_is_refused_where_auto_searches_without_lattices(graph, project, decode):
    (project / "G").touch()
    given = ["--graph", "graph", "--method", "auto", "--hlg.searcher", "kaldi-decoder", "--rescore-lm", "G"]
    assert "--rescore-lm is for --method lattice_rescore, which --method auto leaves out" in decode(
        *TEST, *given, code=2
    )


def test_lists_of_a_graph_without_a_graph_are_wrong_usage(decode):
    assert "--nbest.paths is for methods that choose" in decode(*TEST, "--method", "all", "--nbest.paths", "9", code=2)


@pytest.mark.k2
def test_a_graph_that_no_method_reads_is_warned_of(graph, project, decode):
    make_experiment(project / "exp", Lang.read(project / "lang"), decoder="speller", ctc_weight=0.0)
    said = decode(*TEST, "--graph", "graph", "--method", "auto")
    assert "--graph graph: not read, --method attention_beam searches in none" in said


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


# Models with a decoder


def methods_in(folder: Path) -> set[str]:
    return {path.parent.name.split("_", 1)[1] for path in folder.glob("*/hyp.jsonl")}


def test_by_attention_every_utterance_gets_a_hypothesis(project, decode):
    make_experiment(project / "exp", Lang.read(project / "lang"), decoder="speller", ctc_weight=0.0)
    decode(*TEST, "--method", "attention_beam")
    wanted = [row["id"] for row in read_jsonl(project / "feats/test.jsonl")]
    assert [row["id"] for row in hypotheses(project, "test_attention_beam")] == wanted


@pytest.mark.parametrize(
    ("decoder", "ctc_weight", "wanted"),
    [
        ("none", None, {"ctc_greedy"}),
        ("speller", 0.3, {"ctc_greedy", "attention_beam", "attention_rescore"}),
        ("speller", 0.0, {"attention_beam"}),
    ],
)
def test_auto_is_all_that_the_model_has_outputs_for(project, decode, decoder, ctc_weight, wanted):
    make_experiment(project / "exp", Lang.read(project / "lang"), decoder=decoder, ctc_weight=ctc_weight)
    decode(*TEST, "--method", "auto")
    assert methods_in(project / "out") == wanted


def test_auto_searches_the_graph_that_is_given(graph, project, decode):
    decode(*TEST, "--graph", "graph", "--method", "auto")
    assert methods_in(project / "out") == {"ctc_greedy", "hlg_1best"}


@pytest.mark.parametrize(
    ("decoder", "ctc_weight", "method", "says"),
    [
        ("none", None, "attention_beam", "has no attention decoder; use ctc_greedy, or train with"),
        ("speller", 0.0, "ctc_greedy", "has no CTC; use attention_beam, or train with"),
    ],
)
def test_a_method_that_the_model_has_no_output_for_is_wrong_usage(project, decode, decoder, ctc_weight, method, says):
    make_experiment(project / "exp", Lang.read(project / "lang"), decoder=decoder, ctc_weight=ctc_weight)
    assert says in decode(*TEST, "--method", method, code=2)
