"""Training: it learns, goes on exactly where it was, never destroys an experiment, and loses nothing silently."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tiny import rewrite
from tiny_training import SMALL_CONFORMER, Train

ROOT = Path(__file__).resolve().parents[1]
CONFORMER = ["--model.encoder", "conformer", *SMALL_CONFORMER]
AUGMENTED = [
    *CONFORMER,
    *("--intermediate", "0.3", "--specaugment.time-warp", "3", "--specaugment.frequency-warp", "0.1"),
    *("--specaugment.time-masks", "1", "--specaugment.frequency-masks", "1", "--specaugment.frequency-width", "3"),
]


def weights(folder: Path) -> dict:
    return {name: tensor.tolist() for name, tensor in load_file(folder / "final.safetensors").items()}


def dev_losses(folder: Path) -> dict[str, float]:
    states = (folder / "checkpoints").glob("epoch-*/state.json")
    return {path.parent.name: json.loads(path.read_text())["dev_loss"] for path in states}


def test_the_loss_falls(train: Train, tmp_path: Path) -> None:
    train("exp", "--epochs", "25", "--average", "25")
    losses = dev_losses(tmp_path / "exp")
    assert losses["epoch-025"] < 0.2 * losses["epoch-001"]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(train: Train, tmp_path: Path) -> None:
    for out, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        train(out, "--epochs", "1", "--seed", seed)
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")


def test_options_of_a_network_that_is_not_chosen_are_told_of(train: Train) -> None:
    said = train("exp", "--epochs", "1", "--model.conformer.layers", "3")
    assert said.count("of no effect") == said.count("--model.conformer.*: of no effect, the model has none") == 1


def test_the_loss_on_the_middle_of_the_encoder_is_mixed_in(train: Train, tmp_path: Path) -> None:
    still = ["--optim.lr", "1e-12", "--model.conformer.dropout", "0", "--model.conformer.attention_dropout", "0"]
    losses = []
    for weight in ("0", "0.5", "0.9"):
        train(weight, *CONFORMER, *still, "--epochs", "1", "--intermediate", weight)
        losses.append(json.loads((tmp_path / weight / "checkpoints/epoch-001/state.json").read_text())["train_loss"])
    end, half, most = losses
    assert most - end == pytest.approx(1.8 * (half - end), rel=1e-3) and abs(half - end) > 1e-3
    assert half < 1.2 * end  # a mean of both, not a sum
    assert "--intermediate: this tdnn has no middle" in train("tdnn", "--epochs", "1", "--intermediate", "0.5", code=2)


def test_a_topology_goes_with_graph_ctc(train):
    said = train("tdnn", "--epochs", "1", "--loss", "ctc", "--topology", "modified", code=2)
    assert "--topology goes with --loss ctc_graph and lf_mmi, not with ctc" in said


@pytest.mark.parametrize(
    ("save_minutes", "model"), [("10", []), ("0.00001", []), ("0.00001", AUGMENTED)], ids=["epoch", "step", "augmented"]
)
def test_a_killed_run_ends_as_one_that_was_not(
    train: Train, training_arguments: list[str], tmp_path: Path, save_minutes: str, model: list[str]
) -> None:
    train("whole", "--epochs", "6", *model)
    command = [sys.executable, ROOT / "steps" / "train.py", *training_arguments, "--out", "killed", "--epochs", "6"]
    command += ["--save-minutes", save_minutes, *model]
    process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
                               stdout=subprocess.DEVNULL)  # fmt: skip
    wanted = "epoch-002" if save_minutes == "10" else "step-*"
    while process.poll() is None and not list((tmp_path / "killed/checkpoints").glob(wanted)):
        time.sleep(0.005)
    assert process.poll() is None, "it ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed/final.safetensors").exists()
    said = train("killed", "--epochs", "6", "--save-minutes", save_minutes, *model)
    assert "going on from" in said
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")


def test_another_configuration_is_refused_with_the_difference_and_what_to_do(train: Train, tmp_path: Path) -> None:
    train("exp", "--epochs", "1")
    before = weights(tmp_path / "exp")
    said = train("exp", "--epochs", "1", "--optim.lr", "0.5", code=1)
    assert "optim.lr 0.01 -> 0.5" in said and "--tag" in said and "--force" in said
    assert weights(tmp_path / "exp") == before
    assert not list((tmp_path / "exp").glob(".stamp.*.failed.json"))  # the model is whole: it is not called failed


def test_an_option_that_there_was_not_yet_had_its_default(train: Train, tmp_path: Path) -> None:
    train("exp", "--epochs", "1")
    begun = tmp_path / "exp/.begun.json"
    record = json.loads(begun.read_text())
    del record["options"]["intermediate"], record["options"]["specaugment.time_warp"]
    begun.write_text(json.dumps(record))
    train("exp", "--epochs", "2")
    begun.write_text(json.dumps(record))
    assert "specaugment.time_warp 0 -> 3" in train("exp", "--epochs", "2", "--specaugment.time_warp", "3", code=1)


def test_other_data_is_refused_too(train: Train, tmp_path: Path) -> None:
    train("exp", "--epochs", "1")
    rewrite(tmp_path / "fbank/train.jsonl", {"train-000": "two"})
    assert "--cuts has other content" in train("exp", "--epochs", "1", code=1)


def test_leaving_out_the_dev_part_is_refused(train: Train, training_arguments: list[str]) -> None:
    train("exp", "--epochs", "1")
    place = training_arguments.index("--dev-cuts")
    del training_arguments[place : place + 2]
    assert "--dev-cuts has other content" in train("exp", "--epochs", "1", code=1)


def test_a_second_run_in_the_same_folder_is_refused(train: Train, tmp_path: Path) -> None:
    (tmp_path / "exp").mkdir()
    with open(tmp_path / "exp/.lock.train", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "exp: another train is at work in it" in train("exp", "--epochs", "1", code=1)


def test_the_configuration_says_nothing_of_how_the_work_was_done(train: Train, tmp_path: Path) -> None:
    train("one", "--epochs", "1", "--threads", "1")
    train("two", "--epochs", "1", "--threads", "2")
    assert (tmp_path / "one/config.yaml").read_text() == (tmp_path / "two/config.yaml").read_text()


def test_more_epochs_go_on_and_fewer_are_refused(train: Train) -> None:
    train("exp", "--epochs", "2")
    said = train("exp", "--epochs", "3")
    assert "going on from exp/checkpoints/epoch-002" in said and "epoch 1:" not in said
    assert "epochs 3 -> 2" in train("exp", "--epochs", "2", code=1)


def test_force_trains_anew(train: Train) -> None:
    train("exp", "--epochs", "2")
    assert "epoch 1:" in train("exp", "--epochs", "2", "--force")


@pytest.mark.parametrize("name", ["model.safetensors", "optimiser.safetensors", "state.json"])
def test_a_truncated_checkpoint_is_named_with_the_way_out(train: Train, tmp_path: Path, name: str) -> None:
    train("exp", "--epochs", "2")
    (tmp_path / "exp/.stamp.train.json").unlink()
    path = tmp_path / "exp/checkpoints/epoch-002" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    said = train("exp", "--epochs", "3", code=1)
    assert "exp/checkpoints/epoch-002" in said and "remove" in said


@pytest.mark.parametrize(("epochs", "way"), [("1", "begin anew"), ("2", "go on from epoch-001")])
def test_without_a_truncated_checkpoint_it_is_known_where_one_begins(
    train: Train, tmp_path: Path, epochs: str, way: str
) -> None:
    train("exp", "--epochs", epochs)
    (tmp_path / f"exp/checkpoints/epoch-00{epochs}/optimiser.safetensors").write_bytes(b"cut off")
    assert f"epoch-00{epochs} to {way}" in train("exp", "--epochs", "3", code=1)


def test_utterances_that_cannot_be_used_are_listed_with_the_reason(train: Train, tmp_path: Path) -> None:
    rewrite(tmp_path / "fbank/train.jsonl", {"train-003": "four", "train-004": "", "train-005": "one " * 60})
    said = train("exp", "--epochs", "1", "--max-reject-percent", "20")
    assert "24 utterances in, 21 used, 3 rejected" in said
    rows = [json.loads(line) for line in (tmp_path / "exp/rejected_train.jsonl").read_text().splitlines()]
    assert {row["id"]: row["reason"] for row in rows} == {
        "train-003": "text outside the units",
        "train-004": "empty text",
        "train-005": "too short for CTC",
    }


def test_too_many_of_them_stop_training(train: Train, tmp_path: Path) -> None:
    rewrite(tmp_path / "fbank/train.jsonl", {"train-003": "four", "train-004": "five"})
    said = train("exp", "--epochs", "1", code=1)
    assert "2 of 24 utterances cannot be used (text outside the units: 2)" in said and "train-003" in said


def test_repeated_tokens_need_a_blank_between_them(train: Train, tmp_path: Path) -> None:
    # Four frames for each word come out of the strides; "one" n times needs 2 n - 1 frames.
    rows = (tmp_path / "fbank/train.jsonl").read_text().splitlines()
    cut = json.loads(rows[0])
    frames = -(-cut["features"]["num_frames"] // 4)
    fits = " ".join(["one"] * ((frames + 1) // 2))
    rewrite(tmp_path / "fbank/train.jsonl", {cut["id"]: fits})
    assert "rejected" not in train("fits", "--epochs", "1")
    rewrite(tmp_path / "fbank/train.jsonl", {cut["id"]: fits + " one"})
    assert "too short for CTC: 1" in train("short", "--epochs", "1")


def test_the_final_model_is_the_average_of_the_best_epochs_on_dev(train: Train, tmp_path: Path) -> None:
    train("exp", "--epochs", "6", "--average", "2")
    losses = dev_losses(tmp_path / "exp")
    best = sorted(losses, key=lambda name: losses[name])[:2]
    first, second = (load_file(tmp_path / "exp/checkpoints" / name / "model.safetensors") for name in best)
    for name, tensor in load_file(tmp_path / "exp/final.safetensors").items():
        assert tensor.allclose((first[name] + second[name]) / 2, atol=1e-7)


def test_the_final_model_can_be_the_average_of_the_last_epochs(train: Train, tmp_path: Path) -> None:
    options = ["--average", "2", "--average-of", "last"]
    train("exp", "--epochs", "5", *options)
    best = tmp_path / "exp/checkpoints/epoch-004/state.json"
    best.write_text(json.dumps({**json.loads(best.read_text()), "dev_loss": 0.0}))
    train("exp", "--epochs", "6", *options)
    last = [load_file(tmp_path / f"exp/checkpoints/epoch-00{number}/model.safetensors") for number in (5, 6)]
    for name, tensor in load_file(tmp_path / "exp/final.safetensors").items():
        assert tensor.allclose((last[0][name] + last[1][name]) / 2, atol=1e-7)


def test_the_configuration_is_kept_complete(train: Train, tmp_path: Path) -> None:
    import yaml

    train("exp", "--epochs", "1")
    config = yaml.safe_load((tmp_path / "exp/config.yaml").read_text())
    assert config["optim"]["lr"] == 0.01 and config["model"]["tdnn"]["dim"] == 16
    assert config["features"] == 8 and config["tokens"] == 6
    assert json.loads((tmp_path / "exp/env.json").read_text())["packages"]["torch"]


def test_the_options_of_other_encoders_are_no_part_of_a_model(train: Train, tmp_path: Path) -> None:
    train("exp", "--epochs", "1")
    assert "conformer" not in (tmp_path / "exp/config.yaml").read_text()
    train("exp", "--epochs", "2", "--model.conformer.layers", "3")  # goes on


def test_transcripts_pass_through_the_normaliser_of_the_lang_folder(train: Train, tmp_path: Path) -> None:
    rewrite(tmp_path / "fbank/train.jsonl", {"train-003": "ONE Two"})
    assert "text outside the units: 1" in train("plain", "--epochs", "1")
    about = tmp_path / "lang/unit.json"
    about.write_text(about.read_text().replace("plain", "lower"))
    assert "rejected" not in train("lower", "--epochs", "1")


def test_a_gpu_that_is_not_there_is_an_error(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "PyTorch sees no GPU" in train("exp", "--epochs", "1", "--num-gpus", "1", code=1)


def test_a_loss_that_is_not_finite_stops_with_the_utterances(train: Train) -> None:
    said = train("exp", "--epochs", "3", "--optim.lr", "1e30", "--optim.warmup", "0", code=1)
    assert "steps in a row without a finite loss" in said and "train-" in said and "--optim.lr" in said
