#!/usr/bin/env python3
"""Time the search in the decoding graph, beside kaldi-decoder's on the same graph and the same scores.

    bench/decode.py --lang data/lang_phone --graph data/graph_phone_3gram \\
        --experiment exp/conformer_phone --cuts data/fbank/test.jsonl [--graph-scale 1] [--sure-blank 1] [--bars]

Batches of 16, beams 20 and 8, at most 10,000 active states. Without --experiment the scores are made up: the lexicon's
words in any order, a token every 80 ms and blanks between, told apart as clearly as a trained model does. kaldi-decoder
(local/install.sh --dev installs it) is given the same beam and every frame, and one utterance at a time, as it takes
them. Processor time is printed beside the clock's: it depends less on what else the machine does. With --bars it fails
where even the fastest pass of our search takes more than 0.002 of the recordings' duration, the bar for two cores, or
where ctc_greedy or attention_beam, without the encoder, is not three times as fast in batches of 32 as one by one.
"""

import argparse
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from egret.base.errors import EgretError
from egret.base.files import read_jsonl
from egret.decoding.attention_beam import attention_beam
from egret.decoding.best import Best
from egret.decoding.graph import GraphDecoder
from egret.decoding.kaldi import KaldiDecoder
from egret.decoding.options import HlgOptions
from egret.decoding.recognise import encode
from egret.decoding.search import Encoded
from egret.features.batching import load_batch
from egret.lang.lang import Lang
from egret.models.files import load_model
from egret.models.greedy import ctc_greedy, most_tokens
from egret.models.options import MAX_RATIO

BATCH = 16
BAR, BATCHED_BAR = 0.002, 3.0
LARGE = 32  # utterances in a batch, to be compared with one
BEAMS = HlgOptions(search_beam=20.0, output_beam=8.0, max_active=10_000)
Batch = tuple[Tensor, Tensor]  # log probabilities [N, T, V], lengths [N]


