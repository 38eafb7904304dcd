"""Two experiments beside each other: what differs is shown, and a test is made only where there is one to make."""

import json
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist, fmean, stdev
from typing import Any

import numpy as np
import pytest

from egret.base.errors import EgretError, UsageError
from egret.base.files import read_json, write_json, write_jsonl
from egret.models.files import save_config
from egret.report.compare import Comparison, compare
from egret.report.compare_page import make_page
from egret.report.compare_text import as_text
from egret.scoring.bootstrap import matched_pairs, paired
from egret.training.options import TrainOptions
from folders import step_module
from test_report import Page

REFERENCES = {f"u{number:02d}": "ONE TWO THREE" for number in range(20)}
BAD = {name: "ONE TWO SIX" if place % 2 else text for place, (name, text) in enumerate(REFERENCES.items())}
CONFIG: dict[str, Any] = {"cuts": "train.jsonl", "loss": "ctc", "units": "0" * 64, "seed": 1, "optim": {"lr": 1e-3}}
Run = Callable[..., tuple[int, str]]


def make(
    folder: Path,
    hypotheses: dict[str, str] | None = None,
    references: dict[str, str] = REFERENCES,
    part: str = "test",
    normaliser: str = "plain",
    metric: str = "wer",
    cer_latin: str = "auto",
    curves: dict[str, list[float]] | None = None,
    **config: Any,
) -> Path:
    """An experiment as its files tell of it, scored where there are hypotheses."""
    save_config(folder / "config.yaml", CONFIG | config)
    write_json(folder / ".begun.json", {"inputs": {"cuts": "sha256:" + "a" * 64}})
    write_json(folder / "env.json", {"git": "v1", "python": "3.10", "packages": {"torch": "2.0", "k2": None}})
    if hypotheses is not None:
        manifest = folder / f"{part}.jsonl"
        rows = [{"id": name, "supervisions": [{"start": 0, "text": text}]} for name, text in references.items()]
        write_jsonl(manifest, rows)
        decoded = folder / "decode" / f"{part}_greedy"
        write_jsonl(decoded / "hyp.jsonl", [{"id": name, "words": text.split()} for name, text in hypotheses.items()])
        about = {"part": part, "method": "greedy", "params": {}, "chosen_on": "fixed"}
        write_json(decoded / "params.json", about)
        score = step_module("score")
        score.run(score.Options(decode=folder / "decode", cuts=[manifest], normaliser=normaliser, metric=metric,
                                cer_latin=cer_latin))  # fmt: skip
    if curves:
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(folder / "tensorboard")) as writer:
            for name, values in curves.items():
                for epoch, value in enumerate(values, 1):
                    writer.add_scalar(name, value, 10 * epoch - 1)
    return folder


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two experiments, `bad` with ten errors in sixty words and `good` with none."""
    folder = tmp_path_factory.mktemp("compared")
    make(folder / "bad", BAD, curves={"train/epoch_loss": [4.0, 3.0, 2.5], "dev/loss": [3.5, 2.75, 3.0]})
    make(folder / "good", REFERENCES, curves={"train/epoch_loss": [3.0, 1.5], "train/lr": [0.001, 0.002]},
         optim={"lr": 2e-3}, model={"encoder": "tdnn"})  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def found(scored: Path) -> Comparison:
    return compare(scored / "bad", scored / "good")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Run:
    """Exit code of the program and all that it said."""

    def start(*words: object) -> tuple[int, str]:
        code = step_module("compare").start([str(word) for word in words])
        return code, "".join(capsys.readouterr())

    return start


# What differs


def test_only_options_that_differ_are_shown_by_their_dotted_names(found: Comparison):
    assert found.config == [("model.encoder", "-", "tdnn"), ("optim.lr", "0.001", "0.002")]


def test_an_option_that_an_older_experiment_lacks_has_its_default(tmp_path: Path):
    make(tmp_path / "older")
    make(tmp_path / "newer", patience=TrainOptions.patience, average=3)
    assert compare(tmp_path / "older", tmp_path / "newer").config == [("average", "5", "3")]


def test_other_content_under_the_same_path_is_a_difference(tmp_path: Path):
    make(tmp_path / "a")
    make(tmp_path / "b")
    write_json(tmp_path / "b" / ".begun.json", {"inputs": {"cuts": "sha256:" + "b" * 64}})
    assert compare(tmp_path / "a", tmp_path / "b").config == [("cuts (content)", "aaaaaaaa", "bbbbbbbb")]


def test_other_versions_of_software_are_shown(tmp_path: Path):
    make(tmp_path / "a")
    make(tmp_path / "b")
    write_json(tmp_path / "b" / "env.json", {"git": "v1", "python": "3.10", "packages": {"torch": "2.1"}})
    assert compare(tmp_path / "a", tmp_path / "b").software == [("torch", "2.0", "2.1")]


def test_losses_stand_beside_each_other_by_epoch(found: Comparison):
    assert [epoch.train for epoch in found.epochs] == [(4.0, 3.0), (3.0, 1.5), (2.5, None)]
    assert [epoch.dev for epoch in found.epochs] == [(3.5, None), (2.75, None), (3.0, None)]


def test_losses_of_other_kinds_are_said_to_be_such(tmp_path: Path):
    curve = {"train/epoch_loss": [1.0]}
    make(tmp_path / "a", curves=curve)
    make(tmp_path / "b", curves=curve, loss="ctc_graph")
    assert "Losses are not of one kind, for they differ in loss." in compare(tmp_path / "a", tmp_path / "b").notes


# The screen and the page


def test_the_screen_has_every_section(found: Comparison):
    lines = as_text(found).splitlines()
    rows = {line.split()[0]: line.split() for line in lines if line.strip()}
    assert rows["optim.lr"] == ["optim.lr", "0.001", "0.002"]
    assert rows["2"] == ["2", "3.0000", "1.5000", "2.7500", "-"]
    assert "lowest on dev: A 2.7500 in epoch 2" in lines
    assert rows["test"][:5] == ["test", "WER", "20", "16.67", "0.00"]
    assert any(line.startswith("test  greedy  16.67 [") and "0.00 [0.00, 0.00] *" in line for line in lines)


def test_a_long_training_takes_a_screen_at_most(tmp_path: Path):
    for name in "ab":
        make(tmp_path / name, curves={"train/epoch_loss": [1.0] * 200})
    lines = as_text(compare(tmp_path / "a", tmp_path / "b")).splitlines()
    rows = [line for line in lines if line.strip()[:1].isdigit()]
    assert 15 <= len(rows) <= 25 and rows[-1].split()[0] == "200"


def test_the_page_draws_both_curves(found: Comparison):
    drawn = [line["class"] for line in Page(make_page(found)).all("polyline")]
    assert drawn == ["one", "two", "one", "two"]  # loss of training of both, loss on dev of A, learning rate of B


def test_the_page_shows_scores_and_test_and_asks_for_no_other_file(found: Comparison):
    page = Page(make_page(found))
    assert {"B is better", "16.67"} <= {text for _, text in page.texts}
    assert not any("src" in attributes or "href" in attributes for _, attributes, _ in page.found)


def test_out_leaves_the_page_and_all_figures(scored: Path, tmp_path: Path, run: Run):
    assert run(scored / "bad", scored / "good", "--out", tmp_path)[0] == 0
    [test] = read_json(tmp_path / "compare.json")["tests"]
    assert test["verdict"] == "B is better" and (tmp_path / "compare.html").stat().st_size > 1000


# The paired test


def test_the_difference_is_in_points_of_the_second_less_the_first(found: Comparison):
    [test] = found.tests
    assert test.found is not None and test.found.difference == pytest.approx(-100 * 10 / 60)


def test_two_of_the_same_are_no_different(scored: Path, tmp_path: Path):
    make(tmp_path / "twin", BAD)
    [test] = compare(scored / "bad", tmp_path / "twin").tests
    assert test.verdict == "may be chance" and test.found is not None and test.found.p is None


def test_the_bootstrap_of_two_utterances_is_what_one_can_count():
    # Drawing two of two, the one that differs is among them three times in four, twice once in four.
    result = paired([1, 0], [0, 0], [1, 1])
    assert result.fewer[0] == pytest.approx(0.75, abs=0.02) and result.fewer[1] == 0.0
    assert result.ci95 == (-100.0, 0.0)


def test_the_interval_is_that_of_the_difference_and_not_of_each_rate():
    # Both have the same utterances wrong, but for one: each rate is uncertain, the difference is not.
    errors = [0] * 50 + [5] * 50
    result = paired(errors, [*errors[:-1], 4], [5] * 100)
    assert -1.0 < result.ci95[0] <= result.difference <= result.ci95[1] <= 0.0


def test_matched_pairs_are_those_of_gillick_and_cox():
    apart = np.random.default_rng(1).integers(-2, 4, 40)
    score = fmean(apart.tolist()) / (stdev(apart.tolist()) / 40**0.5)
    assert matched_pairs(apart) == pytest.approx(2 * NormalDist().cdf(-abs(score)))


def test_where_utterances_differ_it_is_said_and_the_test_is_on_those_of_both(tmp_path: Path):
    fewer = dict(list(REFERENCES.items())[:15])
    make(tmp_path / "a", BAD)
    make(tmp_path / "b", fewer, references=fewer)
    [test] = compare(tmp_path / "a", tmp_path / "b").tests
    assert test.found is not None and test.found.utterances == 15
    assert test.note == "scored on different utterances: 5 only in A, 0 only in B; the test is on the 15 that both have"


def test_there_is_no_test_without_an_utterance_of_both(tmp_path: Path):
    other = {f"x{name}": text for name, text in REFERENCES.items()}
    make(tmp_path / "a", BAD)
    make(tmp_path / "b", other, references=other)
    [test] = compare(tmp_path / "a", tmp_path / "b").tests
    assert test.found is None and "none of which both have" in test.note


def test_there_is_no_test_of_texts_that_were_normalised_differently(tmp_path: Path):
    make(tmp_path / "a", BAD)
    make(tmp_path / "b", REFERENCES, normaliser="lower")
    [test] = compare(tmp_path / "a", tmp_path / "b").tests
    assert test.found is None and "normalised differently: A plain 1, B lower 1" in test.note


def test_there_is_no_test_against_other_transcripts(tmp_path: Path):
    make(tmp_path / "a", BAD)
    make(tmp_path / "b", REFERENCES, references=REFERENCES | {"u03": "ONE TWO FOUR"})
    [test] = compare(tmp_path / "a", tmp_path / "b").tests
    assert test.found is None and "the transcripts of 1 of 20 utterances differ (u03)" in test.note


def test_scores_of_an_older_version_are_to_be_made_again(tmp_path: Path):
    make(tmp_path / "a", BAD)
    make(tmp_path / "b", REFERENCES)
    (tmp_path / "b" / "decode" / "test_greedy" / "errors.jsonl").unlink()
    [test] = compare(tmp_path / "a", tmp_path / "b").tests
    assert test.found is None and "score it again" in test.note


def test_where_the_method_was_chosen_by_cer_characters_are_compared(tmp_path: Path):
    make(tmp_path / "a", BAD, metric="cer")
    make(tmp_path / "b", REFERENCES, metric="cer")
    [test] = compare(tmp_path / "a", tmp_path / "b").tests
    # THREE against SIX: five letters, of which none is kept in its place; 11 letters in each of 20 utterances.
    assert (test.metric, test.found and test.found.rates[0]) == ("cer", pytest.approx(100 * 10 * 5 / (20 * 11)))


def test_there_is_no_test_of_cer_in_other_units(tmp_path: Path):
    make(tmp_path / "a", BAD, metric="cer")
    make(tmp_path / "b", REFERENCES, metric="cer", cer_latin="word")
    [test] = compare(tmp_path / "a", tmp_path / "b").tests
    assert test.found is None and "CER takes Latin words for letters in A, for words in B" in test.note


def test_where_the_method_was_chosen_by_mixed_errors_these_are_compared(tmp_path: Path):
    make(tmp_path / "a", BAD, metric="mer")
    make(tmp_path / "b", REFERENCES, metric="mer")
    [test] = compare(tmp_path / "a", tmp_path / "b").tests
    assert (test.metric, test.found and test.found.rates[0]) == ("mer", pytest.approx(100 * 10 / 60))


def test_a_part_that_something_was_chosen_on_is_said_to_be_no_evidence(tmp_path: Path):
    make(tmp_path / "a", BAD)
    make(tmp_path / "b", REFERENCES)
    assert not compare(tmp_path / "a", tmp_path / "b").tests[0].note
    path = tmp_path / "b/decode/test_greedy/score.json"
    write_json(path, read_json(path) | {"chosen_on": "dev test"})
    [test] = compare(tmp_path / "a", tmp_path / "b").tests
    assert test.found is not None and "were chosen on it, so that a difference here is no evidence" in test.note


def test_parts_that_only_one_has_are_scored_and_not_tested(scored: Path, tmp_path: Path):
    make(tmp_path / "other", REFERENCES, part="dev")
    result = compare(scored / "bad", tmp_path / "other")
    assert not result.tests and "dev   greedy  -" in as_text(result)


# What cannot be compared


def test_an_experiment_that_was_not_decoded_is_compared_as_far_as_it_goes(scored: Path, tmp_path: Path, run: Run):
    make(tmp_path / "new", seed=2)
    code, said = run(scored / "bad", tmp_path / "new")
    assert code == 0 and "seed  1  2" in said
    assert "note: B: not compared in its scores:" in said and "steps/decode.py" in said


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere", "no such folder"), ("empty", "it has no config.yaml; give one that steps/train.py left"),
     ("exp", "no experiment, it has no config.yaml; it holds tdnn"), ("damaged", "not valid YAML"),
     ("text", "does not describe a trained model")],
)  # fmt: skip
def test_a_folder_that_is_no_experiment_is_refused(name: str, message: str, tmp_path: Path):
    make(tmp_path / "exp" / "tdnn")
    for folder, content in (("empty", None), ("damaged", "a: ["), ("text", "words")):
        (tmp_path / folder).mkdir()
        if content:
            (tmp_path / folder / "config.yaml").write_text(content)
    with pytest.raises(EgretError, match=message):
        compare(tmp_path / "exp" / "tdnn", tmp_path / name)


def test_an_experiment_and_itself_are_refused(scored: Path):
    with pytest.raises(UsageError, match="the same experiment; give two"):
        compare(scored / "bad", scored / "good" / ".." / "bad")


def test_one_folder_is_a_wrong_use(scored: Path, run: Run):
    code, said = run(scored / "bad")
    assert code == 2 and "compare: error: the following arguments are required: second" in said


def test_figures_are_plain_json(found: Comparison):
    assert json.loads(json.dumps(found.as_plain()))["best"] == ["greedy", "greedy"]
