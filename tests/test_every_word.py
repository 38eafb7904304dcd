"""Every word of the dictionary comes out when it is spoken, whether the LM text has it or not.

The real stages 2 and 3 on transcripts and a dictionary; what a model would give is made up.
"""

import re
import shutil
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor

from egret.base.files import read_json, write_jsonl
from egret.lang.lang import Lang
from egret.lang.lexicon import read_lexicon

pytestmark = [
    pytest.mark.k2,
    pytest.mark.skipif(shutil.which("lmplz") is None, reason="lmplz is not on PATH (local/install.sh)"),
]
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def listener(run_step, tmp_path):
    """Stages 2 and 3; returns a function from texts to the words that are heard when they are spoken."""
    pytest.importorskip("k2")

    def make(dictionary: str, transcripts: list[str], *lang_options: str, order: int = 3):
        from egret.decoding.graph import GraphDecoder
        from egret.decoding.options import HlgOptions

        (tmp_path / "dictionary").write_text(dictionary)
        write_jsonl(tmp_path / "train.jsonl", (
            {"id": str(n), "start": 0, "duration": 1, "supervisions": [{"id": str(n), "start": 0, "text": text}]}
            for n, text in enumerate(transcripts)))  # fmt: skip
        train = ("--cuts", "train.jsonl")
        run_step("prepare_lang", tmp_path, "--lexicon", "dictionary", *train, *lang_options, "--out", "lang")
        run_step("train_ngram", tmp_path, "--lang", "lang", *train, "--order", str(order), "--out", "lm")
        grammar = f"lm/G_{order}gram.safetensors"
        run_step("compile_graph", tmp_path, "--lang", "lang", "--grammar", grammar, "--out", "graph")
        lang = Lang.read(tmp_path / "lang")
        decoder = GraphDecoder(tmp_path / "graph", lang, torch.device("cpu"))

        def hear(*texts: str) -> list[list[str]]:
            found = decoder.decode(*spoken(lang, list(texts)), HlgOptions(), 1.0)
            return [[lang.word_names[word] for word in best.words] for best in found]

        return hear

    return make


def spoken(lang: Lang, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Log probabilities [N, T, V] and lengths [N]: each token for two frames and a blank, at a probability of 0.99."""
    paths = [[frame for token in lang.encode(text) for frame in (token, token, 0)] for text in texts]
    probs = torch.full((len(paths), max(map(len, paths)), len(lang.units)), 0.01 / (len(lang.units) - 1))
    for row, path in zip(probs, paths, strict=True):
        row[range(len(path)), path] = 0.99
    return probs.log(), torch.tensor([len(path) for path in paths])


def unheard(hear, dictionary: str, context: str = "{}") -> dict[str, str]:
    """The words of a dictionary that do not come out in a context, and what does.

    What is pronounced the same will do: EIGHTY may come out as A T.
    """
    (path := Path("words.txt").absolute()).write_text(dictionary)
    said: dict[str, set[tuple[str, ...]]] = {}
    for word, tokens in read_lexicon(path):
        said.setdefault(word, set()).add(tuple(tokens))
    texts = {word: context.format(word) for word in said}
    heard = dict(zip(said, hear(*texts.values()), strict=True))
    return {word: " ".join(words) for word, words in heard.items()
            if sayings(words, said).isdisjoint(sayings(texts[word].split(), said))}  # fmt: skip


def sayings(words: list[str], said: dict[str, set[tuple[str, ...]]]) -> set[tuple[str, ...]]:
    """All that a sequence of words may sound like."""
    return {sum(parts, ()) for parts in product(*(said[word] for word in words))}


DICTIONARY = """ENTER EH N T ER
JULY JH UW L AY
JUNE JH UW N
MAY M EY
NINE N AY N
NINETEEN N AY N T IY N
TEN T EH N
THIRTEEN TH ER T IY N
THIRTY TH ER T IY
THIRTY(2) TH ER D IY
"""
TEXTS = ["ENTER NINE", "ENTER NINETEEN", "JULY TEN", "MAY THIRTY", "JULY NINETEEN", "ENTER THIRTY NINE"] * 20


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("units", [["--silence", "SIL"], [], ["--kind", "char"]], ids=["silence", "phone", "char"])
def test_words_that_the_lm_text_lacks_come_out(listener, tmp_path, order, units):
    hear = listener(DICTIONARY, TEXTS, *units, order=order)
    assert read_json(tmp_path / "lm/report.json")["lexicon"]["unseen_first"] == ["JUNE", "THIRTEEN"]
    assert unheard(hear, DICTIONARY) == {}
    assert unheard(hear, DICTIONARY, "ENTER {} TEN") == {}
    assert hear("JUNE THIRTEEN", "THIRTEEN JUNE THIRTEEN") == [["JUNE", "THIRTEEN"], ["THIRTEEN", "JUNE", "THIRTEEN"]]


def transcripts_of(text: str) -> list[str]:
    """The words of a transcription of the AN4 layout: `<s> WORDS </s> (utterance)`, or without the marks."""
    lines = (re.sub(r"\(\S+\)$", "", line.strip()).split() for line in text.splitlines())
    return [" ".join(word for word in words if word not in ("<s>", "</s>")) for words in lines]


@pytest.mark.parametrize("units", [["--silence", "SIL"], ["--kind", "char"]], ids=["phone", "char"])
def test_every_word_of_the_miniature_of_an4(listener, tmp_path, monkeypatch, units):
    monkeypatch.syspath_prepend(ROOT / "local")
    from mini import an4
    from mini.corpus import Shape

    corpus = an4.plan(Shape(snr=None)).texts
    dictionary = corpus["etc/an4.dic"]
    hear = listener(dictionary, transcripts_of(corpus["etc/an4_train.transcription"]), *units)
    assert unheard(hear, dictionary) == unheard(hear, dictionary, "ENTER {} SEVEN") == {}


@pytest.mark.corpus
@pytest.mark.parametrize("units", [["--silence", "SIL"], ["--kind", "char"]], ids=["phone", "char"])
def test_every_word_of_an4(listener, tmp_path, real_corpus, units):
    folder = real_corpus("an4") / "etc"
    dictionary = (folder / "an4.dic").read_text()
    hear = listener(dictionary, transcripts_of((folder / "an4_train.transcription").read_text()), *units)
    unseen = read_json(tmp_path / "lm/report.json")["lexicon"]["unseen_first"]
    assert {"JUNE", "ELEVENTH", "THIRTEEN"} <= set(unseen)
    assert unheard(hear, dictionary) == unheard(hear, dictionary, "ENTER {} SEVEN") == {}
