#!/usr/bin/env python3
"""Write exp/<name>/report.html, an experiment on one page that any browser opens without a network: curves, scores,
confusions, and the worst utterances to read, hear and see. A second of speech at 16 kHz takes about 30 kB."""

from dataclasses import dataclass
from pathlib import Path

from egret.base.errors import EgretError
from egret.base.files import write_text
from egret.base.log import log
from egret.base.options import StepOptions, infile, option, outdir
from egret.base.program import Outcome, Step, main
from egret.base.stamps import fingerprint, read_stamp


@dataclass(kw_only=True)
class Options(StepOptions):
    experiment: Path = outdir("folder of the trained model, decoded and scored; report.html is left there")
    cuts: list[Path] = infile("manifests with features, of every part that was decoded", "stage 1")
    lang: Path = infile("lang folder that it was trained with", "steps/prepare_lang.py (stage 2)")
    worst: int = option(10, "utterances of each part that are shown, those with the most errors", minimum=0)
    max_audio: float = option(20.0, "MiB of sound on the page at most (a third more as text); 0: none", minimum=0)

    @property
    def out(self) -> Path:
        """Where the stamp lies: not in the experiment itself, whose stamps say what was trained."""
        return self.experiment / "decode"


def weights(experiment: Path) -> str:
    """What was decoded with: `final`, or the name of a checkpoint."""
    stamp = read_stamp(experiment / "decode", "decode")
    return stamp["options"].get("weights", "final") if stamp else "final"


def more_inputs(options: Options) -> dict[str, str]:
    """The scores and the model."""
    folder = options.experiment
    if not (folder / "config.yaml").exists():
        raise EgretError(f"--experiment {folder}: no trained model here; train one first (stage 4)")
    used = weights(folder)
    model = "final.safetensors" if used == "final" else f"checkpoints/{used}/model.safetensors"
    files = [*folder.glob("decode/*/hyp.jsonl"), *folder.glob("decode/*/score.json"), folder / "best.json",
             folder / "config.yaml", folder / model]  # fmt: skip
    return {str(path.relative_to(folder)): fingerprint(path) for path in sorted(files) if path.exists()}


def run(options: Options) -> Outcome:
    from egret.report.page import make_page

    page, counts = make_page(
        options.experiment, options.cuts, options.lang, options.worst, options.max_audio, weights(options.experiment)
    )
    path = options.experiment / "report.html"
    write_text(path, page)
    log.info("%s: open it in a browser", path)
    return Outcome([path], {**counts, "MiB": round(len(page.encode()) / 2**20, 2)})


STEP = Step(
    name="report",
    version=3,
    options=Options,
    run=run,
    description=__doc__ or "",
    example="steps/report.py --experiment exp/conformer_phone --lang data/lang_phone "
    "--cuts data/fbank/dev.jsonl data/fbank/test.jsonl",
    more_inputs=more_inputs,
)

if __name__ == "__main__":
    main(STEP)
