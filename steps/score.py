#!/usr/bin/env python3
"""Score decodings against the transcripts of their cuts: errors in words, characters, sentences and syllables with
intervals, what is behind them, the best method, a page to read and hear them on, and a test against another system."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from egret.base.errors import EgretError, UsageError, first_few
from egret.base.files import read_json, write_json, write_text
from egret.base.log import log
from egret.base.options import StepOptions, infile, option, outdir
from egret.base.program import Outcome, Step, main
from egret.base.stamps import changed_outputs, fingerprint
from egret.corpus.cuts import part_name
from egret.lang.normalise import identity

if TYPE_CHECKING:
    from egret.lang.lang import Lang
    from egret.report.score_page import Page
    from egret.scoring.inputs import References
    from egret.scoring.paired import Test
    from egret.scoring.report import Known
    from egret.scoring.writing import Writing

PAGE = "score.html"
COMPARED = "compare.json"


@dataclass(kw_only=True)
class Options(StepOptions):
    decode: Path = outdir("folder of decodings, exp/<name>/decode; scores are left beside each hyp.jsonl")
    cuts: list[Path] = infile("manifests with the transcripts; a manifest's name is that of its part", "stage 0")
    dev_part: list[str] = option([], "parts on which, all together, the best method is chosen; none: there is none")
    note: str = option("", "what is to be known about the parts; shown with the scores and kept in best.json")
    main_method: str = option("", "without a dev part, the method that counts")
    metric: Literal["wer", "cer", "mer"] = option("wer", "what the best method is chosen by; mer: mixed errors, "
                                                  "Latin words and characters of other scripts")  # fmt: skip
    normaliser: str = option("", "text normaliser of transcripts and hypotheses; empty: the model's, else plain")
    fold: list[Literal["fullwidth", "numbers", "erhua"]] = option(
        [], "what shall be no error besides: full-width letters and digits; numbers in digits or in Chinese; the 儿 of "
        "erhua, there or not")  # fmt: skip
    cer_latin: Literal["auto", "word", "letter"] = option(
        "auto", "what Latin words are to CER: one unit each, or their letters; auto: word where transcripts have "
        "Chinese characters")  # fmt: skip
    lang: Path | None = infile("lang folder whose words are the lexicon, by which words outside it are counted apart; "
                               "none: the model's, where it is there", "steps/prepare_lang.py (stage 2)",
                               None)  # fmt: skip
    compare: Path | None = option(None, "experiment to test against, utterance by utterance: exp/<other>, scored")
    shown: int = option(50, "utterances of each part on the page at most, those with the most errors", minimum=0)
    max_audio: float = option(5.0, "MiB of sound in the page at most, of recordings that a browser cannot play where "
                              "they lie; 0: none", minimum=0)  # fmt: skip

    @property
    def out(self) -> Path:
        """Where the stamp lies."""
        return self.decode

    @property
    def experiment(self) -> Path:
        return self.decode.parent


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


def refuse_half_done(folder: Path) -> None:
    """Raises EgretError where decodings are of two runs of steps/decode.py, of which the last was killed."""
    changed = changed_outputs(folder, "decode")
    if changed is None:
        log.warning("%s: steps/decode.py has not ended there; what is missing is not scored", folder)
    elif changed:
        raise EgretError(f"{folder}: {first_few(changed)}: not what the last finished run of steps/decode.py left, so "
                         f"that there may be decodings of two runs; decode again")  # fmt: skip


def normaliser_of(options: Options) -> str:
    """The name of the normaliser: that asked for, else the one of the model that was decoded with, else `plain`.

    Raises:
      EgretError: the model's config.yaml cannot be read.
      UsageError: there is no normaliser of that name.
    """
    name = options.normaliser or model_normaliser(options.experiment / "config.yaml") or "plain"
    identity(name)
    return name


def model_normaliser(config: Path) -> str:
    """The name under `normaliser` in an experiment's config.yaml; "" where there is none."""
    entry = settings(config).get("normaliser")
    return str(entry.get("name") or "") if isinstance(entry, dict) else ""


def model_lang(config: Path) -> Path | None:
    """The lang folder that the model was trained with, where it is still there."""
    folder = Path(str(settings(config).get("lang") or ""))
    return folder if (folder / "unit.json").is_file() else None


