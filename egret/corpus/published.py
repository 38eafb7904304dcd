"""What recipes of published corpora do alike: get the corpus, find its folder, say what that lacks, and which words
nobody can say."""

import os
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from egret.base.errors import EgretError, first_few
from egret.base.options import runtime
from egret.corpus.download import fetch, unpack
from egret.corpus.prepare import PrepareOptions, Utterance
from egret.lang.normalise import normalise

LINK_BYTES = 200  # a file that is smaller may be a link's text


@dataclass(kw_only=True)
class PublishedOptions(PrepareOptions):
    download: Path = runtime(Path("download"), "folder to download into when there is no --corpus")

    @property
    def given(self) -> Path:
        """The folder to look for the corpus in."""
        return Path(self.corpus or self.download)


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


def fetch_archives(archives: Mapping[str, str], url: str, published: str, download: Path) -> None:
    """Download `url`/<name>.tgz for each name into a folder and unpack it there, in <name>; the corpus has the name of
    the first.

    Args:
      archives: MD5 sums by name; they are those of the files at the address `published`, and checked only there.

    Raises:
      EgretError: one cannot be downloaded, or is something else; says how to go on.
    """
    for name, md5 in archives.items():
        archive, source = download / f"{name}.tgz", f"{url}/{name}.tgz"
        with or_by_hand(source, archive, next(iter(archives))):
            fetch(source, archive, md5=md5 if url == published else None)
            unpack(archive, download / name)


def nested(folder: Path, name: str) -> list[Path]:
    """Where a corpus may lie whose folder is called `name`: at `folder`, or up to two levels below."""
    return [folder, folder / name, folder / name / name]


def found_in(given: Path, find: Callable[[Path], Path | None], lacks: str, what: str) -> Path:
    """The corpus that `find` finds in the folder given.

    Args:
      lacks: what a folder that is no corpus lacks, such as `no wav/ in it`.
      what: the folder to give, such as `data_aishell/ of OpenSLR 33`.

    Raises:
      EgretError: it finds none.
    """
    folder = find(given)
    if folder is None:
        raise EgretError(
            f"{given}: {no_corpus(given, lacks)}; give --corpus DIR, the folder {what}, or one that holds it"
        )
    return folder


def no_corpus(given: Path, lacks: str, holds: Sequence[str] = ()) -> str:
    """Why a folder is no corpus: there is none, or what it lacks and what it holds, else the first few of all names."""
    if not given.is_dir():
        return "no such folder"
    found = first_few(holds, 7) or first_few(sorted(entry.name for entry in os.scandir(given)), 3)
    return f"{lacks} ({f'it holds {found}' if found else 'empty'})"


def followed(path: Path) -> Path:
    """The file that a file is a link to where links were unpacked as texts, such as `../data/A2_0.wav.trn`; else the
    file itself."""
    if path.stat().st_size < LINK_BYTES:
        content = path.read_bytes().strip()
        if content.startswith(b"../") and b"\n" not in content:
            return path.parents[1] / os.fsdecode(content[3:])
    return path


def check_words(utterance: Utterance, known: Container[str], normaliser: str, objection: str) -> Utterance:
    """The utterance, with an objection where words of it are not known: they could be neither trained nor found.

    Args:
      objection: the sentence that says so, with `{}` in the place of the words.
    """
    lacking = [word for word in normalise(utterance.text, normaliser).split() if word not in known]
    if utterance.problem or not lacking:
        return utterance
    return replace(utterance, problem=objection.format(first_few(dict.fromkeys(lacking))), reason="unknown word")
