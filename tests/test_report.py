"""The report: one page that needs nothing else, shows what was scored, and says what it could not find."""

import base64
import io
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from egret.base.errors import EgretError
from egret.base.files import read_jsonl, write_json, write_jsonl
from egret.base.stamps import fingerprint
from egret.lang.lang import Lang
from egret.models.files import save_config, save_weights
from egret.models.greedy import ctc_greedy
from egret.report.aligned import aligned, worst_first
from egret.report.curves import BINS, Scale, binned, read_curves
from egret.report.html import VOID, el, table
from egret.report.page import make_page
from egret.report.picture import LEVELS, Token, levels
from egret.report.utterances import Listener, verdict
from egret.scoring.errors import Errors
from folders import conformer, make_cuts, make_experiment, make_lang, random_log_probs, step_module

LEXICON = [("A<B", ["AH"]), ('"&"', ["B", "IY"]), ("ONE", ["W", "AH", "N"])]
TEXTS = ['A<B "&"', "ONE ONE ONE", 'ONE "&"', "A<B"]
FRAMES = [120, 160, 100, 60]
RATE = 8000


class Page(HTMLParser):
    """What a browser would see: elements with their attributes and the text in each; unclosed ones are refused."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str], tuple[str, ...]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.found.append((tag, dict(attributes), tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list) -> None:
        assert tag in VOID
        self.found.append((tag, dict(attributes), tuple(self.open)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes, _ in self.found if name == tag]

    def said(self) -> str:
        return "\n".join(text for inside, text in self.texts if inside not in ("style", "script"))


def sound(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(-9000, 9000, FRAMES[number] * RATE // 100).astype(np.int16)


def make_scored(folder: Path) -> Path:
    """An experiment of a random model that recognised four utterances greedily, with scores and curves."""
    from torch.utils.tensorboard import SummaryWriter

    lang = make_lang(folder / "lang", LEXICON, silence="SIL")
    experiment = folder / "exp" / "tiny"
    make_experiment(experiment, lang)
    cuts = make_cuts(folder / "fbank" / "test.jsonl", TEXTS, FRAMES)
    for number, cut in enumerate(cuts):
        wav = folder / f"{number}.wav"
        soundfile.write(wav, sound(number), RATE)
        cut["recording"] |= {"sampling_rate": RATE, "sources": [{"type": "file", "source": str(wav)}]}
        cut["supervisions"][0]["speaker"] = f"<{number % 2}>"
    write_jsonl(folder / "fbank" / "test.jsonl", cuts)
    manifest = folder / "fbank" / "test.jsonl"
    decode, score = step_module("decode"), step_module("score")
    shared = {"experiment": experiment, "lang": folder / "lang", "method": ["ctc_greedy"]}
    decode.run(decode.DecodeOptions(**shared, test_cuts=[manifest], out=experiment / "decode"))
    score.run(score.Options(decode=experiment / "decode", cuts=[manifest]))
    with SummaryWriter(str(experiment / "tensorboard")) as writer:
        for step in range(20):
            writer.add_scalar("train/loss", 3.0 - step / 10, step)
            writer.add_scalar("train/lr", 0.001, step)
        writer.add_scalar("dev/loss", 1.75, 19)
    return experiment


def report(folder: Path, worst: int = 10, max_audio: float = 20.0) -> Page:
    made, _ = make_page(
        folder / "exp" / "tiny", [folder / "fbank" / "test.jsonl"], folder / "lang", worst, max_audio, "final"
    )
    return Page(made)


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    make_scored(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("report")
    make_scored(folder)
    return report(folder)


# The page


def test_the_page_asks_for_nothing_outside_itself(page: Page):
    addresses = [
        attributes[name] for _, attributes, _ in page.found for name in ("src", "href", "srcset", "action")
        if name in attributes
    ]  # fmt: skip
    assert addresses and all(address.startswith("data:") for address in addresses)
    assert not page.all("link") and not page.all("iframe")
    code = "".join(text for inside, text in page.texts if inside in ("style", "script"))
    assert not any(word in code for word in ("url(", "@import", "http", "fetch", "//"))


def test_a_browser_is_told_to_load_nothing(page: Page):
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and "http" not in policy


def test_a_phone_shows_the_page_at_its_own_width_and_scrolls_tables_and_pictures_in_boxes(page: Page):
    (viewport,) = [meta["content"] for meta in page.all("meta") if meta.get("name") == "viewport"]
    assert viewport == "width=device-width, initial-scale=1"
    places = [place for place, (tag, _, _) in enumerate(page.found) if tag == "table"]
    places += [place for place, (_, about, _) in enumerate(page.found) if "data-second" in about]
    assert places and all("wide" in page.found[place - 1][1]["class"].split() for place in places)


def test_transcripts_and_names_are_text_and_never_markup(page: Page):
    assert {"A<B", '"&"', "<1>"} <= {text for _, text in page.texts}
    assert len(page.all("script")) == 1


def test_attributes_are_escaped():
    assert el("p", title='a"><script>') == '<p title="a&quot;&gt;&lt;script&gt;"></p>'


def test_the_best_method_is_marked_and_how_it_was_chosen_is_said(page: Page):
    assert "★ ctc_greedy" in page.said() and "★ ctc_greedy, fixed beforehand." in page.said()
    assert [row.get("class") for row in page.all("tr")][:2] == [None, "best"]


def test_columns_of_numbers_stand_to_the_right():
    found = Page(table(["name", "count"], [["a", "12"], ["b", "-"]]))
    assert [cell.get("class") for cell in found.all("td")] == [None, "n", None, "n"]


def test_numbers_with_a_sign_are_numbers():
    found = Page(table(["name", "difference"], [["a", "-1.2"], ["b", "+3.4"]]))
    assert [cell.get("class") for cell in found.all("td")] == [None, "n", None, "n"]


def test_the_model_and_its_training_are_named(page: Page):
    assert "tiny" in page.said() and "tdnn, " in page.said() and "parameters" in page.said()


# Curves


def test_train_and_dev_loss_are_drawn_and_their_last_values_named(page: Page):
    assert "train, each step, last 1.1" in page.said() and "dev, last 1.75" in page.said()
    drawn = {line["class"]: len(line["points"].split()) for line in page.all("polyline")}
    assert drawn == {"faint": 20, "two": 1, "one": 20}
    assert "Gradient norm: not recorded" in page.said()


def test_without_events_the_page_says_so(scored: Path):
    for path in (scored / "exp" / "tiny" / "tensorboard").iterdir():
        path.unlink()
    assert "No curves" in report(scored, worst=0).said()


def test_without_tensorboard_the_page_says_so(scored: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tensorboard.backend.event_processing.event_accumulator", None)
    assert "No curves: TensorBoard is not installed" in report(scored, worst=0).said()


def test_curves_are_what_was_recorded(scored: Path):
    curves = read_curves(scored / "exp" / "tiny" / "tensorboard")
    assert [step for step, _ in curves["train/loss"]] == list(range(20))
    assert [value for _, value in curves["train/loss"]] == pytest.approx([3.0 - step / 10 for step in range(20)])


def test_a_long_curve_is_drawn_with_few_points_that_keep_its_peaks():
    points = [(float(step), 1.0) for step in range(100_000)]
    points[777] = (777.0, 50.0)
    bins = binned(points)
    assert len(bins) <= BINS
    assert max(high for _, _, _, high in bins) == 50.0


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (0.7, 0.9), (0.01, 3.0), (1e-9, 5.0), (2.0, 2.0), (0.0, 0.0), (-3.0, 7.0), (3, 1e5)]
)
def test_an_axis_has_a_few_round_numbers_in_its_range(low: float, high: float):
    scale = Scale.of(low, high)
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 12 and all(0 <= scale.place(tick) <= 1 for tick in ticks)
    assert 0 <= scale.place(low) <= scale.place(high) <= 1


# The worst utterances


def test_the_worst_have_the_most_errors_then_the_highest_rate_then_the_least_probable_hypothesis():
    errors = {"few": Errors(4, subs=1), "many": Errors(9, dels=3), "short": Errors(1, subs=1), "certain": Errors(5),
              "doubtful": Errors(5)}  # fmt: skip
    totals = {"certain": -1.0, "doubtful": -50.0}
    assert worst_first(errors, totals, 9) == ["many", "short", "few", "doubtful", "certain"]
    assert worst_first(errors, totals, 2) == ["many", "short"]


def test_as_many_are_shown_as_were_asked_for(scored: Path):
    assert len(report(scored, worst=2).all("article")) == 2


def test_each_kind_of_error_has_its_letter_and_look():
    found = Page(aligned(["one", "two", "three"], ["one", "zwei", "three", "four"]))
    assert [about["class"] for about in found.all("span") if about.get("class", "").startswith("w")] == [
        "w label", "w", "w s", "w", "w i"]  # fmt: skip
    assert [text for inside, text in found.texts if inside == "b"] == ["S", "I"]
    deleted = Page(aligned(["one", "two"], ["one"]))
    assert [text for inside, text in deleted.texts if inside == "b"] == ["D"]


def test_what_is_heard_is_the_recording_to_the_sample(page: Page):
    sounds = [about["src"] for about in page.all("audio")]
    assert len(sounds) == len(TEXTS)
    heard = []
    for source in sounds:
        kind, _, content = source.partition(";base64,")
        assert kind == "data:audio/flac"
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(content)), dtype="int16")
        assert rate == RATE
        heard.append(samples.tolist())
    assert sorted(heard) == sorted(sound(number).tolist() for number in range(len(TEXTS)))


def test_a_missing_recording_is_a_note_on_the_page(scored: Path):
    (scored / "1.wav").unlink()
    found = report(scored)
    assert len(found.all("audio")) == len(TEXTS) - 1
    assert "No sound: missing: no such file." in found.said()


def test_sound_stops_at_the_size_that_was_set(scored: Path):
    found = report(scored, max_audio=0.02)
    assert 0 < len(found.all("audio")) < len(TEXTS)
    assert "the size that --max-audio sets" in found.said()


def test_missing_features_are_a_note_on_the_page(scored: Path):
    (scored / "fbank" / "test.lca").unlink()
    found = report(scored)
    assert not found.all("image") and "no such archive, in which" in found.said()


def test_a_transcript_that_cannot_be_aligned_is_a_note_and_the_rest_is_shown(scored: Path):
    manifest = scored / "fbank" / "test.jsonl"
    rows = list(read_jsonl(manifest))
    rows[0]["supervisions"][0]["text"] = "ELEPHANT"
    write_jsonl(manifest, rows)
    found = report(scored)
    assert "The reference has no alignment" in found.said() and "ELEPHANT" in found.said()
    assert len(found.all("image")) == len(TEXTS)


def test_an_utterance_without_frames_is_a_note(listener: Listener, tmp_path: Path):
    (cut,) = make_cuts(tmp_path / "short.jsonl", ["A<B"], [0])
    with pytest.raises(EgretError, match="no features"):
        listener.listen(cut)


def test_an_utterance_without_hypothesis_is_shown_as_such(scored: Path):
    path = scored / "exp" / "tiny" / "decode" / "test_ctc_greedy" / "hyp.jsonl"
    write_jsonl(path, list(read_jsonl(path))[1:])
    assert "It has no hypothesis" in report(scored).said()


def test_the_verdict_says_whether_the_acoustic_model_is_to_blame():
    assert "acoustic model itself prefers the hypothesis" in verdict(-20.0, -10.0)
    assert "prefers the reference" in verdict(-10.0, -20.0)


# What the model hears


@pytest.fixture
def listener(tmp_path: Path) -> Listener:
    lang = make_lang(tmp_path / "lang", LEXICON, silence="SIL")
    return Listener(make_experiment(tmp_path / "exp", lang), lang)


def test_the_tokens_heard_are_those_of_greedy_decoding(listener: Listener):
    log_probs, lengths = random_log_probs(1, [40], listener.lang)
    spans = listener.heard(log_probs[0].numpy())
    assert [span.token for span in spans] == ctc_greedy(log_probs, lengths)[0][0]
    for span in spans:
        assert (log_probs[0, span.start : span.end].argmax(dim=1) == span.token).all()


def test_frames_become_seconds_through_subsampling_and_frame_shift(listener: Listener):
    log_probs = torch.full((10, len(listener.lang.units)), -5.0)
    log_probs[:, 0] = -0.1
    log_probs[4:6, listener.lang.tokens["AH"]] = -0.01
    cut = {"duration": 0.2, "features": {"frame_shift": 0.01}}  # the model takes every other frame
    (token,) = listener.tokens(listener.heard(log_probs.numpy()), cut)
    assert (token.name, round(token.start, 3), round(token.end, 3)) == ("AH", 0.08, 0.12)
    assert token.probability == pytest.approx(np.exp(-0.01))


def test_tokens_that_lie_close_stand_below_each_other():
    tokens = [Token("AH", start, start + 0.04, 1.0) for start in (0.0, 0.04, 0.08, 1.0)]
    assert levels(tokens) == [0, 1, 2, 0]
    assert max(levels([Token("AH", place / 100, place / 100, 1.0) for place in range(50)])) < LEVELS


def test_the_page_of_a_conformer_has_its_attention_and_that_of_a_tdnn_has_none(scored: Path):
    assert "Mean over the heads" not in report(scored, worst=1).said()
    model, config = conformer(Lang.read(scored / "lang"))
    save_config(scored / "exp" / "tiny" / "config.yaml", config)
    save_weights(scored / "exp" / "tiny" / "final.safetensors", model.state_dict())
    found = report(scored, worst=1)
    assert "Mean over the heads" in found.said()
    assert [image["alt"] for image in found.all("img")] == [f"attention weights, layer {n} of 5" for n in (1, 3, 5)]


# Pictures


def run_report(run_step: Callable[..., str], folder: Path, *more: str, code: int = 0) -> str:
    return run_step("report", folder, "--experiment", "exp/tiny", "--lang", "lang", "--cuts", "fbank/test.jsonl",
                    *more, code=code)  # fmt: skip


def test_the_step_leaves_the_page_and_is_then_up_to_date(scored: Path, run_step: Callable[..., str]):
    assert "utterances 4" in run_report(run_step, scored)
    assert (scored / "exp/tiny/report.html").read_text().startswith("<!DOCTYPE html>")
    assert "up to date" in run_report(run_step, scored)
    assert "input best.json changed" in run_report_after_change(run_step, scored)


def run_report_after_change(run_step: Callable[..., str], folder: Path) -> str:
    path = folder / "exp/tiny/best.json"
    path.write_text(path.read_text() + "\n")
    return run_report(run_step, folder)


def test_two_runs_make_the_same_page(scored: Path, run_step: Callable[..., str]):
    run_report(run_step, scored)
    first = (scored / "exp/tiny/report.html").read_bytes()
    run_report(run_step, scored, "--force")
    assert (scored / "exp/tiny/report.html").read_bytes() == first


def test_the_report_leaves_the_experiment_what_it_was_for_the_steps_that_read_it(
    scored: Path, run_step: Callable[..., str]
):
    write_json(scored / "exp/tiny/.stamp.train.json", {
        "version": 1, "options": {}, "inputs": {}, "seconds": 1, "finished": "",
        "outputs": {"final.safetensors": {"bytes": 0, "mtime_ns": 0, "sha256": "x"}},
    })  # fmt: skip
    before = fingerprint(scored / "exp/tiny")
    run_report(run_step, scored)
    assert fingerprint(scored / "exp/tiny") == before


def test_the_model_shown_is_the_one_that_was_decoded_with(scored: Path, run_step: Callable[..., str]):
    write_json(scored / "exp/tiny/decode/.stamp.decode.json", {
        "version": 1, "options": {"weights": "epoch-030"}, "inputs": {}, "seconds": 1, "finished": "", "outputs": {},
    })  # fmt: skip
    assert "epoch-030" in run_report(run_step, scored, code=1)  # there is no such checkpoint
    checkpoint = scored / "exp/tiny/checkpoints/epoch-030"
    checkpoint.mkdir(parents=True)
    (scored / "exp/tiny/final.safetensors").rename(checkpoint / "model.safetensors")
    assert "utterances 4" in run_report(run_step, scored)


def test_an_experiment_without_scores_is_refused_in_one_line(scored: Path, run_step: Callable[..., str]):
    (scored / "exp/tiny/decode/test_ctc_greedy/score.json").unlink()
    assert "no scores in it" in run_report(run_step, scored, code=1)


def test_an_experiment_without_a_best_method_is_refused_in_one_line(scored: Path, run_step: Callable[..., str]):
    (scored / "exp/tiny/best.json").unlink()
    assert "no best.json in it" in run_report(run_step, scored, code=1)


def test_a_part_without_its_manifest_is_refused(scored: Path):
    other = scored / "fbank" / "dev.jsonl"
    other.write_bytes((scored / "fbank" / "test.jsonl").read_bytes())
    with pytest.raises(EgretError, match="'test' was decoded, --cuts has dev"):
        make_page(scored / "exp" / "tiny", [other], scored / "lang", 1, 1.0, "final")


def test_another_lang_folder_is_refused(scored: Path):
    make_lang(scored / "other", [("X", ["X"])])
    with pytest.raises(EgretError, match="trained on other units"):
        make_page(scored / "exp/tiny", [scored / "fbank/test.jsonl"], scored / "other", 1, 1.0, "final")


def test_a_mistyped_experiment_is_refused(tmp_path: Path, run_step: Callable[..., str]):
    write_jsonl(tmp_path / "dev.jsonl", [])
    make_lang(tmp_path / "lang", LEXICON)
    said = run_step("report", tmp_path, "--experiment", "typo", "--lang", "lang", "--cuts", "dev.jsonl", code=1)
    assert "--experiment typo: no trained model here" in said
