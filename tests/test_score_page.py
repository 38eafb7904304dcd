"""The page of scores: what went wrong, to read and to hear, however many utterances were scored."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile

from egret.base.files import read_json, write_json, write_jsonl
from egret.report.aligned import WORDS, aligned
from egret.report.bars import LETTERS, Bar, bars, short
from egret.scoring.tables import width
from test_report import Page

RATE = 8000
TEXTS = {"a <1>": "ONE TWO", "b#2": "ONE TWO", "c": "ONE TWO", "d": "ONE"}
HEARD = {"a <1>": "ONE", "b#2": "ONE <TWO>", "c": "ONE TWO", "d": "ONE ONE"}
KINDS = {"a <1>": "WAV", "b#2": "NIST", "c": "FLAC"}  # of recordings; d has none


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A part that was decoded, with recordings of several kinds."""
    (tmp_path / "sounds").mkdir()
    cuts, rows = [], []
    for number, (name, text) in enumerate(TEXTS.items()):
        path = tmp_path / "sounds" / f"{name}.wav"
        if name in KINDS:
            soundfile.write(path, np.full(3 * RATE, 100 * number, np.int16), RATE, format=KINDS[name])
        supervision = {"id": name, "start": 0, "duration": 1.0, "text": text, "speaker": f"s{number % 2}"}
        recording = {"id": name, "sources": [{"type": "file", "channels": [0], "source": str(path)}],
                     "sampling_rate": RATE, "num_samples": 3 * RATE, "duration": 3.0, "channel_ids": [0]}  # fmt: skip
        cuts.append({"id": name, "start": 0.5, "duration": 1.0, "channel": 0, "supervisions": [supervision],
                     "recording": recording, "type": "MonoCut"})  # fmt: skip
        words = HEARD[name].split()
        rows.append({"id": name, "words": words, "confidence": [0.9, 0.25][: len(words)],
                     "times": [[0.1, 0.2], [0.4, 0.5]][: len(words)]})  # fmt: skip
    write_jsonl(tmp_path / "test.jsonl", cuts)
    decoded = tmp_path / "exp" / "tiny" / "decode" / "test_greedy"
    decoded.mkdir(parents=True)
    write_jsonl(decoded / "hyp.jsonl", rows)
    write_json(decoded / "params.json", {"part": "test", "method": "greedy", "params": {}, "chosen_on": "fixed"})
    return tmp_path


@pytest.fixture
def page(project: Path, run_step: Callable[..., str]) -> Callable[..., Page]:
    """Score and give the page."""

    def make(*more: str) -> Page:
        run_step("score", project, "--decode", "exp/tiny/decode", "--cuts", "test.jsonl", *more)
        return Page((project / "exp/tiny/decode/score.html").read_text(encoding="utf-8"))

    return make


# Sound


def test_a_recording_that_browsers_play_is_played_where_it_lies_from_start_to_end(page, project):
    linked = [about["src"] for about in page().all("audio") if not about["src"].startswith("data:")]
    found = {((project / "exp/tiny/decode") / unquote(each.partition("#")[0])).resolve() for each in linked}
    assert found == {project / "sounds" / "a <1>.wav", project / "sounds" / "c.wav"}
    assert {each.partition("#")[2] for each in linked} == {"t=0.500,1.500"}


def test_a_recording_that_browsers_do_not_play_is_in_the_page(page):
    [inside] = [about["src"] for about in page().all("audio") if about["src"].startswith("data:")]
    assert inside.startswith("data:audio/flac;base64,")


def test_sound_in_the_page_stops_at_the_size_that_was_set(page):
    found = page("--max-audio", "0")
    assert len(found.all("audio")) == 2 and "the size that --max-audio sets" in found.said()


def test_a_recording_that_is_gone_is_said_to_be(page):
    assert "No sound: missing: no such file." in page().said()


def test_a_channel_of_several_is_in_the_page_for_a_browser_would_play_them_all(page, project):
    cuts = [{**cut, "recording": {**cut["recording"], "channel_ids": [0, 1]}} for cut in map(dict, rows_of(project))]
    write_jsonl(project / "test.jsonl", cuts)
    assert all(about["src"].startswith("data:") for about in page().all("audio"))


