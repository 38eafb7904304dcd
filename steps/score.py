#!/usr/bin/env python3
"""Score decodings against the transcripts of their cuts: WER and CER with intervals, details, and the best method."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from egret.base.errors import EgretError, first_few
from egret.base.files import read_json, write_json
from egret.base.log import log
from egret.base.options import StepOptions, infile, option, outdir
from egret.base.program import Outcome, Step, main
from egret.base.stamps import fingerprint
from egret.corpus.cuts import part_name
from egret.lang.normalise import identity


@dataclass(kw_only=True)
class Options(StepOptions):
    decode: Path = outdir("folder of decodings, exp/<name>/decode; scores are left beside each hyp.jsonl")
    cuts: list[Path] = infile("manifests with the transcripts; a manifest's name is that of its part", "stage 0")
    dev_part: list[str] = option([], "parts on which, all together, the best method is chosen; none: there is none")
    note: str = option("", "what is to be known about the parts; shown with the scores and kept in best.json")
    main_method: str = option("", "without a dev part, the method that counts")
    metric: Literal["wer", "cer"] = option("wer", "what the best method is chosen by")
    normaliser: str = option("", "text normaliser of transcripts and hypotheses; empty: the model's, else plain")

    @property
    def out(self) -> Path:
        """Where the stamp lies."""
        return self.decode


def decodings(folder: Path) -> list[Path]:
    """The folders of single decodings, by name.

    Raises:
      EgretError: there are none, or one is not whole.
    """
    found = sorted(path.parent for path in folder.glob("*/hyp.jsonl"))
    if not found:
        what = "no decodings in it" if folder.is_dir() else "no such folder"
        raise EgretError(f"--decode {folder}: {what}; decodings are made by steps/decode.py (stage 5)")
    for path in found:
        if not (path / "params.json").exists():
            raise EgretError(f"{path}: has no params.json; decode again")
    return found


def normaliser_of(options: Options) -> str:
    """The name of the normaliser: that asked for, else the one of the model that was decoded with, else `plain`.

    Raises:
      EgretError: the model's config.yaml cannot be read.
      UsageError: there is no normaliser of that name.
    """
    name = options.normaliser or model_normaliser(options.decode.parent / "config.yaml") or "plain"
    identity(name)
    return name


def model_normaliser(config: Path) -> str:
    """The name under `normaliser` in an experiment's config.yaml; "" where there is none."""
    entry = settings(config).get("normaliser")
    return str(entry.get("name") or "") if isinstance(entry, dict) else ""


def syllable_lang(config: Path) -> Path | None:
    """The lang folder that the model was trained with, where its units are syllables and it is still there."""
    folder = Path(str(settings(config).get("lang") or ""))
    unit = folder / "unit.json"
    return folder if unit.is_file() and read_json(unit).get("kind") == "syllable" else None


def settings(config: Path) -> dict[str, Any]:
    """The content of an experiment's config.yaml; empty where there is none.

    Raises:
      EgretError: it cannot be read.
    """
    import yaml

    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise EgretError(f"{config}: cannot be read ({why}); train again, or say --normaliser NAME") from None
    return content if isinstance(content, dict) else {}


def more_inputs(options: Options) -> dict[str, str]:
    """What is scored, and how its text is normalised."""
    files = [path / name for path in decodings(options.decode) for name in ("hyp.jsonl", "params.json")]
    found = {str(path.relative_to(options.decode)): fingerprint(path) for path in files}
    lang = syllable_lang(options.decode.parent / "config.yaml")
    if lang:
        found |= {f"lang {name}": fingerprint(lang / name) for name in ("unit.json", "tokens.txt", "lexicon.txt")}
    return {**found, "normaliser": normaliser_of(options)}


def run(options: Options) -> Outcome:
    from egret.lang.lang import Lang
    from egret.scoring.best import choose_best
    from egret.scoring.report import LEAVES, References, read_params, score_decoding
    from egret.scoring.tables import score_table

    normaliser = normaliser_of(options)
    lang_folder = syllable_lang(options.decode.parent / "config.yaml")
    lang = Lang.read(lang_folder) if lang_folder else None
    manifests = {part_name(path): path for path in options.cuts}
    parts: dict[str, References] = {}
    scores = []
    folders = decodings(options.decode)
    for folder in folders:
        part = read_params(folder / "params.json")["part"]
        if part not in manifests:
            raise EgretError(f"{folder}: is of the part {part!r}, --cuts has {first_few(manifests)}; add its manifest")
        if part not in parts:
            parts[part] = References.read(manifests[part], normaliser, lang, syllables=True)
        scores.append(score_decoding(folder, parts[part], normaliser, lang))
    dev_parts = [part for part in options.dev_part if part]
    best = choose_best(scores, dev_parts, options.main_method, options.metric)
    if options.note:
        best["note"] = options.note
    write_json(options.decode.parent / "best.json", best)
    print(score_table(scores) + (f"note: {options.note}\n" if options.note else ""), end="", flush=True)
    how = f"chosen on {best['chosen_on']}" if dev_parts else "fixed beforehand"
    log.info("best: %s (%s)", best["method"], how)
    outputs = [folder / name for folder in folders for name in LEAVES]
    missing = sum(score["missing"] for score in scores)
    return Outcome([*outputs, options.decode.parent / "best.json"], {"decodings": len(scores), "missing": missing})


STEP = Step(
    name="score",
    version=2,
    options=Options,
    run=run,
    description=__doc__ or "",
    example="steps/score.py --decode exp/tdnn_phone/decode "
    "--cuts data/cuts/dev.jsonl data/cuts/test.jsonl --dev-part dev",
    more_inputs=more_inputs,
)

if __name__ == "__main__":
    main(STEP)