def syllable_lang(config: Path) -> Path | None:
    """The same where its units are syllables."""
    folder = model_lang(config)
    return folder if folder and read_json(folder / "unit.json").get("kind") == "syllable" else None


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
    """What is scored, how its text is normalised, and what it is compared with."""
    files = [path / name for path in decodings(options.decode) for name in ("hyp.jsonl", "params.json")]
    found = {str(path.relative_to(options.decode)): fingerprint(path) for path in files}
    config = options.experiment / "config.yaml"
    if lang := syllable_lang(config):
        found |= {f"lang {name}": fingerprint(lang / name) for name in ("unit.json", "tokens.txt", "lexicon.txt")}
    if lexicon := None if options.lang else model_lang(config):
        found["lang words.txt"] = fingerprint(lexicon / "words.txt")
    if options.compare:
        best, others = other_scores(options)
        paths = [options.compare / "best.json", *(other["folder"] / "errors.jsonl" for other in others
                                                  if other["method"] == best["method"])]  # fmt: skip
        found |= {f"compare {path.relative_to(options.compare)}": fingerprint(path) for path in paths if path.exists()}
    return {**found, "normaliser": normaliser_of(options)}


def other_scores(options: Options) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """best.json and the scores of the system to compare with.

    Raises:
      EgretError: it is not there, or has not been scored.
      UsageError: it is the one that is scored.
    """
    from egret.scoring.results import read_scores

    other = options.compare
    assert other is not None
    if other.resolve() in (options.experiment.resolve(), options.decode.resolve()):
        raise UsageError(f"--compare {other}: that is what is scored itself; give another experiment")
    if not other.is_dir():
        raise EgretError(f"--compare {other}: no such folder; give an experiment that was scored, exp/<name>")
    try:
        scores, best = read_scores(other)
    except EgretError as error:
        raise EgretError(f"--compare {error}") from None
    return best, scores


def run(options: Options) -> Outcome:
    from egret.scoring.best import candidates, choose_best, only_floors
    from egret.scoring.inputs import read_params
    from egret.scoring.report import LEAVES, OUTSIDE, Known, han_of, score_decoding
    from egret.scoring.writing import Writing

    writing = Writing(normaliser_of(options), tuple(options.fold))
    folders = decodings(options.decode)
    refuse_half_done(options.decode)
    abouts = {folder: read_params(folder / "params.json") for folder in folders}
    dev_parts = [part for part in options.dev_part if part]
    floors = only_floors(list(abouts.values()))
    # Before the work, for what was mistyped would end it.
    methods = [] if floors else candidates(list(abouts.values()), dev_parts, options.main_method)
    if options.compare:
        refuse_incomparable(options, {about["part"] for about in abouts.values() if about["method"] in methods})
    lang, lexicon = languages(options)
    parts = read_parts(options, {folder: about["part"] for folder, about in abouts.items()}, writing, lang)
    latin = options.cer_latin
    if latin == "auto":
        latin = "word" if any(han_of(each.words) for each in parts.values()) else "letter"
    known = Known.of(lexicon, writing) if lexicon else None

    scores = []
    for folder, about in abouts.items():
        score = score_decoding(folder, parts[about["part"]], writing, latin, lang, known)
        scores.append({**score, "folder": folder})
    best = {} if floors else choose_best(scores, dev_parts, options.main_method, options.metric)
    if best and options.note:
        best["note"] = options.note
    leave_best(options, best)
    tests = against(options, scores, best)
    page = page_of(options, scores, best, parts, known, tests)
    write_text(page.path, page.make())
    show(options, scores, best, tests)
    outputs = [folder / name for folder in folders for name in (*LEAVES, *([OUTSIDE] if known else []))]
    outputs += [page.path, *([options.experiment / "best.json"] if best else []),
                *([options.decode / COMPARED] if options.compare else [])]  # fmt: skip
    missing = sum(score["missing"] for score in scores)
    return Outcome(outputs, {"decodings": len(scores), "missing": missing, "shown": page.utterances})


def page_of(
    options: Options,
    scores: list[dict[str, Any]],
    best: dict[str, Any],
    parts: dict[str, "References"],
    known: "Known | None",
    tests: list["Test"],
) -> "Page":
    """The page of scores, the best method's first."""
    from egret.report.score_page import Page, Part
    from egret.report.sound import Allowance

    manifests = {part_name(path): path for path in options.cuts}
    return Page(
        path=options.decode / PAGE,
        title=options.experiment.resolve().name,
        scores=sorted(scores, key=lambda score: score["method"] != best.get("method")),
        best=best,
        parts={name: Part(manifests[name], references) for name, references in parts.items()},
        known=known.words if known else None,
        tests=tests,
        other=options.compare.resolve().name if options.compare else "",
        shown=options.shown,
        room=Allowance(options.max_audio * 2**20),
    )


