"""The page: what was trained, how it went, how it scored, and where it goes wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from egret.base.errors import EgretError, first_few
from egret.base.files import read_json, read_jsonl
from egret.base.log import log
from egret.base.stamps import read_stamp
from egret.corpus.cuts import part_name, read_cuts, text_of
from egret.decoding.recognise import inputs_of, refuse_other_units
from egret.lang.lang import Lang
from egret.lang.normalise import normalise
from egret.models.files import load_model
from egret.models.model import count_parameters
from egret.report.attention import attention_section
from egret.report.curves import curves_section, read_curves
from egret.report.html import Markup, el, table
from egret.report.scores import Score, read_scores
from egret.report.style import SCRIPT, document
from egret.report.utterances import Listener, Utterance, card, note, worst_first
from egret.scoring.errors import count_errors
from egret.scoring.report import References, read_hypotheses, spelt
from egret.scoring.tables import SPEAKER_COLUMNS, chosen_cell, confused, rate, speaker_rows

SHOWN = 15  # confusions of a kind, speakers
LEGEND = (
    "The picture shows the log mel filter banks that the model sees, low frequencies below. Under it, where the model "
    "finds the tokens of the reference (in their best pronunciation), and what it would say itself at each moment, "
    "without lexicon and language model. The darker a token's box, the surer the model; a question mark and a dashed "
    "box mean a probability below 0.1. CTC puts a token where it recognises it, which may be short and late. Touch the "
    "picture to hear from there."
)


@dataclass
class Allowance:
    """Room on the page for sound, in bytes."""

    left: float

    def __call__(self, size: int) -> bool:
        """Take `size` bytes if there are as many."""
        if size > self.left:
            return False
        self.left -= size
        return True


def make_page(
    experiment: Path, cuts: list[Path], lang: Path, worst: int, max_audio: float, weights: str
) -> tuple[str, dict[str, int]]:
    """The report of an experiment that was decoded and scored, and counts.

    Args:
      cuts: manifests with features, of every part that was decoded.
      worst: utterances of each part that are shown.
      max_audio: MiB of sound on the page at most.

    Raises:
      EgretError: there are no scores, no model, or cuts of a part are missing.
    """
    scores, best = read_scores(experiment)
    units = Lang.read(lang)
    model, config = load_model(experiment, weights)
    refuse_other_units(experiment, config, units)
    manifests = {part_name(path): path for path in cuts}
    inputs = inputs_of(model, config.get("normalise", "global"), cuts)
    listener, allowance = Listener(model, units, inputs), Allowance(max_audio * 2**20)
    sections = [
        el("section", el("h2", "Training"), _curves(experiment / "tensorboard")),
        el("section", el("h2", "Scores"), _scores(scores, best)),
    ]
    shown: list[dict[str, Any]] = []
    for score in (score for score in scores if score["method"] == best["method"]):
        if score["part"] not in manifests:
            raise EgretError(f"{experiment}: the part {score['part']!r} was decoded, --cuts has "
                             f"{first_few(manifests)}; add its manifest")  # fmt: skip
        content, cuts_shown = _part(experiment, score, manifests[score["part"]], listener, worst, allowance)
        sections.append(content)
        shown += cuts_shown
    sections.append(_attention(listener, shown))
    parameters = f"{count_parameters(model):,}"
    header = _header(experiment, config, parameters)
    return document(f"{experiment.resolve().name}: report", [header, *sections, _legend()], SCRIPT), {
        "decodings": len(scores),
        "utterances": len(shown),
    }


def _header(experiment: Path, config: dict[str, Any], parameters: str) -> Markup:
    """What it is and what it was trained with, so far as the experiment's files say so."""
    history = _rows(experiment / "history.jsonl")
    env = read_json(experiment / "env.json") if (experiment / "env.json").exists() else {}
    counts = (read_stamp(experiment, "train") or {}).get("counts", {})
    scored = (read_stamp(experiment / "decode", "score") or {}).get("finished", "")
    packages = ", ".join(f"{name} {version}" for name, version in env.get("packages", {}).items() if version)
    facts = {
        "model": f"{config['model']['encoder']}, {parameters} parameters",
        "training": ", ".join(f"{value} {name}" for name, value in counts.items()
                              if name in ("utterances", "epochs", "steps")),
        "trained": ", gone on with ".join(str(row.get("time", "?")).replace("T", " ") for row in history),
        "scored": scored.replace("T", " "),
        "units": f"{config['tokens']} tokens of {config['lang']}",
        "Egret": env.get("git") or "",
        "host": ", ".join(filter(None, [env.get("host"), env.get("cores") and f"{env['cores']} cores"])),
        "software": packages,
    }  # fmt: skip
    cells = [el("div", el("dt", name), el("dd", value)) for name, value in facts.items() if value]
    command = " ".join(history[-1].get("command", [])) if history else ""
    resolved = (experiment / "config.yaml").read_text(encoding="utf-8")
    return el(
        "header",
        el("h1", experiment.resolve().name),
        el("dl", cells),
        el("details", el("summary", "configuration"), el("pre", f"{command}\n\n{resolved}".strip())),
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    return list(read_jsonl(path)) if path.exists() else []


def _curves(folder: Path) -> Markup:
    try:
        return curves_section(read_curves(folder))
    except EgretError as error:
        log.warning("no curves: %s", error)
        return note(f"No curves: {error}.")


def _scores(scores: list[Score], best: dict[str, Any]) -> Markup:
    names = ["method", "part", "WER % [95 %]", "CER % [95 %]", "ins", "del", "sub", "words", "missing", "RTF",
             "chosen on", "parameters"]  # fmt: skip
    rows, marked = [], set()
    for number, score in enumerate(scores):
        chosen = score["method"] == best["method"]
        marked |= {number} if chosen else set()
        rtf = score.get("rtf") or {}
        rows.append([
            ("★ " if chosen else "") + score["method"],
            score["part"],
            rate(score["wer"], score["ci95"]["wer"]),
            rate(score["cer"], score["ci95"]["cer"]),
            *(str(score[key]) for key in ("ins", "del", "sub", "ref", "missing")),
            f"{sum(rtf.get(key) or 0.0 for key in ('encoder', 'search')):.4f}" if rtf else "-",
            chosen_cell(score),
            ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                      for name, value in score["params"].items()),
        ])  # fmt: skip
    how = "fixed beforehand" if best["chosen_on"] == "fixed" else f"chosen on {best['chosen_on']}"
    said = f"★ {best['method']}, {how}. The interval is where 95 % of resamplings of the utterances lie."
    if best.get("note"):
        said = f"{best['note']}. {said}"
    return el("div", table(names, rows, marked), note(said))