def made_up(lang: Lang, seconds: float, frame_seconds: float, seed: int) -> list[Batch]:
    """Scores such as a trained model gives for utterances of one to ten words, about so many seconds in all."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    gap = max(1, round(0.08 / frame_seconds))
    paths, frames = [], 0
    while frames * frame_seconds < seconds:
        text = " ".join(rng.choices(lang.word_names[1:-3], k=rng.randint(1, 10)))
        paths.append([frame for token in lang.encode(text) for frame in [token] + [0] * (gap - 1)] + [0])
        frames += len(paths[-1])
    paths.sort(key=len, reverse=True)
    batches = []
    for first in range(0, len(paths), BATCH):
        chosen = paths[first : first + BATCH]
        scores = 1.5 * torch.randn(len(chosen), len(chosen[0]), len(lang.units), generator=generator)
        for row, path in zip(scores, chosen, strict=True):
            row[range(len(path)), path] += 12
        batches.append((scores.log_softmax(dim=2), torch.tensor([len(path) for path in chosen])))
    return batches


@torch.no_grad()
def modelled(experiment: Path, cuts: Path) -> tuple[list[Batch], float]:
    """What a trained model gives for a manifest, and the seconds that it took."""
    model, _ = load_model(experiment)
    rows = sorted(read_jsonl(cuts), key=lambda row: -row["duration"])
    features = [load_batch(rows[first : first + BATCH]) for first in range(0, len(rows), BATCH)]
    model(*features[-1])
    began = time.perf_counter()
    batches = [model(*batch) for batch in features]
    return batches, time.perf_counter() - began


@torch.no_grad()
def batched(experiment: Path, cuts: Path, repeat: int) -> dict[str, float]:
    """How much faster the methods that need no graph are in batches than one by one, by processor time, the encoder
    excluded; every so many cuts are taken, so that there are two batches of all lengths."""
    model, _ = load_model(experiment)
    rows = sorted(read_jsonl(cuts), key=lambda row: -row["duration"])
    rows = rows[:: max(1, len(rows) // (2 * LARGE))][: 2 * LARGE]
    searches: dict[str, Callable[[Encoded], object]] = {}
    if model.head is not None:
        searches["ctc_greedy"] = lambda each: ctc_greedy(*each.ctc)
    if (decoder := model.decoder) is not None:
        searches["attention_beam"] = lambda each: attention_beam(
            decoder, each.x, each.lengths, most_tokens(each.frames, MAX_RATIO), 8, 1.0
        )
    found = {}
    for name, search in searches.items():
        took = []
        for size in (LARGE, 1):
            encoded = [encode(model, *load_batch(rows[first : first + size])) for first in range(0, len(rows), size)]
            times = []
            for _ in range(repeat + 1):  # the first is not counted
                began = time.process_time()
                for each in encoded:
                    search(each)
                times.append(time.process_time() - began)
            took.append(min(times[1:]))
        found[name] = took[1] / took[0]
        print(f"{name}: {len(rows)} utterances in batches of {LARGE} {took[0]:.4f} s, one by one {took[1]:.4f} s, "
              f"{found[name]:.2f} times as fast")  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lang", type=Path, required=True)
    parser.add_argument("--graph", type=Path, required=True, help="folder with HLG")
    parser.add_argument("--experiment", type=Path, help="folder of a trained model")
    parser.add_argument("--cuts", type=Path, help="manifest with features, for --experiment")
    parser.add_argument("--graph-scale", type=float, default=1.0)
    parser.add_argument("--sure-blank", type=float, default=1.0, help="as hlg.sure-blank of steps/decode.py")
    parser.add_argument("--seconds", type=float, default=200.0, help="of made-up speech, without --experiment")
    parser.add_argument("--frame-shift", type=float, default=0.04, help="of made-up scores, in seconds")
    parser.add_argument("--repeat", type=int, default=5, help="passes over all batches")
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch; 0: all cores")
    parser.add_argument("--bars", action="store_true", help="exit 1 where the bar is not reached")
    options = parser.parse_args()
    if (options.experiment is None) != (options.cuts is None):
        parser.error("--experiment and --cuts go together")
    if options.threads:
        torch.set_num_threads(options.threads)
    print(f"load at the start: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")
    lang = Lang.read(options.lang)
    decoder = GraphDecoder(options.graph, lang, torch.device("cpu"))
    if options.experiment:
        batches, took = modelled(options.experiment, options.cuts)
        audio = sum(row["duration"] for row in read_jsonl(options.cuts))
        print(f"encoder: {audio:.0f} s of speech in {took:.2f} s, real-time factor {took / audio:.5f}")
    else:
        batches = made_up(lang, options.seconds, options.frame_shift, seed=1)
        audio = sum(lengths.sum().item() for _, lengths in batches) * options.frame_shift

    try:
        kaldi = KaldiDecoder(options.graph, lang)
        kaldi.fst(0.0)
    except EgretError as error:
        kaldi = None
        print(f"no peer: {error}")
    beams = replace(BEAMS, sure_blank=options.sure_blank)
    ours, theirs, processor = [], [], []
    found: list[Best] = []
    peer: list[Best] = []
    for _ in range(options.repeat):
        # One after the other in each pass: whatever else the machine does is alike for both.
        began, worked = time.perf_counter(), time.process_time()
        found = [best for batch in batches for best in decoder.decode(*batch, beams, options.graph_scale)]
        ours.append((time.perf_counter() - began) / audio)
        processor.append((time.process_time() - worked) / audio)
        if kaldi is not None:
            began = time.perf_counter()
            peer = [best for batch in batches for best in kaldi.decode(*batch, BEAMS, options.graph_scale)]
            theirs.append((time.perf_counter() - began) / audio)
    rtf = median(ours)
    print(f"search: {len(found)} utterances, {audio:.0f} s of speech, real-time factor {rtf:.5f} (fastest pass "
          f"{min(ours):.5f}, processor time {median(processor):.5f})")  # fmt: skip
    if kaldi is not None:
        same = sum(best.words == other.words for best, other in zip(found, peer, strict=True))
        better = sum(best.score > other.score + 1e-2 for best, other in zip(found, peer, strict=True))
        worse = sum(best.score < other.score - 1e-2 for best, other in zip(found, peer, strict=True))
        print(f"kaldi-decoder, one thread: {median(theirs):.5f}; ours takes {rtf / median(theirs):.2f} of its time; "
              f"the same words in {same}, a better score in {better}, a worse one in {worse}")  # fmt: skip
    if options.bars and min(ours) > BAR:
        sys.exit(f"the bar was not reached: a real-time factor of {BAR}")
    faster = batched(options.experiment, options.cuts, options.repeat) if options.experiment else {}
    if options.bars and (slow := [name for name, ratio in faster.items() if ratio < BATCHED_BAR]):
        sys.exit(f"the bar was not reached: batches {BATCHED_BAR:g} times as fast as one by one, with {' '.join(slow)}")


if __name__ == "__main__":
    main()
