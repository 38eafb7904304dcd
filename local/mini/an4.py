"""AN4 in small: etc/ and wav/ as Carnegie Mellon publishes them, spelled words, numbers and commands, 16 kHz."""

from random import Random

from mini.corpus import Clip, Corpus, Shape
from mini.espeak import Speaker

RATE = 16000
LETTERS = {
    "A": "EY", "B": "B IY", "C": "S IY", "D": "D IY", "E": "IY", "F": "EH F", "G": "JH IY", "H": "EY CH",
    "I": "AY", "J": "JH EY", "K": "K EY", "L": "EH L", "M": "EH M", "N": "EH N", "O": "OW", "P": "P IY",
    "Q": "K Y UW", "R": "AA R", "S": "EH S", "T": "T IY", "U": "Y UW", "V": "V IY",
    "W": "D AH B AH L Y UW", "X": "EH K S", "Y": "W AY", "Z": "Z IY",
}  # fmt: skip
DIGITS = {
    "ZERO": "Z IH R OW", "OH": "OW", "ONE": "W AH N", "TWO": "T UW", "THREE": "TH R IY", "FOUR": "F AO R",
    "FIVE": "F AY V", "SIX": "S IH K S", "SEVEN": "S EH V AH N", "EIGHT": "EY T", "NINE": "N AY N",
}  # fmt: skip
TEENS = {
    "TEN": "T EH N", "ELEVEN": "IH L EH V AH N", "TWELVE": "T W EH L V", "THIRTEEN": "TH ER T IY N",
    "FOURTEEN": "F AO R T IY N", "FIFTEEN": "F IH F T IY N", "SIXTEEN": "S IH K S T IY N",
    "SEVENTEEN": "S EH V AH N T IY N", "EIGHTEEN": "EY T IY N", "NINETEEN": "N AY N T IY N",
}  # fmt: skip
TENS = {
    "TWENTY": "T W EH N T IY", "THIRTY": "TH ER T IY", "FORTY": "F AO R T IY", "FIFTY": "F IH F T IY",
    "SIXTY": "S IH K S T IY", "SEVENTY": "S EH V AH N T IY", "EIGHTY": "EY T IY", "NINETY": "N AY N T IY",
}  # fmt: skip
ORDINALS = {
    "FIRST": "F ER S T", "SECOND": "S EH K AH N D", "THIRD": "TH ER D", "FOURTH": "F AO R TH",
    "FIFTH": "F IH F TH", "SIXTH": "S IH K S TH", "SEVENTH": "S EH V AH N TH", "EIGHTH": "EY T TH",
    "NINTH": "N AY N TH", "TWELFTH": "T W EH L F TH",
}  # fmt: skip
MONTHS = {
    "JANUARY": "JH AE N Y UW EH R IY", "FEBRUARY": "F EH B Y UW EH R IY", "MARCH": "M AA R CH",
    "APRIL": "EY P R AH L", "MAY": "M EY", "JUNE": "JH UW N", "JULY": "JH UW L AY", "AUGUST": "AO G AH S T",
    "SEPTEMBER": "S EH P T EH M B ER", "OCTOBER": "AA K T OW B ER", "NOVEMBER": "N OW V EH M B ER",
    "DECEMBER": "D IH S EH M B ER",
}  # fmt: skip
COMMANDS = {
    "YES": "Y EH S", "NO": "N OW", "GO": "G OW", "STOP": "S T AA P", "START": "S T AA R T",
    "HELP": "HH EH L P", "REPEAT": "R IH P IY T",
}  # fmt: skip
VERBS = {"ENTER": "EH N T ER", "ERASE": "IH R EY S", "RUBOUT": "R AH B AW T"}
DICTIONARY = {**LETTERS, **DIGITS, **TEENS, **TENS, **ORDINALS, **MONTHS, **COMMANDS, **VERBS}
VARIANTS = {"A(2)": "AH", "ERASE(2)": "IY R EY S", "TWENTY(2)": "T W EH N IY", "ZERO(2)": "Z IY R OW"}

# Written as they sound, where espeak-ng would read a capital letter or a word otherwise than it is meant.
SPOKEN = {"A": "eh", "I": "eye", "O": "oh", "RUBOUT": "rub out"}
# What is spelled letter by letter: first names, streets and towns become trees, stones and animals.
_SPELLED = """
ALDER AMBER BADGER BEECH BERYL BIRCH BRONZE BUFFALO BUZZARD CEDAR CHALK COPPER CORMORANT CYPRESS DOLPHIN EGRET
ELM FALCON FINCH FLINT FOX GANNET GARNET GRANITE HAWK HAZEL HERON IBEX IVY JACKDAW JADE JASPER JUNIPER KESTREL
KITE LARCH LARK LYNX MAGPIE MAPLE MARBLE MARTEN MICA NEWT OAK ONYX OPAL OSPREY OTTER OWL PEWTER PINE POPLAR
PUFFIN QUAIL QUARTZ RAVEN ROBIN ROWAN SLATE SPARROW SPRUCE STORK SWIFT THRUSH TOPAZ VIXEN VOLE WALNUT WAXWING
WILLOW WREN YEW ZEBRA ZINC
"""
SPELLED = _SPELLED.split()
FEMALE = ["f1", "f2", "f3", "f4", "f5", "Annie", "belinda", "linda", "steph", "anika", "Alicia", "Andrea"]
MALE = ["m1", "m2", "m3", "m4", "m6", "m7", "m8", "Lee", "Mike", "Andy", "Alex", "david", "paul", "max"]
SILENCES = "<s>             SIL\n</s>            SIL\n<sil>           SIL\n"
README = """\
Synthetic speech in the layout of CMU AN4 (1991): voices of espeak-ng, texts of our own. Made by
local/mini_corpus.py of Egret; for trying programs only.
"""


