"""One decoding scored: score.json and the detailed tables beside its hypotheses."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from egret.base.errors import EgretError, first_few
from egret.base.files import atomic_open, digest, write_json, write_jsonl, write_text
from egret.base.log import log
from egret.lang.lang import Lang
from egret.lang.pinyin import is_han
from egret.scoring import tables
from egret.scoring.bootstrap import intervals, resamples_of
from egret.scoring.confidence import confidence_scores
from egret.scoring.details import Tally, by_duration, by_speaker, group
from egret.scoring.errors import Counts, Errors, characters, count_errors, mixed
from egret.scoring.inputs import Hypotheses, References, read_params
from egret.scoring.syllables import NORMALISER, Heard, heard_pinyin, heard_units, syllable_scores
from egret.scoring.trn import trn
from egret.scoring.writing import Writing

NAMED = 20  # utterances without hypothesis, or without reference, named in score.json
LEAVES = ("score.json", "details.json", "errors.jsonl", "per_utt.txt", "per_speaker.txt", "per_duration.txt",
          "confusions.txt", "ref.trn", "hyp.trn")  # fmt: skip
OUTSIDE = "out_of_lexicon.txt"  # only where there is a lexicon
Latin = Literal["word", "letter"]  # what a Latin word counts as in CER: one unit, or its letters
UNITS: dict[Latin, Callable[[Iterable[str]], list[str]]] = {"word": mixed, "letter": characters}


@dataclass(frozen=True)
class Known:
    """The words of a lexicon, and where it is from."""

    name: str
    words: frozenset[str]

    @classmethod
    def of(cls, lang: Lang, writing: Writing) -> "Known":
        """Those of a lang folder as texts have them; a writing that cuts words apart leaves their pieces."""
        return cls(str(lang.folder), frozenset(piece for word in lang.words for piece in writing.words(word)))


def han_of(texts: Mapping[str, Sequence[str]]) -> int:
    """How many Chinese characters are in texts."""
    return sum(is_han(letter) for words in texts.values() for word in words if not word.isascii() for letter in word)


def syllables_of(hyps: Hypotheses, writing: Writing, lang: Lang | None) -> Heard | None:
    """The syllables of hypotheses: their units where the lang folder has syllables and hyp.jsonl has units, else their
    words in pinyin where these are Mandarin, else None."""
    if lang and hyps.tokens:
        return heard_units(lang, hyps.tokens)
    return heard_pinyin(hyps.words) if writing.normaliser == NORMALISER else None


def score_decoding(
    folder: Path,
    references: References,
    writing: Writing,
    latin: Latin,
    lang: Lang | None = None,
    known: Known | None = None,
) -> dict[str, Any]:
    """Score `folder`/hyp.jsonl, write the files of LEAVES beside it and return score.json's content.

    Args:
      latin: what CER takes Latin words for.
      lang: lang folder of a syllable system, for references that were read with it.
      known: the lexicon, by which words outside are counted apart; None: there is none.

    Raises:
      EgretError: no hypothesis has a reference, or the files are damaged.
    """
    about = read_params(folder / "params.json")
    refs = references.words
    hyps = Hypotheses.read(folder / "hyp.jsonl", writing, tokens=lang is not None)
    try:
        by_word = count_errors(refs, hyps.words)
    except EgretError as error:
        raise EgretError(f"{folder}/hyp.jsonl: {error}") from None
    by_character = count_errors(refs, hyps.words, UNITS[latin])
    by_unit = by_character if latin == "word" else count_errors(refs, hyps.words, mixed)
    _warn(folder.name, by_word, len(hyps.words), hyps.unplaced)
    tally = Tally.of(refs, hyps.words, known.words if known else None, hyps.confidence)

    score = summary(about, by_word, by_character, by_unit)
    score |= {"latin": latin, "han": han_of(refs), **writing.as_plain()}
    if known is not None:
        score["out_of_lexicon"] = {"lexicon": known.name, **tally.out_of_lexicon(by_word)}
    if tally.confidence:
        without = len(hyps.words) - len(by_word.strangers) - len(hyps.confidence.keys() & refs.keys())
        score["confidence"] = {**confidence_scores(tally.confidence, tally.right), "utterances_without": without}
    heard = syllables_of(hyps, writing, lang) if references.syllables else None
    if references.syllables and heard:
        score["syllables"] = syllable_scores(references.syllables, heard, refs, hyps.words)

    _write_details(folder, references, by_word, by_character, tally)
    with atomic_open(folder / "per_utt.txt") as out:
        out.writelines(tables.per_utterance(refs, hyps.words, by_word))
    write_text(folder / "confusions.txt", tables.confusions(tally))
    for name, texts in (("ref.trn", refs), ("hyp.trn", hyps.words)):
        with atomic_open(folder / name) as out:
            out.writelines(trn(texts, references.speakers, refs))
    if known is None:
        (folder / OUTSIDE).unlink(missing_ok=True)
    else:
        write_text(folder / OUTSIDE, tables.out_of_lexicon(tally))
    write_jsonl(folder / "errors.jsonl", errors_of_each(references, hyps.totals, by_word, by_character, by_unit))
    write_json(folder / "score.json", score)
    return score


def _warn(name: str, counts: Counts, hypotheses: int, unplaced: Sequence[str]) -> None:
    """Say what of references and hypotheses has no counterpart."""
    if counts.missing:
        log.warning("%s: %d of %d utterances have no hypothesis and count as deletions: %s",
                    name, len(counts.missing), len(counts.utterances), first_few(counts.missing))  # fmt: skip
    if counts.strangers:
        log.warning("%s: %d of %d hypotheses have no reference and are not counted: %s",
                    name, len(counts.strangers), hypotheses, first_few(counts.strangers))  # fmt: skip
    if unplaced:
        log.warning("%s: confidence and times of %d of %d hypotheses are left out, for they are of words that are cut "
                    "otherwise here: %s", name, len(unplaced), hypotheses, first_few(unplaced))  # fmt: skip


def _write_details(folder: Path, references: References, words: Counts, characters: Counts, tally: Tally) -> None:
    """details.json, and of it the tables of speakers and durations."""
    everyone = group("all", words.utterances, words, characters)
    speakers = by_speaker(references.speakers, words, characters)
    durations = by_duration(references.seconds, words, characters)
    write_text(folder / "per_speaker.txt", tables.groups_table("speaker", speakers, everyone))
    write_text(folder / "per_duration.txt", tables.groups_table("seconds", durations, everyone))
    write_json(folder / "details.json", {
        "speakers": [{"speaker": each.name, **each.as_plain()} for each in speakers],
        "durations": [{"seconds": each.name, **each.as_plain()} for each in durations],
        "confusions": tally.confusions(),
    })  # fmt: skip


def errors_of_each(
    references: References, totals: Mapping[str, float], by_word: Counts, by_character: Counts, by_unit: Counts
) -> Iterator[dict[str, Any]]:
    """Rows of errors.jsonl, by which two systems are compared utterance by utterance."""
    for name, words in by_word.utterances.items():
        letters, units = by_character.utterances[name], by_unit.utterances[name]
        yield {"id": name, "reference": digest(references.words[name])[:8], "speaker": references.speakers[name],
               "seconds": references.seconds[name], "words": words.ref, "word_errors": words.total, "ins": words.ins,
               "del": words.dels, "sub": words.subs, "characters": letters.ref, "character_errors": letters.total,
               "units": units.ref, "unit_errors": units.total, "score": totals.get(name)}  # fmt: skip


def summary(about: dict[str, Any], by_word: Counts, by_character: Counts, by_unit: Counts) -> dict[str, Any]:
    """What score.json has of every decoding; rates in percent."""
    words, sentences = by_word.sum, len(by_word.utterances)
    rates = {"wer": by_word, "cer": by_character, "mer": by_unit}
    columns = [([e.total for e in counts.utterances.values()], [e.ref for e in counts.utterances.values()])
               for counts in rates.values()]  # fmt: skip
    wrong = [int(e.total > 0) for e in by_word.utterances.values()]
    ends = intervals([*columns, (wrong, [1] * sentences)])
    return {
        "part": about["part"],
        "method": about["method"],
        **{name: round(counts.rate, 4) for name, counts in rates.items()},
        **_kinds(words),
        "missing": len(by_word.missing),
        "missing_first": by_word.missing[:NAMED],
        "unreferenced": len(by_word.strangers),
        "unreferenced_first": by_word.strangers[:NAMED],
        "empty_references": sum(1 for errors in by_word.utterances.values() if not errors.ref),
        "ci95": {name: [round(end, 4) for end in pair] for name, pair in zip([*rates, "ser"], ends, strict=True)},
        "resamples": resamples_of(sentences),
        "characters": _kinds(by_character.sum),
        "mixed": _kinds(by_unit.sum),
        "sentences": sentences,
        "ser": round(100 * by_word.wrong_sentences / max(1, sentences), 4),
        "params": about["params"],
        "files": about.get("files", {}),
        "chosen_on": about["chosen_on"],
        "rtf": about.get("rtf"),
    }


def _kinds(errors: Errors) -> dict[str, int]:
    return {"ref": errors.ref, "ins": errors.ins, "del": errors.dels, "sub": errors.subs}
