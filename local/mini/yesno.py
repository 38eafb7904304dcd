"""yesno (OpenSLR 1) in small: waves_yesno/ with 60 recordings of eight words, ken (1) or lo (0), 8 kHz."""

from random import Random

from mini.corpus import Clip, Corpus, Shape
from mini.espeak import Speaker

RECORDINGS, WORDS, RATE = 60, 8, 8000
SPOKEN = {"1": "כן", "0": "לא"}
SPEAKER = Speaker("he", rate=130, pitch=45)
README = """\
Synthetic speech in the layout of OpenSLR 1 (waves_yesno): one voice of espeak-ng says ken (yes, 1) and lo (no, 0);
the name of a file is what is said in it. Made by local/mini_corpus.py of Egret; for trying programs only.
"""


def plan(shape: Shape) -> Corpus:
    """The real corpus has 60 recordings of one speaker too, so nothing is left out; only seed and noise of the shape
    matter."""
    random = Random(f"yesno {shape.seed}")
    takes = sorted(random.sample(range(2**WORDS), RECORDINGS))
    clips = []
    for take in takes:
        digits = f"{take:0{WORDS}b}"
        clip = Clip(
            path=f"waves_yesno/{'_'.join(digits)}.wav",
            speaker=SPEAKER,
            pieces=[SPOKEN[digit] for digit in digits],
            rate=RATE,
            seed=random.randrange(1 << 32),
            lead=random.uniform(0.9, 1.1),
            tail=random.uniform(0.9, 1.1),
            gap=(0.15, 0.35),
            snr=shape.snr,
        )
        clips.append(clip)
    return Corpus([clips], {"waves_yesno/README": README})
