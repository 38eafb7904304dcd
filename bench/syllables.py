#!/usr/bin/env python3
"""Time the search from syllables to text, in processor time of one core.

    bench/syllables.py [--sentences 10000] [--bars]

Sentences are words of jieba's list drawn by their frequencies; G is made of them, and 300 of them are turned into
syllables and back. With --bars it fails where one text is found in fewer than 300 sentences a second.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from itertools import accumulate
from pathlib import Path

from recipe import ROOT

sys.path.insert(0, str(ROOT))

from egret.decoding.syllables import SyllableGraph, SyllableSearch
from egret.lang.lang import Lang
from egret.lang.pinyin import is_han, to_syllables

BAR = 300
TRIED = 300
FREQUENT = 20  # occurrences of a word in jieba's list


def sentences(count: int) -> list[list[str]]:
    """Characters of sentences of 4 to 12 words."""
    import jieba

    rng = random.Random(1)
    listed = Path(jieba.__file__).with_name("dict.txt").read_text(encoding="utf-8")
    rows = [line.split() for line in listed.splitlines()]
    words = [(row[0], int(row[1])) for row in rows if int(row[1]) > FREQUENT and all(map(is_han, row[0]))]
    names, sums = [word for word, _ in words], list(accumulate(n for _, n in words))
    drawn = (rng.choices(names, cum_weights=sums, k=rng.randint(4, 12)) for _ in range(count))
    return [list("".join(sentence)) for sentence in drawn]


def step(name: str, *arguments: object) -> None:
    subprocess.run([sys.executable, ROOT / "steps" / f"{name}.py", *map(str, arguments)], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip


def make_graph(folder: Path, order: int) -> SyllableGraph:
    """LG of the text in the folder."""
    lang, text = folder / "lang", folder / "text.txt"
    step("prepare_lexicon", "--source", "pinyin", "--text", text, "--extra", "none", "--out", folder / "lexicon")
    step("prepare_lang", "--kind", "syllable", "--lexicon", folder / "lexicon/lexicon.txt", "--out", lang)
    step("train_ngram", "--lang", lang, "--text", text, "--order", order, "--out", folder / "lm")
    grammar = folder / f"lm/G_{order}gram.safetensors"
    step("compile_graph", "--lang", lang, "--grammar", grammar, "--lg", "true", "--out", folder / "graph")
    return SyllableGraph.read(folder / "graph", Lang.read(lang))


def timed(graph: SyllableGraph, rows: list[list[str]], nbest: int) -> tuple[float, float]:
    """Sentences a second, and the longest time from a syllable to the texts so far, in seconds."""
    started, longest = time.process_time(), 0.0
    for row in rows:
        search = SyllableSearch(graph, nbest)
        for name in row:
            search.push(name)
        search.best()
    rate = len(rows) / (time.process_time() - started)
    for row in rows:
        search = SyllableSearch(graph, nbest)
        for name in row:
            begun = time.process_time()
            search.push(name)
            search.best()
            longest = max(longest, time.process_time() - begun)
    return rate, longest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=10_000)
    parser.add_argument("--bars", action="store_true")
    options = parser.parse_args()
    text = sentences(options.sentences)
    rows = [to_syllables(row) for row in random.Random(3).sample(text, TRIED)]
    slowest = float("inf")
    print("order     arcs  texts  sentences/s  longest wait (ms)")
    for order in (2, 3):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "text.txt").write_text("".join(" ".join(row) + "\n" for row in text), encoding="utf-8")
            graph = make_graph(Path(folder), order)
        for nbest in (1, 5):
            timed(graph, rows[:10], nbest)
            rate, longest = timed(graph, rows, nbest)
            print(f"{order:5} {len(graph.keys):8} {nbest:6} {rate:12.0f} {1000 * longest:18.1f}")
            slowest = min(slowest, rate) if nbest == 1 else slowest
    if options.bars and slowest < BAR:
        sys.exit(f"too slow: {slowest:.0f} sentences a second, the bar is {BAR}")


if __name__ == "__main__":
    main()
