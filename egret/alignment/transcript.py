"""A text as the slots of an alignment: every pronunciation of its words, silence where the lexicon allows it."""

from egret.alignment.viterbi import Slot, plain
from egret.lang.lang import Lang
from egret.lang.lexicon import read_lexicon


def pronunciations(lang: Lang) -> dict[str, list[list[int]]]:
    """All pronunciations of every word, as token ids; empty where words are spelled."""
    found: dict[str, list[list[int]]] = {}
    if lang.about["kind"] != "char":
        for word, tokens in read_lexicon(lang.folder / "lexicon.txt", literal=True):
            found.setdefault(word, []).append([lang.tokens[token] for token in tokens])
    return found


def transcript_slots(text: str, lang: Lang, known: dict[str, list[list[int]]]) -> list[Slot]:
    """What may be heard of a text; `known` are the lang folder's `pronunciations`.

    Raises:
      EgretError: a word that the lexicon does not have.
    """
    tokens = lang.encode(text)
    if lang.about["kind"] == "char":
        return plain(tokens)
    silence: list[Slot] = [[[], [lang.tokens[lang.about["silence"]["token"]]]]] if lang.about["silence"] else []
    slots = list(silence)
    for word in text.split():
        slots += [known.get(word) or known[lang.about["oov"]], *silence]
    return slots
