"""The training utterances by their loss: what is listed, in what order, and that a wrong transcript is found."""

import csv
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from egret.lang.lang import Lang
from egret.models.losses import make_loss
from egret.training.experiment import begin
from egret.training.losses_list import COLUMNS, list_losses
from egret.training.options import TrainOptions
from egret.training.trainer import train
from folders import make_lang, random_log_probs, transcribed
from tiny import rewrite
from tiny_training import Train, make_corpus, small_options

WRONG = "train-007"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainOptions, dict[str, Any]]:
    """A small model trained on 24 utterances, one of them with a transcript of something else."""
    folder = tmp_path_factory.mktemp("losses")
    make_corpus(folder)
    rewrite(folder / "fbank" / "train.jsonl", {WRONG: "two three two"})  # what is said: one one one
    # Few epochs of many passes each, for every epoch writes a checkpoint.
    asked = {"epochs": 3, "batch.weights": 4, "batch.max-duration": 2, "optim.lr": 0.03, "average": 1}
    options = small_options(folder, **asked, **{"check-batches": False})
    config = begin(options, 1)
    train(options, config)
    return options, config


def listed(trained: tuple[TrainOptions, dict[str, Any]], **changes: Any) -> list[dict[str, str]]:
    options, config = trained
    path = list_losses(replace(options, **changes), config, options.out / "final.safetensors")
    with open(path, encoding="utf-8") as table:
        return list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.fixture(scope="module")
def rows(trained: tuple[TrainOptions, dict[str, Any]]) -> list[dict[str, str]]:
    return listed(trained)


def test_a_wrong_transcript_comes_out_on_top(rows: list[dict[str, str]]):
    assert rows[0]["id"] == WRONG


def test_its_row_shows_what_was_heard_instead(rows: list[dict[str, str]]):
    assert (rows[0]["transcript"], rows[0]["greedy hypothesis"]) == ("two three two", "one one one")


def test_the_highest_loss_comes_first(rows: list[dict[str, str]]):
    losses = [float(row["loss per token"]) for row in rows]
    assert losses == sorted(losses, reverse=True)


def test_the_table_has_the_columns_that_it_says(rows: list[dict[str, str]]):
    assert list(rows[0]) == COLUMNS


def test_tokens_and_seconds_are_those_of_the_utterance(trained, rows: list[dict[str, str]]):
    manifest = trained[0].cuts[0]
    cuts = {cut["id"]: cut for cut in map(json.loads, manifest.read_text().splitlines())}
    due = {name: (f"{cut['duration']:.2f}", str(len(cut["supervisions"][0]["text"].split())))
           for name, cut in cuts.items()}  # fmt: skip
    assert {row["id"]: (row["seconds"], row["tokens"]) for row in rows} == due


def test_each_utterance_is_listed_once_whatever_the_weights_of_the_parts(trained, rows: list[dict[str, str]]):
    weighted = listed(trained, batch=replace(trained[0].batch, weights=[0.5]))
    assert sorted(row["id"] for row in weighted) == sorted(row["id"] for row in rows)


def test_neither_augmentation_nor_the_batch_changes_a_loss(trained, rows: list[dict[str, str]]):
    masked = replace(trained[0].specaugment, frequency_masks=2, time_masks=5.0)
    alone = replace(trained[0].batch, max_utterances=1)
    assert listed(trained, specaugment=masked, batch=alone) == rows


def test_the_ten_worst_are_said(trained, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, logger="egret")
    listed(trained)
    said = [message for message in caplog.messages if "heard" in message]
    assert len(said) == 10 and WRONG in said[0] and "said   two three two" in said[0]


@pytest.mark.parametrize("name", ["ctc", pytest.param("ctc_graph", marks=pytest.mark.k2)])
def test_the_loss_of_each_utterance_is_that_of_a_batch_of_it(name: str, tmp_path: Path):
    if name == "ctc_graph":
        pytest.importorskip("k2")
    lang: Lang = make_lang(tmp_path / "lang", [("a", ["A", "B"]), ("b", ["B"])])
    texts, (log_probs, lengths) = ["a", "b a b", "b b"], random_log_probs(1, [12, 30, 18], lang)
    loss = make_loss(name, lang)
    found = loss.per_utterance(log_probs, lengths, transcribed(lang, texts))
    alone = [loss(log_probs[n : n + 1, : lengths[n]], lengths[n : n + 1], transcribed(lang, texts[n : n + 1]))
             for n in range(3)]  # fmt: skip
    assert torch.allclose(found.float(), torch.stack(alone).float(), atol=1e-3)


def test_what_is_in_the_corpus_is_said_once(tmp_path: Path, train: Train):
    said = train("exp", "--epochs", "1", "--list-losses")
    assert said.count("train.jsonl: 24 utterances in") == 1
