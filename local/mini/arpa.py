"""A small n-gram in the ARPA format, for layouts that come with language models of their own."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

DISCOUNT = 0.5  # of every count: absolute discounting, Ney, Essen and Kneser 1994, with back-off
NGram = tuple[str, ...]


def arpa(sentences: Iterable[Sequence[str]], order: int = 3) -> str:
    """The text of a back-off model of sentences; every word of them is in it, and <unk> with next to nothing."""
    counts: list[Counter[NGram]] = [Counter() for _ in range(order)]
    for sentence in sentences:
        marked = ("<s>", *sentence, "</s>")
        for size in range(1, order + 1):
            counts[size - 1].update(zip(*(marked[start:] for start in range(size)), strict=False))
    del counts[0][("<s>",)]
    logs = {gram: math.log10(count / counts[0].total()) for gram, count in counts[0].items()}
    backoffs: dict[NGram, float] = {}
    for size in range(2, order + 1):
        # log10 of a history's discounted probabilities, by the history
        followed: dict[NGram, list[NGram]] = {}
        for gram in counts[size - 1]:
            followed.setdefault(gram[:-1], []).append(gram)
        for history, grams in followed.items():
            total = sum(counts[size - 1][gram] for gram in grams)
            left = 1 - sum(10 ** logs[gram[1:]] for gram in grams)
            backoffs[history] = math.log10(DISCOUNT * len(grams) / total / left) if left > 1e-9 else 0.0
            for gram in grams:
                logs[gram] = math.log10((counts[size - 1][gram] - DISCOUNT) / total)
    logs[("<unk>",)] = -7.0
    logs[("<s>",)] = -99.0
    return "".join(_lines(logs, backoffs, order))


def _lines(logs: dict[NGram, float], backoffs: dict[NGram, float], order: int) -> Iterator[str]:
    sizes = [sorted(gram for gram in logs if len(gram) == size) for size in range(1, order + 1)]
    yield "\\data\\\n"
    for size, grams in enumerate(sizes, 1):
        yield f"ngram {size}={len(grams)}\n"
    for size, grams in enumerate(sizes, 1):
        yield f"\n\\{size}-grams:\n"
        for gram in grams:
            weight = f"\t{backoffs[gram]:.5f}" if gram in backoffs else ""
            yield f"{logs[gram]:.5f}\t{' '.join(gram)}{weight}\n"
    yield "\n\\end\\\n"
