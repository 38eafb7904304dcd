"""Recognise a part: batches through the encoder once, then through every method and setting asked for."""

import math
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from egret.base.device import choose_device
from egret.base.errors import EgretError, UsageError, first_few
from egret.base.files import digest
from egret.base.log import log, progress
from egret.base.submit import LAUNCHED
from egret.corpus.cuts import read_cuts, share, text_of
from egret.decoding.memory import Piece, encoded_pieces, searched
from egret.decoding.options import DecodeOptions
from egret.decoding.recognised import Recognised, without_frames
from egret.decoding.search import Context, Encoded, Search
from egret.decoding.searches import make_search, methods
from egret.decoding.word_times import WordTimes
from egret.features.batching import Inputs, load_batch
from egret.features.made import kind_trained_on
from egret.features.normalise import Kind, make_normaliser
from egret.features.options import name_of
from egret.graph.clock import Clock
from egret.graph.topology import was_modified
from egret.lang.lang import Lang
from egret.models.files import load_model
from egret.models.model import JointModel


@dataclass(frozen=True)
class Recogniser:
    """A trained model and the searches that were asked for, each with the settings to try."""

    model: JointModel
    searches: dict[str, Search]
    settings: dict[str, list[dict[str, Any]]]
    options: DecodeOptions
    normalise: Kind = "global"
    kind: str | None = None  # of the features that it was trained on, where that is known
    times: WordTimes | None = None  # None: times of words are not asked for

    def usual(self, of_round: str) -> dict[str, list[dict[str, Any]]]:
        """The settings for dev parts: all of them; for test parts where there is nothing to choose by: the first."""
        if of_round == "dev":
            return self.settings
        for method, tried in self.settings.items():
            if len(tried) > 1 and self.options.job <= 1:  # one job tells it for all
                log.info("%s: no dev part to choose %d settings on; the first is used", method, len(tried))
        return {method: tried[:1] for method, tried in self.settings.items()}


def make_recogniser(options: DecodeOptions) -> Recogniser:
    """Load the model and what its methods need.

    Raises:
      EgretError: the model's units are not those of the lang folder; a method lacks its graph or k2.
    """
    use_threads(options)
    device = choose_device(options.num_gpus, "decodes")
    lang = Lang.read(options.lang)
    model, config = load_model(options.experiment, options.weights)
    refuse_other_units(options.experiment, config, lang)
    context = Context(options, model.to(device), lang)
    searches: dict[str, Search] = {}
    settings: dict[str, list[dict[str, Any]]] = {}
    # Training by the graph alone leaves it to the graph what follows what.
    greedy = config.get("loss") != "lf_mmi" or config.get("ctc_share", 0) > 0
    for method in methods(options, model, greedy):
        searches[method], settings[method] = make_search(method, context)
    normalise, kind = config.get("normalise", "global"), kind_trained_on(config)
    if options.word_times and model.head is None:
        raise UsageError(f"--word-times: the model in {options.experiment} has no CTC, by which words are found in "
                         f"time; leave it out, or train with CTC (--model.ctc-weight)")  # fmt: skip
    times = WordTimes(lang, was_modified(config, len(lang.units))) if options.word_times else None
    return Recogniser(model, searches, settings, options, normalise, kind, times)


