"""The same for Mandarin (mini.own, mini.mandarin): the table is GBK, as Windows in China saves it, and beside it lie
lists as ASRT has them, in syllables."""

from collections.abc import Sequence
from random import Random

from mini import mandarin
from mini.corpus import Clip, Corpus, Shape
from mini.own import README, recording, table

PARTS = ("train", "dev", "test")


def plan(shape: Shape) -> Corpus:
    """Speakers with `utterances` each; every sentence is said once. In ASRT's lists the last ones are dev and test."""
    random = Random(f"own_zh {shape.seed}")
    corpus = Corpus(texts={"README": README})
    rows: list[Sequence[str]] = []
    said: set[str] = set()
    lists = {f"asrt/{part}.{kind}": "" for part in PARTS for kind in ("wav.lst", "syllable.txt")}
    for index in range(shape.speakers + shape.test_speakers):
        name, speaker = f"s{index:02}", mandarin.voice(random, index)
        later = index - shape.speakers
        part = "train" if later < 0 else "dev" if later < shape.test_speakers // 2 else "test"
        clips = []
        for place in range(shape.utterances):
            phrases = mandarin.new_sentence(random, said)
            words = [word for phrase in phrases for word in phrase]
            said.add("".join(words))
            path, rate, channels = recording(name, place)
            path = path.replace(" ", "_")  # ASRT's lists have no names with spaces
            pieces = mandarin.spoken(phrases)
            clips.append(Clip(path, speaker, pieces, rate, random.randrange(1 << 32), snr=shape.snr, channels=channels))
            rows.append((path, "，".join("".join(phrase) for phrase in phrases) + "。", name))
            lists[f"asrt/{part}.wav.lst"] += f"{name}_{place + 1} {path}\n"
            lists[f"asrt/{part}.syllable.txt"] += f"{name}_{place + 1} {' '.join(mandarin.syllables(words))}\n"
        corpus.speakers.append(clips)
    corpus.texts |= {"table.csv": in_gbk(table([("文件", "path", "text", "speaker"), *(("", *row) for row in rows)]))}
    corpus.texts |= lists
    return corpus


def in_gbk(text: str) -> str:
    """A text that GBK's bytes come out of where UTF-8 is written (mini.corpus.make)."""
    return text.encode("gbk").decode("utf-8", "surrogateescape")
