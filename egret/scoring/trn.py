"""Transcripts as sclite of NIST's SCTK reads them (`.trn`): the words, then (speaker-utterance)."""

import re
from collections.abc import Iterator, Mapping, Sequence

NOT_IN_ID = re.compile(r"[\s()]")


def trn(texts: Mapping[str, Sequence[str]], speakers: Mapping[str, str], names: Mapping[str, object]) -> Iterator[str]:
    """Lines of a file, one for each of `names`, of which those without a text are empty.

    The id is the speaker's and the utterance's joined by `-`; of an utterance without speaker its own. White space and
    parentheses in it become `_`, for they would end it.
    """
    for name in names:
        speaker = speakers.get(name) or ""
        full = NOT_IN_ID.sub("_", f"{speaker}-{name}" if speaker else name)
        yield " ".join([*texts.get(name, ()), f"({full})"]) + "\n"
