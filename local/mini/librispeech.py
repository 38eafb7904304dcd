"""LibriSpeech in small: three parts in the published folders and tables, read prose in upper case, FLAC at 16 kHz."""

from dataclasses import replace
from random import Random

from mini.corpus import Clip, Corpus, Shape
from mini.espeak import Speaker

RATE = 16000
TOP = "LibriSpeech"
PARTS = {"train-clean-100": True, "dev-clean": False, "test-clean": False}  # whether it is trained on
CHAPTERS = 2  # of each speaker
FEMALE = ["f1", "f2", "f3", "f4", "f5", "Annie", "belinda", "linda", "steph", "anika", "Alicia", "Andrea"]
MALE = ["m1", "m2", "m3", "m4", "m6", "m7", "m8", "Lee", "Mike", "Andy", "Alex", "david", "paul", "max"]

# A grammar of the old novels that are read aloud, some 170 words. Two of the names are in no dictionary.
_WORDS = """
CAPTAIN SISTER BROTHER KING QUEEN FARMER SOLDIER TEACHER CHILD DOCTOR SAILOR STRANGER MERCHANT SERVANT
MARGARET EDWARD ELDERMERE THORNWICK HENRIETTA SUSAN
LETTER HOUSE GARDEN RIVER MOUNTAIN FOREST VILLAGE WINDOW CANDLE TABLE BASKET HORSE SHIP ROAD BRIDGE CHURCH TOWER \
LANTERN BOOK SWORD CROWN FLOWER KITCHEN ISLAND
OLD YOUNG LITTLE GREAT DARK QUIET BRIGHT COLD WARM GENTLE STRANGE HAPPY POOR GOLDEN SILVER NARROW HEAVY
SAW FOUND CARRIED OPENED LOVED WATCHED FOLLOWED REMEMBERED BROUGHT PAINTED CROSSED LEFT FORGOT DESCRIBED
WALKED SLEPT LAUGHED WAITED RETURNED WHISPERED SMILED WEPT TREMBLED ARRIVED VANISHED
NEAR BEHIND BENEATH BESIDE ACROSS BEYOND BEFORE TOWARD WITHOUT
SLOWLY QUICKLY SOFTLY AGAIN ALONE TOGETHER
AND BUT WHILE BECAUSE UNTIL
"""
PEOPLE, NAMES, THINGS, KINDS, DID, WENT, WHERE, HOW, LINKS = (line.split() for line in _WORDS.strip().splitlines())
WHEN = [
    "IN THE MORNING", "AT MIDNIGHT", "LATE THAT EVENING", "ON MONDAY", "LAST WINTER", "AFTER SUPPER",
    "ONCE UPON A TIME", "SEVEN YEARS AGO", "IN EARLY SPRING", "ALL THROUGH THE NIGHT",
]  # fmt: skip
DENIED = ["DIDN'T REMEMBER", "COULDN'T BELIEVE", "WOULDN'T FORGET", "NEVER UNDERSTOOD"]
SAID = ["'TIS", "IT WAS", "THERE STOOD"]

README = """\
Synthetic speech in the layout of LibriSpeech (Panayotov et al. 2015): voices of espeak-ng, texts of our own. Made by
local/mini_corpus.py of Egret; for trying programs only.
"""
SPEAKERS = ";ID  |SEX| SUBSET           |MINUTES| NAME\n"
CHAPTERS_HEAD = ";ID    |READER|MINUTES| SUBSET           | PROJ.|BOOK ID| CH. TITLE | PROJECT TITLE\n"


