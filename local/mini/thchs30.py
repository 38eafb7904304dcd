"""THCHS-30 (OpenSLR 18) in small: data/, train, dev, test with links into it, language models and dictionaries.

As in the corpus, a sentence is read by several speakers, dev by those of train, and test by others who read other
sentences. Unlike there, dev has sentences of its own: of so few the language model would know each by heart.
"""

from collections.abc import Iterator
from random import Random

from mini import mandarin
from mini.arpa import arpa
from mini.corpus import Clip, Corpus, Shape
from mini.mandarin import WORDS

RATE = 16000
GROUPS = "ABC"  # of training sentences; those of the test part are D
NUMBERED = 250  # sentences of a group in the corpus: B begins at 250
POOL = 6  # sentences of a group for each that one of its speakers reads: several speakers read some of them
LM_SENTENCES = 1500
CODES = [2, 4, 5, 6, 7, 8, *range(9, 1000)]  # speakers, as A2, A4, ...
NOT_IN_LM = {"广州", "京剧"}  # words that only the dictionary of resource/ has

INITIALS = ["zh", "ch", "sh", "b", "p", "m", "f", "d", "t", "n", "l", "g", "k", "h", "j", "q", "x", "r", "z", "c", "s"]
# Syllables without an initial: the vowel that stands for it, and the final.
ZERO = {
    "yi": "ii i", "yin": "ii in", "ying": "ii ing", "ya": "ii ia", "yan": "ii ian", "yang": "ii iang", "yao": "ii iao",
    "ye": "ii ie", "you": "ii iu", "yong": "ii iong", "yu": "vv v", "yuan": "vv van", "yue": "vv ve", "yun": "vv vn",
    "wu": "uu u", "wa": "uu ua", "wo": "uu uo", "wai": "uu uai", "wei": "uu ui", "wan": "uu uan", "wen": "uu un",
    "wang": "uu uang", "weng": "uu ueng",
}  # fmt: skip
README = """\
Synthetic speech in the layout of THCHS-30 (OpenSLR 18): voices of espeak-ng, texts of our own. Made by
local/mini_corpus.py of Egret; for trying programs only.
"""


def plan(shape: Shape) -> Corpus:
    """Training speakers with `utterances` each, as many dev utterances of some of them, other speakers for test."""
    random = Random(f"thchs30 {shape.seed}")
    corpus = Corpus(texts={"data_thchs30/README.TXT": README})
    taken: set[str] = set()

    def sentences(count: int) -> list[list[list[str]]]:
        made = []
        for _ in range(count):
            made.append(mandarin.new_sentence(random, taken, phrases=random.randint(1, 2)))
            taken.add("".join(map("".join, made[-1])))
        return made

    pools = {group: sentences(POOL * shape.utterances) for group in GROUPS}
    for index in range(shape.speakers):
        group = GROUPS[index % len(GROUPS)]
        start = random.randrange(len(pools[group]))
        read = [(start + place) % len(pools[group]) for place in range(shape.utterances)]
        lines = [("train", number, pools[group][number]) for number in sorted(read)]
        if index < shape.test_speakers:
            held_out = range(POOL * shape.utterances, (POOL + 1) * shape.utterances)
            lines += [("dev", number, text) for number, text in zip(held_out, sentences(shape.utterances), strict=True)]
        add_speaker(corpus, random, index, group, lines, shape)
    for index in range(shape.speakers, shape.speakers + shape.test_speakers):
        lines = [("test", number, text) for number, text in enumerate(sentences(shape.utterances))]
        add_speaker(corpus, random, index, "D", lines, shape)
    corpus.texts |= language_files(Random(f"thchs30 text {shape.seed}"))
    add_faults(corpus)
    return corpus


