#!/usr/bin/env python3
"""Time encoders that hear an utterance piece by piece, beside the whole utterance at once.

    bench/streaming.py [--model conformer_streaming ...] [--seconds 30] [--piece 0.64] [--streams 1] [--script] [--bars]

Models are those of conf/models, causal or in chunks of 0.64 s, with random weights and 500 units, on features of noise;
`--streams` utterances are heard at once. Times are CPU time of the process, the median over the pieces: with one thread
that is what the clock shows where nothing else runs. `factor` is that time over the duration of the speech, of all
streams together, in pieces and of the whole utterance at once. The latency is that of what was said first in a piece:
the piece, the frames behind it for which its outputs wait, and the computing. With --bars it fails where the outputs
differ from those of the whole utterance by more than 1e-4 (they are log probabilities in single precision), where
pieces at the end take 1.2 times those at the beginning, or where a core does not keep up with four streams.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from recipe import ROOT
from torch import Tensor

sys.path.insert(0, str(ROOT))

from egret.base.options import parse
from egret.models.masking import full_lengths
from egret.models.model import JointModel, count_parameters
from egret.training.options import TrainOptions

MODELS = {
    "conformer_streaming": "",
    "deepspeech2": "--model.deepspeech2.causal true --model.deepspeech2.bidirectional false "
    "--model.deepspeech2.row-convolution 19",
    "zipformer_s": "--model.zipformer.chunk 16 --model.zipformer.left-chunks 4",
}
FEATURES, TOKENS, FRAME = 80, 500, 0.01
DIFFERENCE, GROWTH, FACTOR = 1e-4, 1.2, 0.25
WARM = 3  # runs and pieces of which nothing is measured, in which a script is optimised


@dataclass
class Row:
    """What a model took: seconds of CPU time for each piece and for the whole utterance."""

    name: str
    parameters: int
    pieces: list[float]
    whole: float
    speech: float  # seconds, of all streams
    piece: float  # seconds
    delay: float  # seconds
    difference: float  # the largest

    def growth(self) -> float:
        """How much longer a piece takes at the end than at the beginning."""
        third = len(self.pieces) // 3
        return median(self.pieces[-third:]) / median(self.pieces[:third])

    def factor(self) -> float:
        return median(self.pieces) * len(self.pieces) / self.speech

    def __str__(self) -> str:
        computing = median(self.pieces)
        return (
            f"| {self.name} | {self.parameters / 1e6:.1f} | {computing * 1e3:.1f} | {max(self.pieces) * 1e3:.1f} | "
            f"{self.factor():.4f} | {self.whole / self.speech:.4f} | {self.growth():.2f} | "
            f"{self.piece:.2f} + {self.delay:.2f} + {computing:.3f} = {self.piece + self.delay + computing:.2f} |"
        )

    def missed(self) -> str:
        """The bars that it does not reach; empty: it reaches all."""
        found = [f"outputs differ by {self.difference:.1g}"] * (self.difference > DIFFERENCE)
        found += [f"pieces at the end take {self.growth():.2f} of those at the beginning"] * (self.growth() > GROWTH)
        return ", ".join(found + [f"a factor of {self.factor():.2f}"] * (self.factor() > FACTOR))


def seconds_of(work: Callable[[], Any]) -> tuple[float, Any]:
    """The CPU time that work took, and what it gave."""
    began = time.process_time()
    given = work()
    return time.process_time() - began, given


@torch.no_grad()
def measure(name: str, options: argparse.Namespace) -> Row:
    words = ["--cuts", "none", "--stats", "none", "--lang", "none", "--out", "none"]
    words += ["--config", str(ROOT / "conf" / "models" / f"{name}.yaml"), *MODELS[name].split()]
    torch.manual_seed(1)
    model = JointModel(FEATURES, TOKENS, parse(TrainOptions, words, "train.py", "").model).eval()
    delay, parameters = model.encoder.delay * FRAME, count_parameters(model)
    if options.script:
        model = torch.jit.script(model)
    size, count = round(options.piece / FRAME), round(options.seconds / options.piece)
    features = torch.randn(options.streams, size * count, FEATURES)
    lengths = full_lengths(features)
    for _ in range(WARM):
        model(features, lengths)
    whole, (expected, _) = seconds_of(lambda: model(features, lengths))

    times: list[float] = []
    outputs: list[Tensor] = []
    state = model.start(options.streams)
    for piece in [*features[:, : WARM * size].split(size, dim=1), *features.split(size, dim=1)]:
        if len(times) == WARM:
            state, outputs = model.start(options.streams), []
        took, (y, state) = seconds_of(lambda piece=piece, state=state: model.stream(piece, state))  # type: ignore[misc]
        times.append(took)
        outputs.append(y)
    y, _ = model.stream(features[:, :0], state, True)
    difference = float((torch.cat([*outputs, y], dim=1) - expected).abs().max())
    speech = options.streams * size * count * FRAME
    return Row(name, parameters, times[WARM:], whole, speech, size * FRAME, delay, difference)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="*", default=list(MODELS), choices=list(MODELS), help="names in conf/models")
    parser.add_argument("--seconds", type=float, default=30.0, help="of speech in each stream")
    parser.add_argument("--piece", type=float, default=0.64, help="seconds that are heard at a time")
    parser.add_argument("--streams", type=int, default=1, help="utterances at once")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--script", action="store_true", help="as TorchScript")
    parser.add_argument("--bars", action="store_true", help="exit 1 where a bar is not reached")
    options = parser.parse_args()
    if options.piece < FRAME or options.seconds < 3 * options.piece or options.streams < 1:
        parser.error("a piece has a frame of 0.01 s or more, an utterance three pieces or more, and there is a stream")
    torch.set_num_threads(options.threads)
    print(f"load at the start: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores; PyTorch {torch.__version__}\n")
    print("| model | million weights | ms a piece | slowest | factor in pieces | at once | end / begin | latency, s |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    missed = []
    for name in options.model:
        row = measure(name, options)
        print(row, flush=True)
        if bars := row.missed():
            missed.append(f"{name}: {bars}")
    if options.bars and missed:
        sys.exit(f"a bar was not reached: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
