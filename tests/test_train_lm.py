"""Language models are trained by the loop that trains acoustic ones: it learns, goes on exactly, and loses nothing
silently; perplexities are what they are called."""

import gzip
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors import safe_open
from safetensors.torch import load_file

from egret.base.files import count_lines, read_json, read_jsonl, write_json
from egret.base.options import parse
from egret.lang.lang import Lang
from egret.lm.vocabulary import Vocabulary
from egret.models.language_model import token_scores
from egret.models.language_model_files import load_language_model
from egret.training.lm_options import LmOptions
from folders import make_cuts, make_lang, step_module

ROOT = Path(__file__).resolve().parents[1]
WORDS = ["add", "bad", "cab", "dab", "fad"]
TEN = ["add bad", "cab", "dab fad add", "bad bad cab", "fad", "add cab dab", "fad bad", "cab cab", "dab", "bad fad add"]
SMALL = ["--threads", "1", "--model.lstm.dim", "24", "--model.lstm.layers", "1", "--model.lstm.dropout", "0"]
SMALL += ["--model.gru.dim", "24", "--model.gru.layers", "1", "--model.gru.dropout", "0"]
SMALL += ["--model.transformer.dim", "24", "--model.transformer.layers", "2", "--model.transformer.heads", "2"]
SMALL += ["--model.transformer.dropout", "0", "--batch.max-tokens", "24", "--optim.lr", "0.01"]

TrainLm = Callable[..., str]


@pytest.fixture
def train_lm(run_step: Callable[..., str], tmp_path: Path) -> TrainLm:
    """Train on ten sentences: `train_lm("lm", "--epochs", "2", code=0)`; returns what was said."""
    make_lang(tmp_path / "lang", [(word, list(word)) for word in WORDS])
    write(tmp_path / "ten.txt", TEN)

    def run(out: str, *more: str, code: int = 0, text: str = "ten.txt") -> str:
        return run_step("train_lm", tmp_path, "--text", text, "--lang", "lang", "--out", out, *SMALL, *more, code=code)

    return run


def write(path: Path, lines: list[str]) -> None:
    path.write_text("".join(line + "\n" for line in lines))


def weights(folder: Path) -> dict[str, Any]:
    return {name: tensor.tolist() for name, tensor in load_file(folder / "final.safetensors").items()}


def loss_of(folder: Path) -> float:
    state = max((folder / "checkpoints").glob("epoch-*/state.json"))
    return read_json(state)["train_loss"]


# It learns


@pytest.mark.parametrize("network", ["lstm", "gru", "transformer"])
def test_ten_sentences_are_learnt_by_heart(train_lm: TrainLm, tmp_path: Path, network: str) -> None:
    often = ["--batch.weights", "20", "--batch.max-tokens", "100", "--batch.jitter", "2"]  # of all lengths
    train_lm("lm", "--model.network", network, *often, "--epochs", "25", "--average", "1", "--dev-text", "ten.txt")
    # Ten sentences that are equally likely: nothing can know which of them comes, and that is all there is to know.
    known = math.log(10) * 10 / (sum(len(line.split()) for line in TEN) + 10)
    reported = read_json(tmp_path / "lm/report.json")["perplexity"]["ten.txt"]["perplexity"]
    assert known - 1e-3 < math.log(reported) < 1.2 * known


def test_the_loss_on_dev_is_the_logarithm_of_the_perplexity(train_lm: TrainLm, tmp_path: Path) -> None:
    write(tmp_path / "dev.txt", ["add cab", "fad fad fad"])
    train_lm("lm", "--epochs", "1", "--average", "1", "--dev-text", "dev.txt")
    loss = read_json(tmp_path / "lm/checkpoints/epoch-001/state.json")["dev_loss"]
    assert read_json(tmp_path / "lm/report.json")["perplexity"]["dev.txt"]["perplexity"] == round(math.exp(loss), 3)


# It is the same loop