def add_speaker(
    corpus: Corpus, random: Random, index: int, group: str, lines: list[tuple[str, int, list[list[str]]]], shape: Shape
) -> None:
    """A speaker's recordings and transcripts (part, number within the group, phrases), and the links to them."""
    speaker = mandarin.voice(random, index)
    base = NUMBERED * (GROUPS + "D").index(group)
    clips = []
    for part, number, phrases in lines:
        name = f"{group}{CODES[index]}_{base + number}.wav"
        words = [word for phrase in phrases for word in phrase]
        path = f"data_thchs30/data/{name}"
        clips.append(Clip(path, speaker, mandarin.spoken(phrases), RATE, random.randrange(1 << 32), snr=shape.snr))
        corpus.texts[f"{path}.trn"] = transcript(words)
        corpus.links[f"data_thchs30/{part}/{name}"] = f"../data/{name}"
        # Where links were not kept the archive has their text.
        if part == "train":
            corpus.texts[f"data_thchs30/train/{name}.trn"] = f"../data/{name}.trn\n"
        else:
            corpus.links[f"data_thchs30/{part}/{name}.trn"] = f"../data/{name}.trn"
    corpus.speakers.append(clips)


def transcript(words: list[str]) -> str:
    """The three lines of a .trn file: words, syllables, phones."""
    syllables = mandarin.syllables(words)
    said = [phone for each in syllables for phone in phones(each)]
    return "".join(f"{' '.join(line)}\n" for line in (words, syllables, said))


def phones(syllable: str) -> tuple[str, str]:
    """Initial and final of a toned syllable, as the corpus spells them: yue4 -> vv ve4, shi4 -> sh ix4, a1 -> aa a1."""
    plain, tone = syllable[:-1], syllable[-1]
    if plain in ZERO:
        initial, final = ZERO[plain].split()
    elif plain[0] in "aeo":
        initial, final = 2 * plain[0], plain
    else:
        initial = next(each for each in INITIALS if plain.startswith(each))
        final = plain[len(initial) :]
        if final == "i" and initial in ("zh", "ch", "sh", "r", "z", "c", "s"):
            final = {"zh": "ix", "ch": "ix", "sh": "ix", "r": "iz"}.get(initial, "iy")
        elif final[0] == "u" and initial in ("j", "q", "x"):
            final = f"v{final[1:]}"
    return initial, f"{final}{tone}"


def language_files(random: Random) -> dict[str, str]:
    """Dictionaries and 3-grams of other sentences of the grammar, with the marks that the corpus has in them."""
    text = [[word for phrase in mandarin.sentence(random) for word in phrase] for _ in range(LM_SENTENCES)]
    text = [words for words in text if not NOT_IN_LM.intersection(words)]
    said = [[phone for each in mandarin.syllables(words) for phone in phones(each)] for words in text]
    inventory = sorted({phone for each in all_syllables() for phone in phones(each)})
    known = [word for word in WORDS if word not in NOT_IN_LM]
    return {
        "data_thchs30/lm_word/word.3gram.lm": arpa(text),
        "data_thchs30/lm_word/lexicon.txt": f"<s> sil\n</s> sil\n{dictionary(known)}",
        "data_thchs30/lm_phone/phone.3gram.lm": arpa(said),
        "data_thchs30/lm_phone/lexicon.txt": "".join(f"{name} {name}\n" for name in ["<eps>", *inventory]),
        "resource/dict/lexicon.txt": f"SIL sil\n<SPOKEN_NOISE> sil\n{dictionary(list(WORDS))}",
        "resource/dict/nonsilence_phones.txt": "".join(f"{name}\n" for name in inventory),
        "resource/dict/silence_phones.txt": "sil\n",
    }


def all_syllables() -> Iterator[str]:
    for spoken in WORDS.values():
        yield from spoken


def dictionary(words: list[str]) -> str:
    return "".join(f"{word} {' '.join(p for each in WORDS[word] for p in phones(each))}\n" for word in words)


def add_faults(corpus: Corpus) -> None:
    """A recording that no part has, and a transcript that lacks its phones."""
    names = [name for name in corpus.links if name.startswith("data_thchs30/train/")]
    lost, short = names[0], names[-1]
    del corpus.links[lost], corpus.texts[f"{lost}.trn"]
    path = short.replace("/train/", "/data/") + ".trn"
    corpus.texts[path] = "".join(corpus.texts[path].splitlines(keepends=True)[:2])
