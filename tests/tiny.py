"""A tiny corpus with features and a lang folder, for tests of training and decoding: no audio, no stages before."""

import json
from pathlib import Path

import numpy as np

from egret.base.files import write_json, write_jsonl, write_text
from egret.features.options import FeatureOptions
from egret.features.stats import Stats
from egret.features.store import LilcomArchive
from egret.graph import arcs
from egret.graph.lexicon_graph import lexicon_graph
from egret.lang.lexicon import word_lexicon, write_lexicon
from egret.lang.symbols import format_symbols, token_table, word_table

WORDS = ["one", "three", "two"]
MEL_BINS = 8
FRAMES_PER_WORD = 24


def make_lang(folder: Path) -> Path:
    """A lang folder in which each of three words is its own unit."""
    lexicon = word_lexicon(WORDS)
    tokens, words = token_table(WORDS, 0), word_table(WORDS)
    folder.mkdir(parents=True)
    write_text(folder / "tokens.txt", format_symbols(tokens))
    write_text(folder / "words.txt", format_symbols(words))
    write_text(folder / "lexicon.txt", write_lexicon(lexicon))
    arcs.save(folder / "L.safetensors", lexicon_graph(lexicon, tokens, words))
    normaliser = {"name": "plain", "version": 1}
    write_json(folder / "unit.json", {"kind": "word", "silence": None, "oov": "", "normaliser": normaliser})
    return folder


def make_features(folder: Path, part: str, utterances: int, seed: int) -> Path:
    """A manifest of `utterances` whose words are patterns in noise; its statistics lie beside it."""
    random = np.random.default_rng(seed)
    patterns = np.random.default_rng(7).normal(size=(len(WORDS), MEL_BINS)) * 2
    folder.mkdir(parents=True, exist_ok=True)
    options = FeatureOptions(num_mel_bins=MEL_BINS)
    stats, cuts = Stats.zero(MEL_BINS), []
    with open(folder / f"{part}.lca", "wb") as file:
        archive = LilcomArchive(file, folder / f"{part}.lca", options, "made-up")
        for number in range(utterances):
            spoken = random.integers(0, len(WORDS), random.integers(1, 5))
            frames = np.zeros((FRAMES_PER_WORD * (len(spoken) + 1), MEL_BINS))
            for place, word in enumerate(spoken):
                start = FRAMES_PER_WORD * place + FRAMES_PER_WORD // 2
                frames[start : start + FRAMES_PER_WORD // 2] = patterns[word]
            frames = (frames + random.normal(scale=0.3, size=frames.shape)).astype(np.float32)
            stats.add(frames)
            name, seconds = f"{part}-{number:03d}", len(frames) * options.frame_shift
            text = " ".join(WORDS[word] for word in spoken)
            cut = {"id": name, "start": 0.0, "duration": seconds, "channel": 0, "recording": {"id": name}}
            cuts.append(archive.add({**cut, "supervisions": [{"id": name, "start": 0.0, "text": text}]}, frames))
    stats.save(folder / f"{part}.stats.safetensors")
    write_jsonl(folder / f"{part}.jsonl", cuts)
    return folder / f"{part}.jsonl"


def rewrite(manifest: Path, change: dict[str, str]) -> None:
    """Give utterances of a manifest other texts."""
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    for row in rows:
        if row["id"] in change:
            row["supervisions"][0]["text"] = change[row["id"]]
    write_jsonl(manifest, rows)