def rows_of(project: Path) -> list[dict]:
    from egret.base.files import read_jsonl

    return list(read_jsonl(project / "test.jsonl"))


def test_a_browser_may_load_sound_from_beside_the_page_and_nothing_else(page):
    [policy] = [about["content"] for about in page().all("meta") if "http-equiv" in about]
    assert "media-src data: 'self' file:;" in policy and policy.startswith("default-src 'none'")


# What is shown


def test_texts_are_text_and_never_markup(page):
    found = page()
    assert {"a <1>", "<TWO>"} <= {text for _, text in found.texts} and not found.all("script")


def test_the_utterances_with_the_most_errors_are_shown_and_how_many_there_are(page):
    found = page("--shown", "2")
    titles = [text for inside, text in found.texts if inside == "h4"]
    assert titles == ["d", "a <1>"] and "The 2 worst utterances of 4" in found.said()


def test_without_utterances_there_is_none(page):
    found = page("--shown", "0")
    assert not found.all("article") and "worst" not in found.said()


def test_confidence_stands_below_the_words_and_time_where_one_points(page):
    found = page()
    assert [text for inside, text in found.texts if inside == "i"][:3] == ["sure", "0.90", "0.25"]
    assert "substituted, 0.40 to 0.90 s" in {about.get("title") for about in found.all("span")}


def test_methods_durations_speakers_and_confidence_are_drawn(page):
    titles = [text for inside, text in page().texts if inside == "figcaption"]
    assert titles == ["test: WER, %", "WER by duration, %", "WER by speaker, %",
                      "Words that are right, by their confidence, %"]  # fmt: skip


def test_commonest_confusions_are_listed(page):
    assert {"TWO -> <TWO>", "no insertions"} & {text for _, text in page().texts} == {"TWO -> <TWO>"}


def test_with_a_floor_alone_the_scores_are_there_and_no_utterances(page, project):
    path = project / "exp/tiny/decode/test_greedy/params.json"
    write_json(path, {**read_json(path), "params": {"floor": True}})
    found = page()
    assert "There are only floors" in found.said() and not found.all("article")


def test_two_runs_make_the_same_page(page, project):
    path = project / "exp/tiny/decode/score.html"
    page()
    first = path.read_bytes()
    page("--force")
    assert path.read_bytes() == first


def test_an_utterance_without_hypothesis_is_shown_as_such(page, project):
    path = project / "exp/tiny/decode/test_greedy/hyp.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    assert "It has no hypothesis" in page().said()


# Aligned words


def test_words_outside_the_lexicon_are_marked():
    found = Page(aligned(["ONE", "ZEBRA"], ["ONE", "TWO"], known={"ONE", "TWO"}))
    assert [about["class"] for about in found.all("span") if about.get("title") == "not in the lexicon"] == ["r out"]


def test_a_long_recording_does_not_fill_the_page():
    found = Page(aligned(["ONE"] * 100_000, ["ONE"] * 100_000))
    assert len(found.all("b")) == WORDS + 1 and f"{100_000 - WORDS} words more in per_utt.txt" in found.said()


# Bars


def test_bars_are_as_long_as_their_values():
    found = Page(bars("title", [Bar("one", 10.0), Bar("two", 40.0)]))
    short_one, long_one = (float(about["width"]) for about in found.all("rect"))
    assert long_one == pytest.approx(4 * short_one, abs=0.2)


def test_interval_and_mark_are_lines():
    found = Page(bars("title", [Bar("one", 10.0, (5.0, 20.0)), Bar("two", 40.0, mark=30.0)]))
    looks = [about["class"] for about in found.all("line") if about["class"] != "grid"]
    assert looks == ["whisker", "mark"]


def test_bars_of_nothing_wrong_are_drawn():
    assert Page(bars("title", [Bar("one", 0.0)])).all("rect")[0]["width"] == "0"


@pytest.mark.parametrize("name", ["speaker", "s" * 50, "说话人" * 10])
def test_a_long_name_is_cut_to_its_room(name):
    assert width(short(name)) <= LETTERS and (short(name) == name) == (width(name) <= LETTERS)