def use_threads(options: DecodeOptions) -> None:
    """As many threads of PyTorch as were asked for; of those of a launcher, which OMP_NUM_THREADS tells, all; and where
    it tells none, a job's part of the cores, unless the jobs run one after the other."""
    if options.threads:
        torch.set_num_threads(options.threads)
    elif options.nj > 1 and os.environ.get(LAUNCHED) == "1" and "OMP_NUM_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0))
        torch.set_num_threads(cores // min(options.nj, cores))


def inputs_of(model: JointModel, normalise: Kind, manifests: Iterable[Path]) -> Inputs:
    """How the features of these manifests are loaded for a model that was trained with this normalisation."""
    return Inputs(normalise=make_normaliser(normalise, manifests, model.mean.cpu().numpy(),
                                             model.deviation.cpu().numpy()))  # fmt: skip


def refuse_other_units(experiment: Path, config: dict[str, Any], lang: Lang) -> None:
    """Raises EgretError unless the model of `experiment` gives scores to the units of the lang folder."""
    if config["units"] != digest(lang.units):
        raise EgretError(f"{experiment}: trained on other units than {lang.folder} has; give the lang folder "
                         f"it was trained with ({config['lang']}) or train again")  # fmt: skip


@torch.no_grad()
def recognise(
    recogniser: Recogniser, cuts: Path, settings: dict[str, list[dict[str, Any]]], job: int = 1, jobs: int = 1
) -> tuple[list[Recognised], dict[str, float]]:
    """Recognise a job's share of the cuts of a manifest with the settings of each method.

    Returns:
      One Recognised for each method and setting, hypotheses in the manifest's order; and the seconds of audio
      and of the encoder.
    """
    rows = list(read_cuts(cuts))
    refuse_unfit(cuts, rows, recogniser.model, recogniser.kind)
    rows = rows[share(len(rows), job, jobs)]
    inputs = inputs_of(recogniser.model, recogniser.normalise, [cuts])
    names = [row["id"] for row in rows]
    results = {method: [Recognised(method, params, names) for params in tried] for method, tried in settings.items()}
    every = [result for tried in results.values() for result in tried]

    def add_times(piece: Piece, said: list[dict[str, Any]]) -> None:
        if recogniser.times:
            clocks = [Clock(frame_seconds(recogniser.model, cut), cut["duration"]) for cut in piece.cuts]
            recogniser.times.add(said, piece.encoded, clocks)

    encoder = 0.0
    if silent := without_frames(cuts, rows):
        for result in every:
            timed: dict[str, Any] = {"times": [], "confidence": []} if recogniser.times else {}
            result.add({name: {"words": [], "tokens": [], "score": {"total": None}, **timed} for name in silent})
    planned = list(batches([row for row in rows if row["features"]["num_frames"]], recogniser.options.max_duration))
    log.info("%s: %d utterances in %d batches, by %s", cuts.name, len(rows), len(planned), ", ".join(settings))
    for batch in progress(planned, len(planned), f"recognising {cuts.name}, batches"):
        begun = time.monotonic()
        pieces = encoded_pieces(batch, lambda cuts: encode(recogniser.model, *load_numbers(cuts, inputs), cuts))
        if recogniser.options.num_gpus:  # which goes on with what it was told; it would be taken for searching
            torch.cuda.synchronize()
        encoder += time.monotonic() - begun
        for method, tried in results.items():
            search, params = recogniser.searches[method], [result.params for result in tried]
            seconds = [0.0] * len(tried)
            options = recogniser.options
            done = [each for piece in pieces for each in searched(piece, search, params, options, seconds, add_times)]
            pieces = [piece for piece, _ in done]  # as they are, so that no later search has to halve them again
            for place, result in enumerate(tried):
                result.seconds += seconds[place]
                for piece, said in done:
                    result.add({cut["id"]: row for cut, row in zip(piece.cuts, said[place], strict=True)})
    return every, {"audio_seconds": sum(row["duration"] for row in rows), "encoder_seconds": encoder}


def load_numbers(cuts: Sequence[dict[str, Any]], inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Features [N, T, C] and lengths [N] of cuts.

    Raises:
      EgretError: some are no finite numbers, as those of a damaged file.
    """
    features, lengths = load_batch(list(cuts), inputs)
    if not torch.isfinite(features).all():
        bad = [cut["id"] for cut, each in zip(cuts, features, strict=True) if not torch.isfinite(each).all()]
        raise EgretError(f"{first_few(bad)}: features that are no numbers, the file is damaged; run stage 1 again")
    return features, lengths


def encode(model: JointModel, features: Tensor, frames: Tensor, cuts: Sequence[dict[str, Any]] = ()) -> Encoded:
    """What a batch of features [N, T, C] of lengths `frames` [N] is to the model, on the device where that lies."""
    device = model.mean.device
    frames = frames.to(device)
    x, lengths, _ = model.encode(features.to(device), frames)
    log_probs = None if model.head is None else model.log_probs(x)
    return Encoded(x, lengths, frames, log_probs, [text_of(cut) for cut in cuts])


def frame_seconds(model: JointModel, cut: dict[str, Any]) -> float:
    """What a frame of the encoder's output stands for."""
    return cut["features"]["frame_shift"] * math.prod(model.encoder.strides)


def refuse_unfit(cuts: Path, rows: list[dict], model: JointModel, kind: str | None = None) -> None:
    """Raises EgretError unless every cut has features such as the model was trained on, of this kind where it is known,
    and an id of its own."""
    if not rows:
        raise EgretError(f"{cuts}: no cuts; run stage 0 again")
    if bare := [row["id"] for row in rows if "features" not in row]:
        raise EgretError(f"{cuts}: {first_few(bare)}: no features; give the manifest that stage 1 leaves")
    if not any(row["features"]["num_frames"] for row in rows):
        raise EgretError(f"{cuts}: not one of its {len(rows)} cuts has a frame of features; run stage 1 again")
    if twice := [name for name, count in Counter(row["id"] for row in rows).items() if count > 1]:
        raise EgretError(f"{cuts}: {first_few(twice)}: more than one cut of this id; make the manifest again")
    trained_on = len(model.mean)
    for row in rows:
        found = name_of(row["features"].get("type", ""))
        if kind and found != kind:
            raise EgretError(f"{cuts}: {row['id']} has features of kind {found}, the model was trained on {kind}; "
                             f"extract them with the same options")  # fmt: skip
        if row["features"]["num_features"] != trained_on:
            raise EgretError(f"{cuts}: {row['id']} has {row['features']['num_features']} features a frame, the model "
                             f"was trained on {trained_on}; extract them with the same options")  # fmt: skip


def batches(rows: list[dict], max_duration: float) -> Iterator[list[dict]]:
    """Cuts of similar length together, the longest first, padded to at most `max_duration` seconds."""
    batch: list[dict] = []
    for row in sorted(rows, key=lambda row: -row["duration"]):
        if batch and batch[0]["duration"] * (len(batch) + 1) > max_duration:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
