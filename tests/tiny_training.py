"""Training on the tiny corpus of tiny.py: options, and the step's program."""

from collections.abc import Callable
from pathlib import Path

from egret.base.options import parse
from egret.training.options import TrainOptions
from tiny import make_features, make_lang

Train = Callable[..., str]
SMALL = [
    *("--model.tdnn.dim", "16", "--model.tdnn.kernels", "5", "5", "--model.tdnn.dilations", "1", "1"),
    *("--model.tdnn.strides", "2", "2", "--batch.max_duration", "4", "--optim.lr", "0.01", "--threads", "1"),
]
SMALL_CONFORMER = [
    *("--model.conformer.dim", "16", "--model.conformer.layers", "2"),
    *("--model.conformer.channels", "4", "--model.conformer.kernel", "5"),
]


def make_corpus(folder: Path) -> list[str]:
    """A corpus with features in a folder, and the options that train a small model on it there, but for `--out`."""
    make_lang(folder / "lang")
    make_features(folder / "fbank", "train", 24, seed=1)
    make_features(folder / "fbank", "dev", 8, seed=2)
    part = ["--cuts", "fbank/train.jsonl", "--stats", "fbank/train.stats.safetensors", "--lang", "lang"]
    return [*part, "--dev-cuts", "fbank/dev.jsonl", *SMALL]


def small_options(folder: Path, out: str = "exp", **more: object) -> TrainOptions:
    """Options by their dotted names, with absolute paths."""
    if not (folder / "fbank").exists():
        make_corpus(folder)
    words = [*SMALL, *SMALL_CONFORMER, "--cuts", str(folder / "fbank/train.jsonl"), "--lang", str(folder / "lang")]
    words += ["--stats", str(folder / "fbank/train.stats.safetensors"), "--dev-cuts", str(folder / "fbank/dev.jsonl")]
    words += ["--out", str(folder / out)]
    for name, value in more.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{name}", *(str(each).lower() if isinstance(each, bool) else str(each) for each in values)]
    return parse(TrainOptions, words, "train.py", "")
