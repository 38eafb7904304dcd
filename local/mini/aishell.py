"""AISHELL-1 in small: data_aishell/ with an archive for each speaker, resource_aishell/, Mandarin, 16 kHz.

Some sentences end in a Latin word, as people mix them in: spelled letters, which are said by their English names.
"""

from random import Random

from egret.lang.pinyin import initial_final
from mini import mandarin
from mini.corpus import Clip, Corpus, Shape

RATE = 16000
PARTS = {"train": 2, "dev": 724, "test": 764}  # the first speaker's number in the published corpus
# Latin words, and letters as espeak-ng's Mandarin voice is made to say them.
LATIN = ("KTV", "APP", "DNA", "VIP", "PPT", "TV", "AI", "IT", "PK", "KPI")
LETTERS = {
    "A": "ei1", "D": "di1", "I": "ai4", "K": "kei1", "N": "en1", "P": "pi1", "T": "ti1", "V": "wei1",
}  # fmt: skip
LATIN_SHARE = 0.15  # of the sentences
UNTRANSCRIBED = 2  # recordings of the training part; 325 of 141,925 in the published one
README = """\
Synthetic speech in the layout of AISHELL-1 (OpenSLR 33): voices of espeak-ng, texts of our own. Made by
local/mini_corpus.py of Egret; for trying programs only.
"""


def plan(shape: Shape) -> Corpus:
    """Speakers with `utterances` each; no sentence of one part is in another."""
    random = Random(f"aishell {shape.seed}")
    corpus = Corpus()
    lines: list[str] = []
    sexes: list[str] = []
    taken: set[str] = set()
    for part, first in PARTS.items():
        said: set[str] = set()
        for index in range(shape.speakers if part == "train" else shape.test_speakers):
            number = f"{first + index:04}"
            speaker = mandarin.voice(random, index)
            sexes.append(f"{number} {'M' if index % 2 else 'F'}\n")
            clips = []
            for place in range(shape.utterances):
                phrases = mandarin.new_sentence(random, taken | said, phrases=1)
                words, pieces = [word for phrase in phrases for word in phrase], mandarin.spoken(phrases)
                said.add("".join(words))
                if random.random() < LATIN_SHARE:
                    words.append(random.choice(LATIN))
                    pieces.append(" ".join(LETTERS[letter] for letter in words[-1]))
                name = f"BAC009S{number}W{121 + place:04}"
                path = f"data_aishell/wav/{part}/S{number}/{name}.wav"
                clips.append(Clip(path, speaker, pieces, RATE, random.randrange(1 << 32), snr=shape.snr))
                if part != "train" or index or place >= UNTRANSCRIBED:
                    lines.append(f"{name} {' '.join(words)}\n")
            corpus.speakers.append(clips)
            corpus.archives[f"data_aishell/wav/S{number}.tar.gz"] = f"data_aishell/wav/{part}/S{number}"
        taken |= said
    corpus.texts = {
        "README": README,
        "data_aishell/transcript/aishell_transcript_v0.8.txt": "".join(lines),
        "resource_aishell/lexicon.txt": lexicon(),
        "resource_aishell/speaker.info": "".join(sexes),
    }
    return corpus


def phones(syllable: str) -> str:
    """Initial and toned final."""
    return " ".join(initial_final(syllable))


def lexicon() -> str:
    """Words and characters in initials and toned finals."""
    entries = {("SIL", "sil"), ("<SPOKEN_NOISE>", "sil")}
    for word, syllables in mandarin.WORDS.items():
        entries.add((word, " ".join(map(phones, syllables))))
        entries |= {(character, phones(syllable)) for character, syllable in zip(word, syllables, strict=True)}
    entries |= {(word, " ".join(phones(LETTERS[letter]) for letter in word)) for word in LATIN}
    return "".join(f"{word} {spelling}\n" for word, spelling in sorted(entries))