def plan(shape: Shape) -> Corpus:
    """Speakers with `utterances` each in chapters; the parts share neither speaker nor sentence."""
    random = Random(f"librispeech {shape.seed}")
    corpus = Corpus()
    speakers, chapters = [SPEAKERS], [CHAPTERS_HEAD]
    taken: set[str] = set()
    index = 0
    for part, trained in PARTS.items():
        for _ in range(shape.speakers if trained else shape.test_speakers):
            number, speaker = 19 + 37 * index, make_speaker(random, index)
            # A bar within the name is in the real table too.
            name = f"|Mini|Reader {number}" if index == 1 else f"Reader {number}"
            speakers.append(f"{number:<5}| {'FM'[index % 2]} | {part:<17}| 1.00  | {name}\n")
            clips = []
            for chapter in range(min(CHAPTERS, shape.utterances)):
                chapter_number = 198 + 1000 * index + 29 * chapter
                about = f"{number:<5}| 0.50  | {part:<17}| {index:<5}| 1  | Chapter | Tales"
                chapters.append(f"{chapter_number:<7}| {about}\n")
                texts = [new_text(random, taken) for _ in range(chapter, shape.utterances, CHAPTERS)]
                clips += read_chapter(corpus, random, f"{part}/{number}/{chapter_number}", speaker, texts)
            corpus.speakers.append([replace(clip, snr=shape.snr) for clip in clips])
            index += 1
    tables = {"SPEAKERS": "".join(speakers), "CHAPTERS": "".join(chapters), "README": README}
    tables |= {"BOOKS": ";ID   | BOOK TITLE | AUTHORS\n1     | Tales | \n", "LICENSE": "See README.TXT.\n"}
    corpus.texts |= {f"{TOP}/{name}.TXT": text for name, text in tables.items()}
    return corpus


def read_chapter(corpus: Corpus, random: Random, folder: str, speaker: Speaker, texts: list[str]) -> list[Clip]:
    """The recordings of a chapter; its transcripts are added to the corpus."""
    _, reader, chapter = folder.split("/")
    names = [f"{reader}-{chapter}-{place:04d}" for place in range(len(texts))]
    lines = [f"{name} {text}\n" for name, text in zip(names, texts, strict=True)]
    corpus.texts[f"{TOP}/{folder}/{reader}-{chapter}.trans.txt"] = "".join(lines)
    return [
        Clip(f"{TOP}/{folder}/{name}.flac", speaker, spoken(text), RATE, random.randrange(1 << 32))
        for name, text in zip(names, texts, strict=True)
    ]


def make_speaker(random: Random, index: int) -> Speaker:
    """A voice; women and men take turns."""
    group = MALE if index % 2 else FEMALE
    accent = random.choice(["en-us", "en-us", "en-us", "en-gb-scotland"])
    return Speaker(f"{accent}+{group[index // 2 % len(group)]}", random.randint(145, 180), random.randint(35, 65))


def spoken(text: str) -> list[str]:
    """What espeak-ng is given: lower case, lest it spell; the parts of a long sentence apart, as people breathe."""
    words = text.lower().split()
    cut = next((place for place, word in enumerate(words) if place > 3 and word.upper() in LINKS), len(words))
    return [" ".join(part) for part in (words[:cut], words[cut:]) if part]


def new_text(random: Random, taken: set[str]) -> str:
    """A sentence that nobody has read yet."""
    while True:
        text = sentence(random)
        if text not in taken:
            taken.add(text)
            return text


def sentence(random: Random) -> str:
    kind = random.randrange(5)
    if kind == 0:
        return f"{random.choice(SAID)} {thing(random)} {random.choice(WHERE)} {thing(random)}"
    if kind == 1:
        return f"{random.choice(WHEN)} {clause(random)}"
    if kind == 2:
        return f"{clause(random)} {random.choice(LINKS)} {clause(random)}"
    if kind == 3:
        return f"{person(random)} {random.choice(DENIED)} {thing(random)} {random.choice(LINKS)} {clause(random)}"
    return f"{clause(random)} {random.choice(WHEN)}"


def clause(random: Random) -> str:
    if random.randrange(3) == 0:
        return f"{person(random)} {random.choice(WENT)} {random.choice(HOW)}"
    if random.randrange(3) == 0:
        return f"{person(random)} {random.choice(WENT)} {random.choice(WHERE)} {thing(random)}"
    return f"{person(random)} {random.choice(DID)} {thing(random)}"


def person(random: Random) -> str:
    kind = random.randrange(6)
    if kind == 0:
        return random.choice(NAMES)
    if kind == 1:
        return f"THE {random.choice(KINDS)} {random.choice(PEOPLE)}"
    return f"{random.choice(['THE', 'HIS', 'HER', 'THEIR'])} {random.choice(PEOPLE)}"


def thing(random: Random) -> str:
    kind = random.randrange(6)
    if kind == 0:
        return f"THE {random.choice(PEOPLE)}'S {random.choice(THINGS)}"
    if kind < 3:
        return f"THE {random.choice(KINDS)} {random.choice(THINGS)}"
    return f"{random.choice(['THE', 'HIS', 'HER', 'THEIR', 'THAT'])} {random.choice(THINGS)}"