def plan(shape: Shape) -> Corpus:
    """Speakers with `utterances` each; they share no sentence of several words."""
    random = Random(f"an4 {shape.seed}")
    corpus = Corpus(texts={"README": README, **dictionary_files()})
    taken: set[str] = set()
    number = 0
    for part, folder, first, count in (
        ("train", "an4_clstk", 0, shape.speakers),
        ("test", "an4test_clstk", shape.speakers, shape.test_speakers),
    ):
        names, transcripts = [], []
        said: set[str] = set()
        for index in range(first, first + count):
            name, speaker = make_speaker(random, index)
            clips = []
            for place in range(shape.utterances):
                # Five in thirteen are commands to a typewriter, the others answers to a census.
                census = place >= shape.utterances * 5 // 13
                text = new_text(random, census, taken)
                said.add(text)
                number += not census
                take = f"cen{place - shape.utterances * 5 // 13 + 1}" if census else f"an{number}"
                base = f"{folder}/{name}/{take}-{name}-b"
                names.append(base)
                transcripts.append(f"<s> {text} </s> ({take}-{name}-b)")
                clips.append(
                    Clip(f"wav/{base}.sph", speaker, spoken(text), RATE, random.randrange(1 << 32), snr=shape.snr)
                )
            corpus.speakers.append(clips)
        taken |= {text for text in said if " " in text}
        corpus.texts[f"etc/an4_{part}.fileids"] = "".join(f"{name}\n" for name in names)
        corpus.texts[f"etc/an4_{part}.transcription"] = "".join(f"{line}\n" for line in transcripts)
    return corpus


def make_speaker(random: Random, index: int) -> tuple[str, Speaker]:
    """A name like `fabc` or `mabd`, unlike any other index's, and a voice; women and men take turns."""
    female = index % 2 == 0
    group = FEMALE if female else MALE
    letters = "".join(chr(97 + index // 26**power % 26) for power in (2, 1, 0))
    accent = random.choice(["en-us", "en-us", "en-gb-scotland", "en-029"])
    voice = f"{accent}+{group[index // 2 % len(group)]}"
    return ("f" if female else "m") + letters, Speaker(voice, random.randint(130, 175), random.randint(35, 65))


def new_text(random: Random, census: bool, taken: set[str]) -> str:
    while True:
        text = (census_answer if census else command)(random)
        if text not in taken:
            return text


def command(random: Random) -> str:
    kind = random.randrange(4)
    if kind == 0:
        return random.choice(list(COMMANDS))
    letters = " ".join(random.choices(list(LETTERS), k=random.randint(3, 6)))
    if kind == 1:
        return f"ENTER {number_text(random)}"
    verb = random.choice(["", "ERASE ", "RUBOUT "])
    return f"{verb}{letters} {number_text(random)}"


def census_answer(random: Random) -> str:
    kind = random.randrange(6)
    if kind < 3:
        return " ".join(random.choice(SPELLED))
    if kind == 3:
        return " ".join(random.choices(list(DIGITS), k=random.choice([5, 7])))
    if kind == 4:
        return f"{random.choice(list(MONTHS))} {random.choice(list(ORDINALS))} NINETEEN {two_digits(random)}"
    return f"{number_text(random)} {' '.join(random.choice(SPELLED))}"


def number_text(random: Random) -> str:
    """A number below a hundred, two of them, or digits one by one."""
    kind = random.randrange(3)
    if kind == 0:
        return two_digits(random)
    if kind == 1:
        return f"{two_digits(random)} {two_digits(random)}"
    return " ".join(random.choices(list(DIGITS), k=random.randint(1, 4)))


def two_digits(random: Random) -> str:
    if random.randrange(3) == 0:
        return random.choice(list(TEENS))
    tens, ones = random.choice(list(TENS)), random.choice(list(DIGITS)[2:])
    return random.choice([tens, f"{tens} {ones}"])


def spoken(text: str) -> list[str]:
    """What espeak-ng is given, in breath groups: spelled letters, then numbers."""
    groups: list[list[str]] = []
    last = None
    for word in text.split():
        kind = word in LETTERS
        if kind != last or len(groups[-1]) == 5:
            groups.append([])
        last = kind
        groups[-1].append(SPOKEN.get(word, word if kind else word.lower()))
    return [" ".join(group) for group in groups]


def dictionary_files() -> dict[str, str]:
    lines = sorted([*DICTIONARY.items(), *VARIANTS.items()])
    phones = sorted({phone for _, phones in lines for phone in phones.split()} | {"SIL"})
    return {
        "etc/an4.dic": "".join(f"{word:<20} {phones}\n" for word, phones in lines),
        "etc/an4.filler": SILENCES,
        "etc/an4.phone": "".join(f"{phone}\n" for phone in phones),
    }
