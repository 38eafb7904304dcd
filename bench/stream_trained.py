#!/usr/bin/env python3
"""Let a trained model hear the utterances of a manifest piece by piece, and compare with hearing each at once.

    bench/stream_trained.py --experiment exp/conformer_streaming_phone --cuts data/fbank/test.jsonl [--piece 0.64]

Prints how many utterances have the same best token in every frame of the output, by how much log probabilities differ
at most, and the CPU time of both for a second of speech. With --bars it fails where a best token differs, unless two
tokens are as likely to within the difference that is allowed, 1e-3.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from recipe import ROOT
from torch import Tensor

sys.path.insert(0, str(ROOT))

from egret.base.errors import EgretError
from egret.corpus.cuts import read_cuts
from egret.decoding.recognise import inputs_of, load_numbers, refuse_unfit
from egret.features.made import kind_trained_on
from egret.models.files import load_model
from egret.models.masking import full_lengths
from egret.models.model import JointModel

DIFFERENCE = 1e-3


def in_pieces(model: JointModel, features: Tensor, frames: int) -> Tensor:
    """Log probabilities [1, T', V] of features [1, T, C], of which the model hears so many frames at a time."""
    state = model.start(1)
    outputs = []
    for piece in features.split(frames, dim=1):
        y, state = model.stream(piece, state)
        outputs.append(y)
    y, _ = model.stream(features[:, :0], state, True)
    return torch.cat([*outputs, y], dim=1)


@torch.no_grad()
def compare(options: argparse.Namespace) -> tuple[int, int, float, float, float, float]:
    """Utterances, those whose best tokens are the same, the largest difference, seconds of speech, of both ways."""
    model, config = load_model(options.experiment)
    if model.head is None:
        raise EgretError(f"{options.experiment}: a model without CTC gives no outputs as it hears; take another")
    rows = list(read_cuts(options.cuts))
    refuse_unfit(options.cuts, rows, model, kind_trained_on(config))
    inputs = inputs_of(model, config.get("normalise", "global"), [options.cuts])
    same, furthest, speech, piecewise, at_once = 0, 0.0, 0.0, 0.0, 0.0
    for row in rows:
        features, _ = load_numbers([row], inputs)
        began = time.process_time()
        whole, _ = model(features, full_lengths(features))
        between = time.process_time()
        streamed = in_pieces(model, features, round(options.piece / row["features"]["frame_shift"]))
        at_once += between - began
        piecewise += time.process_time() - between
        speech += row["duration"]
        difference = float((whole - streamed).abs().max())
        furthest = max(furthest, difference)
        chosen = whole.gather(2, streamed.argmax(2, keepdim=True)).squeeze(2)
        same += bool((whole.max(2).values - chosen <= DIFFERENCE).all())
    return len(rows), same, furthest, speech, piecewise, at_once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", type=Path, required=True, help="folder of the trained model")
    parser.add_argument("--cuts", type=Path, required=True, help="cuts with features")
    parser.add_argument("--piece", type=float, default=0.64, help="seconds that are heard at a time")
    parser.add_argument("--bars", action="store_true", help="exit 1 where a bar is not reached")
    options = parser.parse_args()
    if options.piece < 0.01:
        parser.error(f"--piece {options.piece:g}: less than a frame of 0.01 s")
    torch.set_num_threads(1)
    try:
        count, same, furthest, speech, piecewise, at_once = compare(options)
    except EgretError as error:
        sys.exit(f"stream_trained.py: error: {error}")
    print(f"{same} of {count} utterances with the same best tokens; log probabilities differ by {furthest:.2g} at most")
    print(f"CPU time of a second of speech: {piecewise / speech:.4f} s in pieces, {at_once / speech:.4f} s at once")
    if options.bars and (same < count or furthest > DIFFERENCE):
        sys.exit("a bar was not reached: what is heard in pieces is not what is heard at once")


if __name__ == "__main__":
    main()
