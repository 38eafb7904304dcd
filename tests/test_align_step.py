"""steps/align.py as users call it."""

import math
import shutil
from pathlib import Path

import lhotse
import pytest

from alignments import read_textgrid
from egret.base.files import read_jsonl, write_jsonl
from egret.lang.lang import Lang
from egret.models.files import load_config, load_weights, save_config, save_weights
from folders import make_cuts, make_experiment, make_lang
from graphs import LEXICON

FRAMES = [40, 12, 64, 13, 25, 90]
TEXTS = ["a be", "c", "ab a c", "bee", "be a", "a a a be c"]
CALL = ["--experiment", "exp", "--lang", "lang", "--cuts", "feats/dev.jsonl", "--out", "out", "--threads", "1"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A lang folder, a model and features."""
    make_experiment(tmp_path / "exp", make_lang(tmp_path / "lang", LEXICON, "SIL"))
    make_cuts(tmp_path / "feats/dev.jsonl", TEXTS, FRAMES)
    return tmp_path


@pytest.fixture
def align(run_step, project: Path):
    """Run the step in this process, in `project`, and return what it said."""

    def run(*arguments: str, code: int = 0) -> str:
        return run_step("align", project, *CALL, *arguments, code=code)

    return run


def rows(project: Path, name: str = "align.jsonl") -> list[dict]:
    return list(read_jsonl(project / "out" / name))


def change(project: Path, place: int, text: str) -> None:
    cuts = list(read_jsonl(project / "feats/dev.jsonl"))
    cuts[place]["supervisions"][0]["text"] = text
    write_jsonl(project / "feats/dev.jsonl", cuts)


def test_every_word_of_every_utterance_has_its_time_in_the_manifests_order(align, project):
    said = align()
    assert "utterances 6, aligned 6, rejected 0, words 14" in said
    assert [(row["id"], " ".join(word["word"] for word in row["words"])) for row in rows(project)] == [
        (f"dev-{place}", text) for place, text in enumerate(TEXTS)
    ]


def test_words_follow_each_other_within_the_utterance(align, project):
    align()
    for row, frames in zip(rows(project), FRAMES, strict=True):
        edges = [edge for word in row["words"] for edge in (word["start"], round(word["start"] + word["duration"], 3))]
        assert edges == sorted(edges) and edges[0] >= 0 and edges[-1] <= frames / 100
        assert all(0 < word["confidence"] <= 1 for word in row["words"])


def test_tokens_spell_a_pronunciation_of_their_words(align, project):
    align()
    for row in rows(project):
        for place, word in enumerate(row["words"]):
            tokens = [token["token"] for token in row["tokens"] if token["word"] == place]
            assert (word["word"], tokens) in LEXICON


def test_batches_change_nothing(align, project):
    align()
    together = (project / "out/align.jsonl").read_bytes()
    align("--max-duration", "0.1", "--force")
    assert (project / "out/align.jsonl").read_bytes() == together


@pytest.mark.parametrize(("name", "value"), [("TOGETHER", 2), ("TRELLIS", 0)])
def test_limits_of_memory_change_nothing(align, project, monkeypatch, name, value):
    align()
    expected = (project / "out/align.jsonl").read_bytes()
    monkeypatch.setattr(f"egret.alignment.run.{name}", value)
    align("--force")
    assert (project / "out/align.jsonl").read_bytes() == expected


def test_lhotse_reads_the_ctm(align, project):
    align()
    supervisions = lhotse.SupervisionSet.from_segments(
        lhotse.SupervisionSegment(cut["id"], cut["recording"]["id"], 0.0, cut["duration"])
        for cut in read_jsonl(project / "feats/dev.jsonl")
    )
    read = {each.id: each for each in supervisions.with_alignment_from_ctm(project / "out/ctm")}
    for row in rows(project):
        items = read[row["id"]].alignment["word"]
        assert [(item.symbol, item.start, item.duration) for item in items] == [
            (word["word"], word["start"], word["duration"]) for word in row["words"]
        ]


def test_textgrids_have_a_tier_of_words_and_one_of_tokens(align, project):
    align("--textgrid", "true")
    for row in rows(project):
        tiers = read_textgrid((project / f"out/textgrid/{row['id']}.TextGrid").read_text())
        for kind in ("word", "token"):
            marked = [(start, label) for start, _, label in tiers[kind + "s"] if label]
            assert marked == [(item["start"], item[kind]) for item in row[kind + "s"] if item["duration"]]


def test_textgrids_of_an_earlier_run_do_not_stay(align, project):
    align("--textgrid", "true")
    align()
    assert not (project / "out/textgrid").exists()


def test_the_least_sure_is_the_first_of_the_suspicious(align, project):
    align()
    header, *lines = (project / "out/suspicious.tsv").read_text().splitlines()
    assert header == "id\tconfidence\tworst word\ttext"
    found = [(name, float(confidence), word) for name, confidence, word, _ in (line.split("\t") for line in lines)]
    expected = [(row["id"], row["confidence"], row["words"][row["worst"]]["word"]) for row in rows(project)]
    assert found == sorted(expected, key=lambda each: each[1])


@pytest.mark.parametrize(
    ("place", "text", "reason", "detail"),
    [
        (0, "a cow", "text outside the units", "cow"),
        (0, "", "empty text", ""),
        (1, "c c c c", "too short for CTC", "6 frames for 15 tokens and repeats"),
    ],
)
def test_what_cannot_be_aligned_is_counted_and_listed(align, project, place, text, reason, detail):
    change(project, place, text)
    said = align("--max-reject-percent", "20")
    assert f"1 of 6 utterances cannot be aligned ({reason}: 1" in said
    assert rows(project, "rejected.jsonl") == [{"id": f"dev-{place}", "reason": reason, "detail": detail}]
    assert len(rows(project)) == 5


def test_too_many_that_cannot_be_aligned_are_an_error(align, project):
    change(project, 0, "cow")
    said = align(code=1)
    assert "1 of 6 utterances cannot be aligned" in said and "--max-reject-percent" in said
    assert len(rows(project, "rejected.jsonl")) == 1
    assert not (project / "out/align.jsonl").exists()


def test_done_once_it_is_up_to_date(align, project):
    align()
    assert "up to date" in align()
    assert "again, because: widen 0.08 -> 0.0" in align("--widen", "0")


def test_a_lang_folder_of_other_units_is_refused(align, project):
    make_lang(project / "other", [("a", ["x"])])
    said = align("--lang", "other", code=1)
    assert "trained on other units" in said and "Traceback" not in said


def test_a_model_without_ctc_is_refused(align, project):
    shutil.rmtree(project / "exp")
    make_experiment(project / "exp", Lang.read(project / "lang"), decoder="speller", ctc_weight=0.0)
    assert "its model has no CTC output" in align(code=1)


def test_outputs_that_are_no_numbers_are_refused(align, project):
    weights = load_weights(project / "exp/final.safetensors")
    save_weights(project / "exp/final.safetensors", {name: each * math.nan for name, each in weights.items()})
    assert "outputs are not numbers on dev-5; train again" in align(code=1)


@pytest.mark.parametrize(("loss", "aligned"), [("ctc", 5), ("ctc_graph", 6)])
def test_a_graph_loss_with_the_modified_topology_needs_no_blank_between_equals(align, project, loss, aligned):
    config = load_config(project / "exp/config.yaml")
    save_config(project / "exp/config.yaml", {**config, "loss": loss, "topology": "modified"})
    change(project, 1, "c c c")  # six tokens of one kind in six frames
    assert f"aligned {aligned}" in align("--max-reject-percent", "20")


def test_features_that_are_gone_are_named(align, project):
    (project / "feats/dev.lca").unlink()
    assert "dev.lca: no such archive, in which " in align(code=1)


def test_features_that_are_damaged_are_named(align, project):
    (project / "feats/dev.lca").write_bytes((project / "feats/dev.lca").read_bytes()[:100])
    assert "cannot be read" in align(code=1)


def test_options_of_segments_are_refused_without_long(align):
    assert "--long true" in align("--segment.max-seconds", "5", code=2)


def test_long_gives_the_same_times_where_both_are_possible(align, project):
    align()
    expected = rows(project)
    align("--long", "true", "--segment.chunk", "0.2", "--segment.overlap", "0.2")
    for row, same in zip(rows(project), expected, strict=True):
        assert [(word["word"], word["start"]) for word in row["words"]] == [
            (word["word"], word["start"]) for word in same["words"]
        ]
        assert row["score"] == pytest.approx(same["score"], abs=1e-3)


def test_long_leaves_segments_that_have_all_the_words(align, project):
    said = align("--long", "true", "--segment.max-seconds", "0.5", "--segment.margin", "0.02")
    assert "segments left out 0" in said
    for number, (text, frames) in enumerate(zip(TEXTS, FRAMES, strict=True)):
        cuts = [cut for cut in rows(project, "segments.jsonl") if cut["recording"]["id"] == f"dev-{number}"]
        assert " ".join(cut["supervisions"][0]["text"] for cut in cuts) == text
        assert all(cut["duration"] <= 0.5 for cut in cuts)
        assert cuts[-1]["start"] + cuts[-1]["duration"] <= frames / 100


def test_segments_of_low_agreement_are_left_out_and_listed(align, project):
    align("--long", "true")
    lowest = sorted(min(word["agreement"] for word in row["words"]) for row in rows(project, "align.jsonl"))
    said = align("--long", "true", "--segment.min-agreement", str(lowest[1]))
    listed = rows(project, "rejected.jsonl")
    assert {row["reason"] for row in listed} == {"low agreement"}
    assert f"{len(listed)} segments left out, with " in said and " % of the words" in said
    words = [word for cut in rows(project, "segments.jsonl") for word in cut["supervisions"][0]["text"].split()]
    assert 0 < len(words) < len(" ".join(TEXTS).split())


def test_a_text_of_another_recording_is_an_error(align, project):
    said = align("--long", "true", "--segment.min-agreement", "1", code=1)
    assert "segments can be used, the first: low agreement; all in out/rejected.jsonl" in said
    assert len(rows(project, "rejected.jsonl")) >= len(TEXTS)


def test_segments_of_an_earlier_run_do_not_stay(align, project):
    align("--long", "true")
    align()
    assert not (project / "out/segments.jsonl").exists()