@pytest.mark.parametrize("network", ["lstm", pytest.param("transformer", marks=pytest.mark.slow)])
def test_a_killed_run_ends_as_one_that_was_not(train_lm: TrainLm, tmp_path: Path, network: str) -> None:
    common = ["--epochs", "8", "--save-steps", "1", "--model.network", network, "--ema", "0.9"]
    common += [f"--model.{network}.dropout", "0.3"]
    train_lm("whole", *common)
    command = [sys.executable, ROOT / "steps/train_lm.py", "--text", "ten.txt", "--lang", "lang", "--out", "killed"]
    process = subprocess.Popen([*command, *SMALL, *common], cwd=tmp_path, stdout=subprocess.DEVNULL,
                               env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    while process.poll() is None and not list((tmp_path / "killed/checkpoints").glob("step-*")):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed/final.safetensors").exists(), "it ended before it could be killed"
    assert "going on from" in train_lm("killed", *common)
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")


def test_another_configuration_is_refused_and_other_networks_are_no_part_of_it(train_lm: TrainLm) -> None:
    train_lm("lm", "--epochs", "1")
    said = train_lm("lm", "--epochs", "1", "--model.lstm.dim", "12", code=1)
    assert "model.lstm.dim 24 -> 12" in said and "--force" in said
    assert "epoch 2:" in train_lm("lm", "--epochs", "2", "--model.gru.dim", "12")


def test_other_text_is_refused(train_lm: TrainLm, tmp_path: Path) -> None:
    train_lm("lm", "--epochs", "1")
    write(tmp_path / "ten.txt", ["add"])
    assert "--text has other content" in train_lm("lm", "--epochs", "1", code=1)


def test_another_test_part_is_reported_without_training_again(train_lm: TrainLm, tmp_path: Path) -> None:
    make_cuts(tmp_path / "cuts/test.jsonl", TEN[:2], [4, 4])
    make_cuts(tmp_path / "cuts/more.jsonl", TEN[2:4], [4, 4])
    train_lm("lm", "--epochs", "1", "--test-cuts", "cuts/test.jsonl")
    trained = (tmp_path / "lm/final.safetensors").read_bytes()
    assert "epoch 1:" not in train_lm("lm", "--epochs", "1", "--test-cuts", "cuts/test.jsonl", "cuts/more.jsonl")
    assert list(read_json(tmp_path / "lm/report.json")["perplexity"]) == ["test", "more"]
    assert (tmp_path / "lm/final.safetensors").read_bytes() == trained


def test_what_was_begun_when_test_parts_counted_goes_on(train_lm: TrainLm, tmp_path: Path) -> None:
    train_lm("lm", "--epochs", "1")
    begun = read_json(tmp_path / "lm/.begun.json")
    begun["inputs"] |= {"test_cuts": "0", "test_cuts 2": "1"}
    write_json(tmp_path / "lm/.begun.json", begun)
    assert "epoch 2:" in train_lm("lm", "--epochs", "2")


@pytest.mark.slow
def test_two_processes_do_what_one_does_with_twice_the_accumulation(train_lm: TrainLm, tmp_path: Path) -> None:
    train_lm("one", "--epochs", "2", "--accumulate", "2")
    command = [sys.executable, ROOT / "steps/train_lm.py", "--text", "ten.txt", "--lang", "lang", "--out", "two"]
    subprocess.run([*command, *SMALL, "--epochs", "2", "--num-processes", "2"], cwd=tmp_path, check=True,
                   env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)  # fmt: skip
    one, two = (load_file(tmp_path / name / "final.safetensors") for name in ("one", "two"))
    assert all(one[name].allclose(two[name], atol=1e-5) for name in one)


def test_batches_are_as_large_as_tokens_allow(train_lm: TrainLm, tmp_path: Path) -> None:
    said = train_lm("lm", "--epochs", "1", "--batch.max-tokens", "8", "--log-seconds", "0.001")
    assert "the largest batch, 8 tokens with padding" in said and "tokens/s" in said


def test_out_of_memory_speaks_of_tokens(train_lm: TrainLm, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("egret.training.text.with_ends", full)
    said = train_lm("lm", "--epochs", "1", "--check-batches", "false", code=1)
    assert "memory ran out" in said and "lower --batch.max-tokens" in said


# Perplexity


def test_perplexities_are_computed_by_hand(train_lm: TrainLm, tmp_path: Path) -> None:
    lines = ["add what bad", "cab"]
    write(tmp_path / "dev.txt", lines)
    train_lm("lm", "--epochs", "2", "--dev-text", "dev.txt")
    model, _ = load_language_model(tmp_path / "lm")
    vocabulary = Vocabulary(Lang.read(tmp_path / "lang"), "word")
    scores = token_scores(model, [vocabulary.encode(line.split()) for line in lines])
    total, unknown = sum(map(sum, scores)), scores[0][1]
    found = read_json(tmp_path / "lm/report.json")["perplexity"]["dev.txt"]
    assert found == {
        "sentences": 2,
        "words": 4,
        "tokens": 4,
        "oov": 1,
        "oov_percent": 25.0,
        "perplexity": round(math.exp(-total / 6), 3),
        "perplexity_per_token": round(math.exp(-total / 6), 3),
        "perplexity_without_oov": round(math.exp(-(total - unknown) / 5), 3),
        "left_out": 0,
    }


def characters(folder: Path) -> None:
    """A lang folder of characters with a token between words."""
    (folder / "words.txt").write_text("".join(f"{word} {' '.join(word)}\n" for word in WORDS))
    prepare = step_module("prepare_lang")
    prepare.run(prepare.Options(kind="char", lexicon=folder / "words.txt", out=folder / "chars"))


def test_of_characters_tokens_are_counted_and_the_perplexity_is_told_per_word_and_per_token(
    train_lm: TrainLm, tmp_path: Path
) -> None:
    characters(tmp_path)
    write(tmp_path / "dev.txt", ["add bad", "cab", "owl"])
    said = train_lm("lm", "--lang", "chars", "--epochs", "1", "--dev-text", "dev.txt")
    found = read_json(tmp_path / "lm/report.json")["perplexity"]["dev.txt"]
    assert (found["sentences"], found["words"], found["tokens"], found["left_out"]) == (2, 3, 10, 1)
    total = math.log(found["perplexity_per_token"]) * (10 + 2)
    assert math.log(found["perplexity"]) == pytest.approx(total / (3 + 2), abs=1e-3)
    assert "1 sentence left out (text outside the units: 1; listed in lm/rejected_dev.jsonl)" in said


def test_a_part_of_which_nothing_can_be_scored_has_no_perplexity(train_lm: TrainLm, tmp_path: Path) -> None:
    make_cuts(tmp_path / "cuts/test.jsonl", ["", ""], [4, 4])
    train_lm("lm", "--epochs", "1", "--test-cuts", "cuts/test.jsonl")
    assert read_json(tmp_path / "lm/report.json")["perplexity"]["test"]["perplexity"] is None


# Text


def test_what_cannot_be_used_is_counted_and_listed(train_lm: TrainLm, tmp_path: Path) -> None:
    characters(tmp_path)
    write(tmp_path / "bad.txt", [*TEN * 3, "", "add <s> bad", "  ", "bad owl", "add " * 40])
    said = train_lm("lm", "--lang", "chars", "--epochs", "1", "--longest", "50", "--max-reject-percent", "7",
                    text="bad.txt")  # fmt: skip
    assert "bad.txt: 31 sentences" in said and "2 empty lines left out; 1 reserved symbol left out" in said
    rows = list(read_jsonl(tmp_path / "lm/rejected_train.jsonl"))
    assert [(row["id"], row["reason"], row["detail"]) for row in rows] == [
        ("bad.txt:34", "text outside the units", "owl"),
        ("bad.txt:35", "too long", "159 tokens"),
    ]
    said = train_lm("other", "--lang", "chars", "--epochs", "1", "--longest", "50", text="bad.txt", code=1)
    assert "2 of 33 sentences cannot be used" in said and "--max-reject-percent" in said


def test_however_many_sentences_cannot_be_used_they_are_listed(train_lm: TrainLm, tmp_path: Path) -> None:
    """Where all are kept in a header of safetensors, which has 100 MB at most, it cannot be written."""
    characters(tmp_path)
    write(tmp_path / "bad.txt", [*TEN, *["owl " * 300] * 900])
    train_lm("lm", "--lang", "chars", "--epochs", "1", "--max-reject-percent", "99", text="bad.txt")
    with safe_open(tmp_path / "lm/.train.text.safetensors", "numpy") as file:
        assert len(json.dumps(file.metadata())) < 1000
    assert count_lines(tmp_path / "lm/rejected_train.jsonl") == 900


def test_a_list_of_rejected_sentences_that_is_gone_is_made_again(train_lm: TrainLm, tmp_path: Path) -> None:
    characters(tmp_path)
    write(tmp_path / "bad.txt", [*TEN, "owl"])
    train_lm("lm", "--lang", "chars", "--epochs", "1", "--max-reject-percent", "99", text="bad.txt")
    (tmp_path / "lm/rejected_train.jsonl").unlink()
    train_lm("lm", "--lang", "chars", "--epochs", "2", "--max-reject-percent", "99", text="bad.txt")
    assert count_lines(tmp_path / "lm/rejected_train.jsonl") == 1


def test_words_that_the_lexicon_lacks_are_unknown_and_counted(train_lm: TrainLm, tmp_path: Path) -> None:
    write(tmp_path / "more.txt", [*TEN, "owl bad"])
    said = train_lm("lm", "--epochs", "1", text="more.txt")
    assert "11 sentences, 23 words, 23 tokens, 1 of them (4.35 %) unknown" in said


@pytest.mark.parametrize("lines", [[], ["", "  "]])
def test_text_without_a_sentence_is_an_error(train_lm: TrainLm, tmp_path: Path, lines: list[str]) -> None:
    write(tmp_path / "none.txt", lines)
    assert "none.txt: no sentence can be used (all lines are empty)" in train_lm("lm", text="none.txt", code=1)


def test_transcripts_and_gzipped_text_train_alike(train_lm: TrainLm, tmp_path: Path, run_step) -> None:
    make_cuts(tmp_path / "cuts/train.jsonl", TEN, [4] * 10)
    (tmp_path / "ten.txt.gz").write_bytes(gzip.compress((tmp_path / "ten.txt").read_bytes()))
    train_lm("plain", "--epochs", "2")
    train_lm("packed", "--epochs", "2", text="ten.txt.gz")
    run_step("train_lm", tmp_path, "--cuts", "cuts/train.jsonl", "--lang", "lang", "--out", "cuts_lm", *SMALL,
             "--epochs", "2")  # fmt: skip
    assert weights(tmp_path / "plain") == weights(tmp_path / "packed") == weights(tmp_path / "cuts_lm")


def test_text_passes_through_the_normaliser_of_the_lang_folder(train_lm: TrainLm, tmp_path: Path) -> None:
    write(tmp_path / "loud.txt", [line.upper() for line in TEN])
    said = train_lm("plain", "--epochs", "1", text="loud.txt", code=1)
    assert "loud.txt: none of its words is in lang/words.txt; is it of another language or case?" in said
    assert "unknown" not in train_lm("lower", "--epochs", "1", "--normaliser", "lower", text="loud.txt")


def test_text_is_read_anew_only_where_it_changed(train_lm: TrainLm, tmp_path: Path, monkeypatch) -> None:
    train_lm("lm", "--epochs", "1")
    monkeypatch.setattr("egret.training.sentences.sources", lambda *_: pytest.fail("it was read again"))
    assert "10 sentences, 21 words" in train_lm("lm", "--epochs", "2")


def test_weights_say_how_often_the_sentences_of_a_file_come(train_lm: TrainLm, tmp_path: Path) -> None:
    write(tmp_path / "more.txt", ["fad"])
    said = train_lm("lm", "--text", "ten.txt", "more.txt", "--epochs", "1", "--batch.weights", "0", "7",
                    "--batch.max-tokens", "14", "--check-batches", "false")  # fmt: skip
    assert "steps 1," in said


# Options


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--batch.weights", "1", "2"], "--batch.weights: 2 for 1 files of --cuts and --text"),
        (["--dev-text", "dev.txt", "--test-cuts", "dev.txt"], "more than one is called dev.txt"),
        (["--patience", "2"], "--patience: without --dev-cuts or --dev-text there is no loss to judge by"),
        (["--normaliser", "loud"], "normaliser 'loud': there is no such"),
        (["--model.lstm.size", "3"], "unknown option --model.lstm.size"),
    ],
)
def test_what_cannot_be_is_wrong_usage(train_lm: TrainLm, tmp_path: Path, given: list[str], says: str) -> None:
    write(tmp_path / "dev.txt", TEN)
    assert says in train_lm("lm", *given, code=2)


