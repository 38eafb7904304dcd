"""The lists of the ASRT project: `<part>.wav.lst` (or `.wav.txt`) has `id path` a line, `<part>.syllable.txt` beside it
`id syllable syllable ...`, toned pinyin as zhe4 shi4; `asrt_config.json` names lists and where their paths begin.

There are no characters: the transcript of an utterance is its syllables.
"""

from dataclasses import dataclass
from pathlib import Path

from egret.base.errors import EgretError
from egret.base.files import read_json
from egret.corpus.text_file import Encoding, named, read_text
from egret.corpus.validate import Utterance

CONFIG = "asrt_config.json"
ENDINGS = (".wav.lst", ".wav.txt")
SYLLABLES = ".syllable.txt"


@dataclass(frozen=True)
class ListPair:
    """The two lists of a part, and the folder in which the paths begin; None: to be found."""

    part: str
    recordings: Path
    syllables: Path
    base: Path | None = None


def find_lists(place: Path) -> list[ListPair]:
    """The lists named in a configuration file, or all those in a folder and the folders in it, in order.

    Raises:
      EgretError: there are none, or one without its other half.
    """
    if place.is_file():
        return _from_config(place)
    if not place.is_dir():
        raise EgretError(f"{place}: no such folder; give the folder of ASRT's lists, or its {CONFIG}")
    pairs = []
    for path in sorted(path for ending in ENDINGS for path in place.rglob(f"*{ending}")):
        part = next(path.name.removesuffix(ending) for ending in ENDINGS if path.name.endswith(ending))
        syllables = path.with_name(part + SYLLABLES)
        if not syllables.is_file():
            raise EgretError(f"{path}: {syllables.name} is not beside it, which says what is spoken")
        pairs.append(ListPair(part, path, syllables))
    if not pairs:
        if (place / CONFIG).is_file():
            return _from_config(place / CONFIG)
        raise EgretError(f"{place}: has no <part>.wav.lst with a <part>{SYLLABLES} beside it, nor an {CONFIG}")
    return pairs


def _from_config(path: Path) -> list[ListPair]:
    try:
        return [
            ListPair(
                part, path.parent / row["data_list"], path.parent / row["label_list"], path.parent / row["data_path"]
            )
            for part, rows in read_json(path)["dataset"].items()
            for row in rows
        ]
    except (KeyError, TypeError, AttributeError):
        raise EgretError(
            f'{path}: not as {CONFIG} is: {{"dataset": {{"train": [{{"data_list": ..., "data_path": ..., '
            f'"label_list": ...}}]}}}}'
        ) from None


def utterances(pair: ListPair, base: Path | None, fallback: Encoding = "utf-8") -> list[Utterance]:
    """What a pair of lists says, in order, then syllables without a recording; what does not fit has a problem.

    Args:
      pair: the lists.
      base: where paths begin; None: as the configuration says, else the folder of the lists or one above it.
      fallback: the encoding of lists that are not UTF-8.

    Raises:
      EgretError: a list is not there or empty, or the recordings are not found.
    """
    lines, again = named(pair.recordings, read_text(pair.recordings, fallback))
    spoken, said_again = named(pair.syllables, read_text(pair.syllables, fallback))
    if not lines:
        raise EgretError(f"{pair.recordings}: names no recordings")
    folder = base or pair.base or _base(pair.recordings, [value for _, value in lines.values()])
    twice = {name: f"{pair.recordings}:{number}: {name} has another path above" for number, name in again}
    twice |= {name: f"{pair.syllables}:{number}: {name} has other syllables above" for number, name in said_again}
    listed = []
    for name, (number, path) in lines.items():
        reason, problem = "listing", twice.get(name, "")
        if not path:
            problem = f"{pair.recordings}:{number}: {name} has no path"
        elif name not in spoken:
            reason, problem = "no transcript", f"no line of {pair.syllables} is about it"
        syllables = " ".join(spoken.get(name, (0, ""))[1].lower().split())
        custom = {"syllables": syllables} if syllables else {}
        listed.append(Utterance(name, folder / path, syllables, "", problem=problem, reason=reason, custom=custom))
    stray = [
        Utterance(name, pair.syllables, text, "", reason="no recording",
                  problem=f"{pair.syllables}:{number}: {name} is not in {pair.recordings.name}")
        for name, (number, text) in spoken.items() if name not in lines
    ]  # fmt: skip
    return listed + stray


def _base(path: Path, names: list[str]) -> Path:
    """The folder of the lists, or one above it, in which the first recording lies."""
    first = next((name for name in names if name), "")
    for place in [path.parent, *path.absolute().parent.parents]:
        if (place / first).is_file():
            return place
    raise EgretError(f"{path}: {first} is not there from its folder or those above; say with --audio-dir where it is")