def _part(
    experiment: Path, score: Score, manifest: Path, listener: Listener, worst: int, allowance: Callable[[int], bool]
) -> tuple[Markup, list[dict[str, Any]]]:
    """The details of one part by the best method, and the cuts that are shown, the worst first."""
    normaliser = score["normaliser"]["name"]
    references = References.read(manifest, normaliser)
    hyps = read_hypotheses(score["folder"] / "hyp.jsonl", normaliser)
    rows = {row["id"]: row for row in read_jsonl(score["folder"] / "hyp.jsonl")}
    counts = count_errors(references.words, hyps)
    chosen = worst_first(counts.utterances, rows, worst)
    wanted = set(chosen)
    found = {cut["id"]: cut for cut in read_cuts(manifest) if cut["id"] in wanted}
    trained_on = listener.lang.about["normaliser"]["name"]
    cards = []
    for name in chosen:
        utterance = Utterance(found[name], references.speakers[name], references.words[name], hyps.get(name, []),
                              rows.get(name), counts.utterances[name])  # fmt: skip
        cards.append(card(utterance, listener, normalise(text_of(found[name]), trained_on), allowance))
    speakers = speaker_rows(references.speakers, counts, count_errors(spelt(references.words), spelt(hyps)))
    content = el(
        "section",
        el("h2", f"{score['part']}: {score['wer']:.2f} % by {score['method']}"),
        _confusions(confused(references.words, hyps)),
        _speakers(speakers),
        el("h3", f"The {len(cards)} worst of {len(counts.utterances)} utterances") if cards else [],
        cards,
    )
    return content, [found[name] for name in chosen]


def _attention(listener: Listener, shown: list[dict[str, Any]]) -> Markup:
    """Of the first utterance on the page that has features."""
    for cut in shown:
        try:
            return attention_section(listener.model, cut, listener.inputs)
        except EgretError as error:
            log.warning("no attention of %s: %s", cut["id"], error)
    return Markup("")


def _confusions(kinds: dict[str, dict[str, int]]) -> Markup:
    boxes = []
    for title, found in kinds.items():
        rows = [[str(count), what] for what, count in list(found.items())[:SHOWN]]
        more = f"and {len(found) - SHOWN} more in confusions.txt" if len(found) > SHOWN else ""
        content = table(["times", title], rows) if rows else note(f"no {title.split(' (')[0]}")
        boxes.append(el("div", content, note(more) if more else []))
    return el("div", el("h3", "Commonest confusions"), el("div", boxes, class_="beside"))


def _speakers(rows: list[list[str]]) -> Markup:
    *each, everyone = rows
    more = f"and {len(each) - SHOWN} more in per_speaker.txt" if len(each) > SHOWN else ""
    content = table(SPEAKER_COLUMNS, [*each[:SHOWN], everyone], {len(each[:SHOWN])})
    return el("div", el("h3", "Speakers, the highest WER first"), content, note(more) if more else [])


def _legend() -> Markup:
    def sample(kind: str, ref: str, hyp: str, says: str) -> Markup:
        shown = [el("span", word, class_="gap" if word == "·" else side) for word, side in ((ref, "r"), (hyp, "h"))]
        return el("p", el("span", shown, el("b", kind.upper()), class_=f"w {kind}"), f" {says}")

    return el(
        "footer",
        el("h2", "How to read this"),
        sample("s", "SAID", "HEARD", "substituted"),
        sample("d", "SAID", "·", "deleted: it was said and is missing"),
        sample("i", "·", "HEARD", "inserted: it was not said"),
        el("p", LEGEND),
    )
