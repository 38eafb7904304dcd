"""To begin with the weights of another model, and to leave some of them as they are."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from egret.training.finetune import rows_of_units
from tiny_training import Train

STILL = ["--optim.lr", "1e-12", "--epochs", "1"]


def final(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "final.safetensors")


def test_a_model_begins_with_the_weights_of_another(train: Train, tmp_path: Path) -> None:
    train("old", "--epochs", "3")
    train("new", *STILL, "--init-from", "old", "--seed", "5")
    old, new = final(tmp_path / "old"), final(tmp_path / "new")
    assert all(torch.allclose(new[name], old[name], atol=1e-6) for name in old)


def test_an_rows_of_units_for_other_units_takes_over_those_that_both_have() -> None:
    ours = {"head.weight": torch.zeros(3, 2), "head.bias": torch.zeros(3)}
    theirs = {"head.weight": torch.tensor([[1.0, 1], [2, 2], [3, 3]]), "head.bias": torch.tensor([1.0, 2, 3])}
    heads, kept = rows_of_units(ours, theirs, ["<blk>", "b", "c"], ["<blk>", "a", "b"])
    assert heads["head.weight"].tolist() == [[1, 1], [3, 3], [0, 0]] and heads["head.bias"].tolist() == [1, 3, 0]
    assert kept == 2


def test_a_model_for_other_units_is_trained_on(train: Train, tmp_path: Path) -> None:
    train("old", "--epochs", "3")
    tokens = tmp_path / "old/tokens.txt"
    tokens.write_text(tokens.read_text().replace("three ", "drei "))
    said = train("new", *STILL, "--init-from", "old", "--seed", "5")
    old, new = final(tmp_path / "old")["head.weight"], final(tmp_path / "new")["head.weight"]
    same = [torch.allclose(a, b, atol=1e-6) for a, b in zip(old, new, strict=True)]
    assert "of the output layer those of 5 of 6 units" in said and same.count(False) == 1


def test_another_encoder_is_refused(train: Train) -> None:
    train("old", "--epochs", "1")
    said = train("new", *STILL, "--init-from", "old", "--model.tdnn.dim", "24", code=1)
    assert "--init-from old: its encoder is another" in said and "give the options of model.tdnn" in said


SPELLER = ["--model.decoder", "speller", "--model.speller.dim", "8", "--model.speller.embedding", "8",
           "--model.speller.attention-dim", "8", "--model.speller.layers", "1"]  # fmt: skip


def test_a_decoder_that_the_other_model_lacks_begins_anew(train: Train, tmp_path: Path) -> None:
    train("old", "--epochs", "2")
    said = train("new", *STILL, *SPELLER, "--init-from", "old", "--seed", "5")
    old, new = final(tmp_path / "old"), final(tmp_path / "new")
    assert "old: has no such decoder; this one begins anew" in said
    assert all(torch.allclose(new[name], old[name], atol=1e-6) for name in old)


def test_a_decoder_is_taken_over_with_its_encoder(train: Train, tmp_path: Path) -> None:
    train("old", *SPELLER, "--epochs", "2")
    train("new", *STILL, *SPELLER, "--init-from", "old", "--seed", "5")
    old, new = final(tmp_path / "old"), final(tmp_path / "new")
    assert all(torch.allclose(new[name], old[name], atol=1e-6) for name in old)


def test_what_is_no_model_is_refused(train: Train, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no trained model here" in train("new", *STILL, "--init-from", "empty", code=1)


def test_going_on_does_not_begin_anew(train: Train, tmp_path: Path) -> None:
    train("old", "--epochs", "1")
    train("new", "--epochs", "1", "--init-from", "old")
    before = final(tmp_path / "new")["head.weight"]
    train("new", "--epochs", "2", "--init-from", "old", "--average", "1", "--average-of", "last", code=1)
    said = train("new", "--epochs", "2", "--init-from", "old")
    assert "going on from new/checkpoints/epoch-001" in said and "weights of old" not in said
    assert not torch.equal(before, final(tmp_path / "new")["head.weight"])


@pytest.mark.parametrize("frozen", ["encoder.*", "head.weight"])
def test_frozen_parameters_stay_as_they_are(train: Train, tmp_path: Path, frozen: str) -> None:
    train("old", "--epochs", "1")
    train("new", "--epochs", "2", "--init-from", "old", "--freeze", frozen)
    old, new = final(tmp_path / "old"), final(tmp_path / "new")
    kept = {name for name in old if torch.equal(old[name], new[name])} - {"mean", "deviation"}
    wanted = {name for name in old if name.startswith("encoder.")} if frozen == "encoder.*" else {"head.weight"}
    assert kept == wanted


def test_a_pattern_that_names_nothing_is_refused(train: Train) -> None:
    assert "decoder.*" in train("exp", "--epochs", "1", "--freeze", "decoder.*", code=2)
