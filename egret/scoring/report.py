"""One decoding scored: score.json and the detailed tables beside its hypotheses."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from egret.base.errors import EgretError
from egret.base.files import digest, read_json, read_jsonl, write_json, write_jsonl, write_text
from egret.base.log import log
from egret.corpus.cuts import distinct_cuts, spoken_of, text_of
from egret.lang.lang import Lang
from egret.lang.normalise import identity, normalise
from egret.scoring import tables
from egret.scoring.bootstrap import intervals
from egret.scoring.errors import Counts, characters, count_errors
from egret.scoring.syllables import FIELD, NORMALISER, Heard, Spoken, heard_pinyin, heard_units, spoken, syllable_scores

NAMED = 20  # missing utterances named in score.json
LEAVES = ("score.json", "per_utt.txt", "per_speaker.txt", "confusions.txt", "errors.jsonl")


@dataclass(frozen=True)
class References:
    """The words of each utterance of a part, its speaker, and of Mandarin its syllables."""

    words: dict[str, list[str]]
    speakers: dict[str, str]
    syllables: Spoken | None = None

    @classmethod
    def read(cls, cuts: Path, normaliser: str, lang: Lang | None = None, syllables: bool = False) -> "References":
        """The references of a manifest.

        Args:
          lang: lang folder of a syllable system.
          syllables: have them with syllables, where a lang folder is given or text is Mandarin.

        Raises:
          EgretError: no such manifest, no cuts in it, or two with one id.
        """
        words: dict[str, list[str]] = {}
        speakers = {}
        said = {}
        in_syllables = syllables and (lang is not None or normaliser == NORMALISER)
        for cut in distinct_cuts(cuts):
            name = cut["id"]
            words[name] = normalise(text_of(cut), normaliser).split()
            if in_syllables:
                said[name] = spoken_of(cut, lang.spoken if lang and lang.spoken else FIELD)
            supervisions = cut.get("supervisions") or [{}]
            speakers[name] = str(supervisions[0].get("speaker") or "")
        if not words:
            raise EgretError(f"{cuts}: no cuts in it; nothing to score against")
        return cls(words, speakers, spoken(lang, words, said) if in_syllables else None)


def read_tokens(path: Path) -> dict[str, list[str]]:
    """The units of each utterance of hyp.jsonl; of those that have none written, none."""
    return {row["id"]: row["tokens"] for row in read_jsonl(path) if isinstance(row.get("tokens"), list)}


def read_hypotheses(path: Path, normaliser: str) -> dict[str, list[str]]:
    """The words of each utterance of hyp.jsonl.

    Raises:
      EgretError: a row without id or words, or two rows with one id.
    """
    found: dict[str, list[str]] = {}
    for number, row in enumerate(read_jsonl(path), 1):
        if not isinstance(row, dict) or not isinstance(row.get("words"), list) or "id" not in row:
            raise EgretError(f"{path}:{number}: not a hypothesis (needs id and words); decode again")
        if row["id"] in found:
            raise EgretError(f"{path}:{number}: a second hypothesis of {row['id']!r}; decode again")
        found[row["id"]] = normalise(" ".join(row["words"]), normaliser).split()
    return found


def read_params(path: Path) -> dict[str, Any]:
    """params.json: part, method, params, chosen_on and, where it was measured, rtf."""
    about = read_json(path)
    missing = [key for key in ("part", "method", "params", "chosen_on") if key not in about]
    if missing:
        raise EgretError(f"{path}: lacks {', '.join(missing)}; decode again")
    return about


def syllables_of(folder: Path, hyps: Mapping[str, list[str]], normaliser: str, lang: Lang | None) -> Heard | None:
    """The syllables of hypotheses: their units where the lang folder has syllables and hyp.jsonl has units, else their
    words in pinyin where these are Mandarin, else None."""
    if lang and (tokens := read_tokens(folder / "hyp.jsonl")):
        return heard_units(lang, tokens)
    return heard_pinyin(hyps) if normaliser == NORMALISER else None


def score_decoding(folder: Path, references: References, normaliser: str, lang: Lang | None = None) -> dict[str, Any]:
    """Score `folder`/hyp.jsonl, write the files of LEAVES beside it and return score.json's content.

    Args:
      lang: lang folder of a syllable system, for references that were read with it.

    Raises:
      EgretError: a hypothesis has no reference, or the files are damaged.
    """
    about = read_params(folder / "params.json")
    refs = references.words
    hyps = read_hypotheses(folder / "hyp.jsonl", normaliser)
    try:
        by_word = count_errors(refs, hyps)
    except EgretError as error:
        raise EgretError(f"{folder}/hyp.jsonl: {error}") from None
    by_character = count_errors(spelt(refs), spelt(hyps))
    if by_word.missing:
        log.warning(
            "%s: %d of %d utterances have no hypothesis and count as deletions: %s",
            folder.name,
            len(by_word.missing),
            len(refs),
            ", ".join(by_word.missing[:5]) + (", ..." if len(by_word.missing) > 5 else ""),
        )
    score = summary(about, by_word, by_character, normaliser)
    heard = syllables_of(folder, hyps, normaliser, lang) if references.syllables else None
    if references.syllables and heard:
        score["syllables"] = syllable_scores(references.syllables, heard, refs, hyps)
    write_text(folder / "per_utt.txt", tables.per_utterance(refs, hyps, by_word))
    write_text(folder / "per_speaker.txt", tables.per_speaker(references.speakers, by_word, by_character))
    write_text(folder / "confusions.txt", tables.confusions(refs, hyps))
    write_jsonl(folder / "errors.jsonl", errors_of_each(refs, by_word, by_character))
    write_json(folder / "score.json", score)
    return score


def spelt(texts: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {name: characters(words) for name, words in texts.items()}


def errors_of_each(
    refs: Mapping[str, list[str]], by_word: Counts, by_character: Counts
) -> Iterator[dict[str, str | int]]:
    """Rows of errors.jsonl, by which steps/compare.py compares two systems utterance by utterance."""
    for name, words in by_word.utterances.items():
        letters = by_character.utterances[name]
        yield {"id": name, "reference": digest(refs[name])[:8], "words": words.ref, "word_errors": words.total,
               "characters": letters.ref, "character_errors": letters.total}  # fmt: skip


def summary(about: dict[str, Any], by_word: Counts, by_character: Counts, normaliser: str) -> dict[str, Any]:
    """The content of score.json."""
    words, letters = by_word.sum, by_character.sum
    wer_interval, cer_interval = intervals(
        [
            ([e.total for e in counts.utterances.values()], [e.ref for e in counts.utterances.values()])
            for counts in (by_word, by_character)
        ]
    )
    sentences = len(by_word.utterances)
    return {
        "part": about["part"],
        "method": about["method"],
        "wer": round(words.rate, 4),
        "cer": round(letters.rate, 4),
        "ref": words.ref,
        "ins": words.ins,
        "del": words.dels,
        "sub": words.subs,
        "missing": len(by_word.missing),
        "missing_first": by_word.missing[:NAMED],
        "ci95": {
            "wer": [round(end, 4) for end in wer_interval],
            "cer": [round(end, 4) for end in cer_interval],
        },
        "characters": {"ref": letters.ref, "ins": letters.ins, "del": letters.dels, "sub": letters.subs},
        "sentences": sentences,
        "ser": round(100 * by_word.wrong_sentences / max(1, sentences), 4),
        "params": about["params"],
        "chosen_on": about["chosen_on"],
        "rtf": about.get("rtf"),
        "normaliser": identity(normaliser),
    }
