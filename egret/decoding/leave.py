"""What decoding leaves: a folder for each part and method."""

import shutil
from pathlib import Path
from typing import Any

from egret.base.errors import first_few
from egret.base.files import write_json, write_jsonl
from egret.base.log import log
from egret.base.shares import remove_shares
from egret.decoding.options import DecodeOptions
from egret.decoding.recognised import Recognised

# What may be said of a hypothesis in its row.
MARKS = {
    "fell_back": "the larger n-gram has no sentence of the lattice, the words stay as they were",
    "halved": "memory ran out, batches were halved (a lower --max-duration saves the time)",
    "beam_narrowed": "memory ran out, beams were narrowed",
    "out_of_memory": "memory ran out with the narrowest beams, and there are no words",
    "untimed": "no times of words, their tokens make other words or do not fit into the frames",
    "partial": "no path ends where a sentence may (wider beams may help), the best of the others was taken",
    "histories_pruned": "the lattice is too wide to follow every history (a lower --hlg.output-beam helps), the best "
    "ones were",
}


def leave(
    options: DecodeOptions, part: str, results: list[Recognised], took: dict[str, float], chosen_on: str
) -> list[Path]:
    """Write hypotheses and parameters of each method below --out."""
    written, out = [], options.out
    audio = took["audio_seconds"]
    for result in results:
        folder = out / f"{part}_{result.method}"
        shutil.rmtree(folder, ignore_errors=True)  # scores of other hypotheses must not stay beside these
        folder.mkdir(parents=True)
        rtf = {
            "encoder": round(took["encoder_seconds"] / audio, 5),
            "search": round(result.seconds / audio, 5),
        }
        about: dict[str, Any] = {"part": part, "method": result.method, "params": result.params, "chosen_on": chosen_on,
                 "files": options.files_of(result.method, result.params)}  # fmt: skip
        hypotheses = result.hypotheses
        marked = {mark: [hyp["id"] for hyp in hypotheses if hyp.get(mark)] for mark in MARKS}
        about |= {mark: len(names) for mark, names in marked.items() if names}
        write_jsonl(folder / "hyp.jsonl", hypotheses)
        write_json(folder / "params.json", {**about, "rtf": {**rtf, "audio_seconds": round(audio, 2)}})
        if lost := [hyp["id"] for hyp in hypotheses if hyp["score"]["total"] is None]:
            log.warning("%s %s: no path for %d of %d utterances, which get no words (%s); wider beams may help",
                        part, result.method, len(lost), len(hypotheses), first_few(lost))  # fmt: skip
        for mark, names in marked.items():
            if names:
                log.warning("%s %s: %s for %d of %d utterances (%s)", part, result.method, MARKS[mark], len(names),
                            len(hypotheses), first_few(names))  # fmt: skip
        log.info("%s %s: %d utterances, real-time factor %.4f encoder, %.4f search",
                 part, result.method, len(hypotheses), rtf["encoder"], rtf["search"])  # fmt: skip
        written += [folder / "hyp.jsonl", folder / "params.json"]
    return written


def remove_others(out: Path, written: list[Path]) -> None:
    """Decodings of an earlier run by methods or of parts no longer asked for must not be scored with these; and what
    jobs have left is joined now."""
    for path in sorted(out.glob("*/hyp.jsonl")):
        if path not in written:
            log.info("%s: removed, it is of an earlier run", path.parent)
            shutil.rmtree(path.parent)
    remove_shares(out, "decode")
