"""The page: what was trained, how it went, how it scored, and where it goes wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from egret.base.errors import EgretError, first_few
from egret.base.files import read_json, read_jsonl
from egret.base.log import log
from egret.base.stamps import read_stamp
from egret.corpus.cuts import part_name, read_cuts, text_of
from egret.decoding.recognise import inputs_of, refuse_other_units
from egret.graph.topology import was_modified
from egret.lang.lang import Lang
from egret.lang.normalise import normalise
from egret.models.files import load_model
from egret.models.model import count_parameters
from egret.report.aligned import legend, note, worst_first
from egret.report.attention import attention_section
from egret.report.curves import curves_section, read_curves
from egret.report.html import Markup, el
from egret.report.sections import confusions_section, scores_table, speakers_section
from egret.report.sound import Allowance
from egret.report.style import SCRIPT, document
from egret.report.utterances import Listener, Utterance, card
from egret.scoring.details import Tally, by_speaker, group
from egret.scoring.errors import count_errors
from egret.scoring.inputs import Hypotheses, References
from egret.scoring.report import UNITS
from egret.scoring.results import Score, read_scores
from egret.scoring.writing import Writing

LEGEND = (
    "The picture shows the log mel filter banks that the model sees, low frequencies below. Under it, where the model "
    "finds the tokens of the reference (in their best pronunciation), and what it would say itself at each moment, "
    "without lexicon and language model. The darker a token's box, the surer the model; a question mark and a dashed "
    "box mean a probability below 0.1. CTC puts a token where it recognises it, which may be short and late. Touch the "
    "picture to hear from there."
)


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
    modified = was_modified(config, len(units.units))
    listener, allowance = Listener(model, units, inputs, modified), Allowance(max_audio * 2**20)
    sections = [
        el("section", el("h2", "Training"), _curves(experiment / "tensorboard")),
        el("section", el("h2", "Scores"), scores_table(scores, best)),
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


def _part(
    experiment: Path, score: Score, manifest: Path, listener: Listener, worst: int, allowance: Callable[[int], bool]
) -> tuple[Markup, list[dict[str, Any]]]:
    """The details of one part by the best method, and the cuts that are shown, the worst first."""
    writing = Writing.of(score)
    references = References.read(manifest, writing)
    hyps = Hypotheses.read(score["folder"] / "hyp.jsonl", writing, tokens=True)
    counts = count_errors(references.words, hyps.words)
    by_character = count_errors(references.words, hyps.words, UNITS[score.get("latin", "letter")])
    chosen = worst_first(counts.utterances, hyps.totals, worst)
    wanted = set(chosen)
    found = {cut["id"]: cut for cut in read_cuts(manifest) if cut["id"] in wanted}
    trained_on = listener.lang.about["normaliser"]["name"]
    cards = []
    for name in chosen:
        utterance = Utterance(found[name], references.speakers[name], references.words[name], hyps.words.get(name),
                              hyps.tokens.get(name), counts.utterances[name])  # fmt: skip
        cards.append(card(utterance, listener, normalise(text_of(found[name]), trained_on), allowance))
    speakers = by_speaker(references.speakers, counts, by_character)
    content = el(
        "section",
        el("h2", f"{score['part']}: {score['wer']:.2f} % by {score['method']}"),
        confusions_section(Tally.of(references.words, hyps.words).confusions()),
        speakers_section([{"speaker": each.name, **each.as_plain()} for each in speakers],
                         group("all", counts.utterances, counts, by_character).as_plain()),
        el("h3", f"The {len(cards)} worst of {len(counts.utterances)} utterances") if cards else [],
        cards,
    )  # fmt: skip
    return content, [found[name] for name in chosen]


def _attention(listener: Listener, shown: list[dict[str, Any]]) -> Markup:
    """Of the first utterance on the page that has features."""
    for cut in shown:
        try:
            return attention_section(listener.model, cut, listener.inputs)
        except EgretError as error:
            log.warning("no attention of %s: %s", cut["id"], error)
    return Markup("")


def _legend() -> Markup:
    return el("footer", el("h2", "How to read this"), legend(), el("p", LEGEND))
