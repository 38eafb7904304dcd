#!/usr/bin/env python3
"""Train a neural language model, recurrent or a Transformer, on text; interrupted, it goes on where it was."""

from egret.base.files import write_json
from egret.base.program import Outcome, Step, main
from egret.training.lm_options import LmOptions
from egret.training.signals import ending_at_once


def run(options: LmOptions) -> Outcome:
    with ending_at_once():  # but where the training loop, or the processes that were started, save first
        return train_or_help(options)


def train_or_help(options: LmOptions) -> Outcome:
    """Train, or do one machine's part of it, and leave the perplexities in report.json."""
    from egret.training.start import train_here
    from egret.training.text_report import report

    counts = train_here(options, STEP.version)
    if options.node > 0:
        return Outcome([], counts)
    perplexities = report(options)
    write_json(options.out / "report.json", {"perplexity": perplexities})
    counts |= {f"perplexity of {part}": row["perplexity"] for part, row in perplexities.items()}
    outputs = [options.out / name for name in ("final.safetensors", "config.yaml", "report.json")]
    return Outcome(outputs, counts)


STEP = Step(
    name="train_lm",
    version=1,
    options=LmOptions,
    run=run,
    helps=lambda options: options.node > 0,
    description=__doc__ or "",
    example="steps/train_lm.py --config conf/lm/lstm.yaml --lang data/lang_phone --cuts data/cuts/train.jsonl "
    "--dev-cuts data/cuts/dev.jsonl --out exp/lm_lstm",
)

if __name__ == "__main__":
    main(STEP)
