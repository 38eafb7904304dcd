"""What recipes of published corpora say alike: where to get the corpus, what a folder lacks, words nobody can say."""

import os
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from egret.base.errors import EgretError, first_few
from egret.corpus.validate import Utterance
from egret.lang.normalise import normalise


@contextmanager
def or_by_hand(url: str, archive: Path, folder: str) -> Iterator[None]:
    """Errors of a download gain what else can be done: name `folder`, of the corpus, or fetch the archive by hand.

    Raises:
      EgretError: what was raised inside, with this advice.
    """
    try:
        yield
    except EgretError as error:
        raise EgretError(
            f"{error}; or give --corpus DIR, a folder that holds {folder}/; or download {url} by hand to {archive} "
            f"and run it again"
        ) from None


def no_corpus(given: Path, lacks: str) -> str:
    """Why a folder is no corpus: there is none, or what it lacks and what it holds."""
    if not given.is_dir():
        return "no such folder"
    found = sorted(entry.name for entry in os.scandir(given))
    return f"{lacks} ({f'it holds {first_few(found, 3)}' if found else 'empty'})"


def check_words(
    utterance: Utterance, known: Container[str], normaliser: str, objection: Callable[[str], str]
) -> Utterance:
    """The utterance, with an objection where words of it are not known: they could be neither trained nor found.

    Args:
      objection: the sentence that says so, made of the words, such as `THE and A`.
    """
    lacking = [word for word in normalise(utterance.text, normaliser).split() if word not in known]
    if utterance.problem or not lacking:
        return utterance
    return replace(utterance, problem=objection(first_few(dict.fromkeys(lacking))), reason="unknown word")