def test_without_text_it_is_wrong_usage(train_lm: TrainLm, tmp_path: Path, run_step) -> None:
    said = run_step("train_lm", tmp_path, "--lang", "lang", "--out", "lm", code=2)
    assert "nothing to train on: give --cuts or --text" in said


def test_weights_of_another_model_are_taken_over(train_lm: TrainLm, tmp_path: Path) -> None:
    train_lm("first", "--epochs", "20", "--average", "1")
    train_lm("second", "--epochs", "1", "--init-from", "first", "--optim.lr", "1e-9")
    assert loss_of(tmp_path / "second") == pytest.approx(loss_of(tmp_path / "first"), rel=0.2)
    assert "a network of another kind or size" in train_lm(
        "third", "--epochs", "1", "--init-from", "first", "--model.lstm.dim", "12", code=1
    )
    characters(tmp_path)
    said = train_lm("fourth", "--lang", "chars", "--epochs", "1", "--init-from", "first", code=1)
    assert "--init-from first: of other tokens than chars has" in said


@pytest.mark.parametrize("name", ["lstm", "gru", "transformer"])
@pytest.mark.parametrize("folder", ["conf/lm", "conf/mini/lm"])
def test_a_preset_has_all_options_of_its_network(folder: str, name: str) -> None:
    preset = ROOT / folder / f"{name}.yaml"
    words = ["--config", str(preset), "--lang", "lang", "--out", "out", "--text", "text"]
    options = parse(LmOptions, words, "train_lm.py", "").model
    written = yaml.safe_load(preset.read_text())["model"]
    assert options.network == name and set(written[name]) == set(vars(getattr(options, name)))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["an4", "librispeech", "aishell", "thchs30", "own"])
def test_what_a_recipe_gives_stage_6_is_what_the_steps_take(recipe: str) -> None:
    """With EGRET_CHECK=1 every step only reads its options."""
    command = [str(ROOT / "egs" / recipe / "run.sh"), "--mini", "true", "--stage", "6", "--stop-stage", "6"]
    for given, code in ([], 0), (["--neural-lm", "rnn"], 2), (["--lm-set", "optm.lr=1"], 2):
        done = subprocess.run([*command, *given], env={**os.environ, "EGRET_CHECK": "1"}, capture_output=True)
        assert done.returncode == code, done.stderr.decode()
