"""ARPA files are checked, and completed so that every word of the lexicon has a unigram."""

import gzip
from pathlib import Path

import pytest

from egret.base.errors import EgretError
from egret.lm.arpa import complete, pack

MODEL = """\
\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-1.0\t<unk>\t0
0\t<s>\t-0.3
-0.6\t</s>\t0
-0.5\ta\t-0.2
-0.5\tb\t-0.1

\\2-grams:
-0.4\t<s> a
-0.3\ta b
-0.2\tb </s>

\\end\\
"""


def write(folder: Path, text: str | bytes, name: str = "model.arpa") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def completed(folder: Path, text: str | bytes, words: list[str], surrogate: str = "") -> tuple:
    done = complete(write(folder, text), folder / "full.arpa", words, surrogate)
    return done, (folder / "full.arpa").read_text()


def unigrams(text: str) -> dict[str, float]:
    lines = text.split("\\1-grams:\n")[1].split("\n\n")[0].split("\n")
    return {line.split()[1]: 10 ** float(line.split()[0]) for line in lines if line}


def test_a_model_with_all_words_stays_as_it_is(tmp_path):
    done, text = completed(tmp_path, MODEL, ["a", "b"])
    assert done.added == [] and done.ngrams == [5, 3]
    assert text.split("\\2-grams:")[1] == MODEL.split("\\2-grams:")[1]
    assert unigrams(text) == pytest.approx(unigrams(MODEL))


def test_unseen_words_share_the_mass_of_the_unknown_word_evenly(tmp_path):
    done, text = completed(tmp_path, MODEL, ["a", "c", "d", "b", "e"])
    found = unigrams(text)
    assert done.added == ["c", "d", "e"] and "ngram 1=8\n" in text
    assert [found[word] for word in ("c", "d", "e", "<unk>")] == pytest.approx([0.025] * 4)
    assert sum(found.values()) == pytest.approx(sum(unigrams(MODEL).values()))
    assert (done.mass, done.share, done.unknown) == pytest.approx((0.1, 0.025, 0.025))


def test_the_unknown_word_is_spelt_as_the_lexicon_spells_it(tmp_path):
    model = MODEL.replace("ngram 2=3", "ngram 2=5").replace("-0.3\ta b", "-0.3\ta b\n-1\ta <unk>\n-1\t<unk> <unk>")
    done, text = completed(tmp_path, model, ["a", "b", "<UNK>"])
    assert done.name == "<UNK>" and done.added == []
    assert "<unk>" not in text and "\ta <UNK>\n-1\t<UNK> <UNK>\n" in text


def test_words_that_contain_the_unknown_word_are_not_renamed(tmp_path):
    model = MODEL.replace("-0.3\ta b", "-0.3\ta b<unk>").replace("\tb\t", "\tb<unk>\t")
    _, text = completed(tmp_path, model, ["a", "<UNK>"])
    assert "\ta b<unk>\n" in text and "\tb<unk>\t" in text


def test_a_surrogate_becomes_the_unknown_word_and_its_mass_is_not_shared(tmp_path):
    done, text = completed(tmp_path, MODEL, ["a", "c"], surrogate="b")
    found = unigrams(text)
    assert found["c"] == pytest.approx(0.05) and found["<unk>"] == pytest.approx(0.05 + 10**-0.5, rel=1e-5)
    assert "\ta <unk>\n" in text and "\t<unk> </s>\n" in text and done.ngrams == [5, 3]


@pytest.mark.parametrize("line", ["", "-99\t<unk>\t0\n", "-inf\t<unk>\n"])
def test_without_an_unknown_word_the_rarest_word_says_how_much_is_shared(tmp_path, line):
    model = MODEL.replace("-1.0\t<unk>\t0\n", line)
    if not line:
        model = model.replace("ngram 1=5", "ngram 1=4")
    done, text = completed(tmp_path, model, ["a", "c"])
    assert done.source == "smallest unigram" and "inf" not in text
    assert unigrams(text)["c"] == pytest.approx(10**-0.6 / 2, rel=1e-5)


def test_gzipped_models_are_read_whatever_their_name(tmp_path):
    done, text = completed(tmp_path, gzip.compress(MODEL.encode()), ["c"])
    assert done.added == ["c"] and text.endswith("\\end\\\n")


def test_spaces_carriage_returns_and_comments_are_accepted(tmp_path):
    odd = "some tool made this\n\n" + MODEL.replace("\ta\t", " a ").replace("\n", "\r\n").rstrip()
    done, text = completed(tmp_path, odd, ["a"])
    assert done.ngrams == [5, 3] and "\r" not in text and text.endswith("\\end\\\n")


def test_sections_across_block_boundaries_are_counted(tmp_path, monkeypatch):
    for size in (7, 16, 33, 64, 1000):
        monkeypatch.setattr("egret.lm.arpa.BLOCK", size)
        model = MODEL.replace("\\end\\", "").replace("ngram 2=3", "ngram 2=3\nngram 3=200")
        model += "\\3-grams:\n" + "".join(f"-0.{n}\ta b w{n}\n" for n in range(1, 201)) + "\n\\end\\\n"
        done, text = completed(tmp_path, model, ["a", "b"])
        assert done.ngrams == [5, 3, 200]
        assert text.split("\\2-grams:")[1].split() == model.split("\\2-grams:")[1].split()


def test_packing_gives_the_same_bytes_every_time(tmp_path):
    source = write(tmp_path, MODEL)
    for name in ("one.gz", "two.gz"):
        pack(source, tmp_path / name)
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()
    assert gzip.decompress((tmp_path / "one.gz").read_bytes()).decode() == MODEL


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "empty"),
        ("\n  \n", "empty"),
        (gzip.compress(b""), "empty"),
        ("<!DOCTYPE html><html>404</html>", "a web page"),
        ("\n<HTML><body>", "a web page"),
        ("some words of text\n" * 5, r"no \data\ line"),
        ("mmap lm http://kheafield.com/code format version 5\n\0", "a KenLM binary"),
        (MODEL.replace("ngram 2=3", "ngram 2=4"), "has 3 2-grams where its header says 4"),
        (MODEL.replace("ngram 2=3", "ngram 2=2"), "has 3 2-grams where its header says 2"),
        (MODEL.replace("ngram 1=5", "ngram 1=6"), "has 5 1-grams where its header says 6"),
        (MODEL.replace("ngram 1=5", "ngram 1=x"), "its header is damaged"),
        (MODEL.replace("ngram 2=3", "ngram 2=3\nngram 3=9"), "orders 1 to 3"),
        (MODEL.replace("ngram 2=3\n", ""), "orders 1 to 1"),
        (MODEL.replace("\\end\\\n", ""), "cut short"),
        (MODEL[: MODEL.index("a b") + 4], "cut short"),
        (MODEL[:90], "is no unigram"),
        (gzip.compress(MODEL.encode())[:-30], "damaged or cut short"),
        (gzip.compress(MODEL.encode())[:40] + bytes(60), "damaged or cut short"),
        (MODEL.replace("-0.5\ta", "minus\ta"), "is no unigram"),
        (MODEL.replace("<s>", "x"), "no unigram <s>"),
    ],
)
def test_what_is_no_whole_model_is_refused_in_one_line(tmp_path, content, says):
    with pytest.raises(EgretError) as error:
        completed(tmp_path, content, ["a"])
    assert says in str(error.value) and str(tmp_path / "model.arpa") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(EgretError, match=r"nowhere\.arpa: no such language model"):
        complete(tmp_path / "nowhere.arpa", tmp_path / "full.arpa", ["a"])