def show(options: Options, scores: list[dict[str, Any]], best: dict[str, Any], tests: list["Test"]) -> None:
    """The table, the tests and the best method on the screen."""
    from egret.scoring.paired import tests_table
    from egret.scoring.tables import remarks, score_table

    notes = ([options.note] if options.note else []) + [said for score in scores for said in remarks(score)]
    print(score_table(scores) + "".join(f"note: {said}\n" for said in notes), end="", flush=True)
    if options.compare:
        print(f"\nA: {options.compare}\nB: {options.experiment}\n{tests_table(tests)}", end="", flush=True)
    if best:
        how = "fixed beforehand" if best["chosen_on"] == "fixed" else f"chosen on {best['chosen_on']}"
        log.info("best: %s (%s)", best["method"], how)


def languages(options: Options) -> tuple["Lang | None", "Lang | None"]:
    """The lang folder of a syllable system, and the one whose words are the lexicon."""
    from egret.lang.lang import Lang

    config = options.experiment / "config.yaml"
    syllables = syllable_lang(config)
    lexicon = options.lang or model_lang(config)
    if not lexicon:
        log.info("words outside the lexicon are not counted: the model's lang folder is not at hand, nor --lang given")
    return (Lang.read(syllables) if syllables else None), (Lang.read(lexicon) if lexicon else None)


def read_parts(
    options: Options, decoded: dict[Path, str], writing: "Writing", lang: "Lang | None"
) -> dict[str, "References"]:
    """The references of every part that was decoded (by folder).

    Raises:
      EgretError: a part has no manifest, or nothing Chinese in it where --fold asks for that.
    """
    from egret.scoring.inputs import References
    from egret.scoring.report import han_of
    from egret.scoring.writing import CHINESE

    manifests = {part_name(path): path for path in options.cuts}
    if undecoded := sorted(manifests.keys() - set(decoded.values())):
        log.warning("--cuts: %s: not decoded", first_few(undecoded))
    found: dict[str, References] = {}
    for folder, part in decoded.items():
        if part not in manifests:
            raise EgretError(f"{folder}: is of the part {part!r}, --cuts has {first_few(manifests)}; add its manifest")
        if part not in found:
            found[part] = References.read(manifests[part], writing, lang, syllables=True)
            chinese = [name for name in writing.folds if name in CHINESE]
            if chinese and not han_of(found[part].words):
                raise EgretError(f"--fold {chinese[0]}: is for Chinese, and {manifests[part]} has none; leave it out")
    return found


def leave_best(options: Options, best: dict[str, Any]) -> None:
    """Write best.json, or see that none of an earlier run stays."""
    path = options.experiment / "best.json"
    if best:
        write_json(path, best)
        return
    path.unlink(missing_ok=True)
    log.warning("no best method: nothing but floors was decoded (nbest_oracle), which have seen the transcripts; "
                "decode by a method, too, for a best.json")  # fmt: skip


def refuse_incomparable(options: Options, parts: set[str]) -> None:
    """Raises EgretError unless the other system was scored on one of the parts that methods can be the best by."""
    if not parts:
        raise EgretError("--compare: there is no best method to compare by; decode by a method, too")
    best, others = other_scores(options)
    theirs = {other["part"] for other in others if other["method"] == best["method"]}
    if not parts & theirs:
        raise EgretError(f"--compare {options.compare}: its best method was scored on {first_few(sorted(theirs))}, "
                         f"this experiment on {first_few(sorted(parts))}; decode one part by both")  # fmt: skip


def against(options: Options, scores: list[dict[str, Any]], best: dict[str, Any]) -> list["Test"]:
    """The tests against the system of --compare, which is A, this one being B; left in compare.json, which goes where
    there is nothing to compare."""
    from egret.scoring.paired import paired_tests

    path = options.decode / COMPARED
    if not options.compare:
        path.unlink(missing_ok=True)
        return []
    other_best, others = other_scores(options)
    tests = list(paired_tests((others, scores), (other_best, best)))
    write_json(path, {"experiments": [str(options.compare), str(options.experiment)],
                      "tests": [test.as_plain() for test in tests]})  # fmt: skip
    return tests


STEP = Step(
    name="score",
    version=4,
    options=Options,
    run=run,
    description=__doc__ or "",
    example="steps/score.py --decode exp/tdnn_phone/decode "
    "--cuts data/cuts/dev.jsonl data/cuts/test.jsonl --dev-part dev",
    more_inputs=more_inputs,
)

if __name__ == "__main__":
    main(STEP)
