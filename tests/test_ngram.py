"""Estimating n-gram models: the text that goes in, lmplz and its moods, unigrams, and the step as users call it."""

import gzip
import importlib.util
import json
import math
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from egret.base.errors import EgretError
from egret.base.files import read_json, write_jsonl
from egret.graph import arcs
from egret.lang.symbols import format_symbols, word_table
from egret.lm.ngram import SURROGATE, estimate_unigrams, lmplz, sentences_of, tool, write_training_text

ROOT = Path(__file__).parent.parent
KNOWN = frozenset({"NO", "YES"})
needs_kenlm = pytest.mark.skipif(shutil.which("lmplz") is None, reason="lmplz is not on PATH (local/install.sh)")


def yes_or_no(seed: int, count: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(["NO", "YES"], k=8)) for _ in range(count)]


def write_cuts(path: Path, texts: list[str]) -> Path:
    write_jsonl(path, ({"id": f"{path.stem}-{n}", "start": 0, "duration": 1,
                        "supervisions": [{"id": f"{n}", "start": 0, "text": text}]}
                       for n, text in enumerate(texts)))  # fmt: skip
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A lang folder of YES and NO, and cuts."""
    make_lang(tmp_path, ["NO", "YES"])
    write_cuts(tmp_path / "train.jsonl", yes_or_no(1, 30))
    write_cuts(tmp_path / "test.jsonl", yes_or_no(2, 30))
    return tmp_path


def make_lang(folder: Path, words: list[str], oov: str = "", normaliser: str = "plain") -> None:
    (folder / "lang").mkdir(exist_ok=True)
    (folder / "lang" / "words.txt").write_text(format_symbols(word_table(words)))
    about = {"oov": oov, "normaliser": {"name": normaliser, "version": 1}}
    (folder / "lang" / "unit.json").write_text(json.dumps(about))


def program(folder: Path, *arguments: str, code: int = 0) -> str:
    """Run steps/train_ngram.py as a user does, in `folder`, and return what it said."""
    command = [sys.executable, str(ROOT / "steps" / "train_ngram.py"), "--lang", "lang", *arguments]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def step(run_step, project):
    """Run the step in this process, in `project`, and return what it said."""

    def run(*arguments: str, code: int = 0) -> str:
        return run_step("train_ngram", project, "--lang", "lang", *arguments, code=code)

    return run


def unigrams(folder: Path, order: int) -> dict[str, float]:
    with gzip.open(folder / f"{order}gram.arpa.gz", "rt", encoding="utf-8") as lines:
        section = lines.read().split("\\1-grams:\n")[1].split("\n\n")[0]
    return {line.split("\t")[1]: 10 ** float(line.split("\t")[0]) for line in section.split("\n")}


# The text


def test_training_text_is_counted_and_empty_lines_are_left_out(tmp_path):
    counts = write_training_text(tmp_path / "train.txt", ["a b", "", "  ", "b"])
    assert (counts.sentences, counts.tokens, counts.empty, counts.words) == (2, 3, 2, Counter({"b": 2, "a": 1}))
    assert (tmp_path / "train.txt").read_text() == "a b\nb\n"


def test_sentence_marks_in_the_text_are_left_out_and_counted(tmp_path):
    counts = write_training_text(tmp_path / "train.txt", ["<s> a b </s>", "</s>"])
    assert (tmp_path / "train.txt").read_text() == "a b\n"
    assert (counts.reserved, counts.empty) == (3, 1)


def test_text_files_may_be_gzipped_and_are_normalised(tmp_path):
    (tmp_path / "a.txt").write_text("Grüße\u00a0 an\n")
    with gzip.open(tmp_path / "b.txt.gz", "wt", encoding="utf-8") as out:
        out.write("alle\n")
    assert list(sentences_of([tmp_path / "a.txt", tmp_path / "b.txt.gz"], "upper")) == ["GRÜSSE AN", "ALLE"]


def test_text_that_is_not_utf8_or_not_there_is_an_error_that_names_it(tmp_path):
    (tmp_path / "latin.txt").write_bytes("Grüße".encode("latin-1"))
    for name, says in (("latin.txt", "not UTF-8"), ("none.txt", "cannot be read")):
        with pytest.raises(EgretError, match=says) as error:
            list(sentences_of([tmp_path / name], "plain"))
        assert name in str(error.value)


# Unigrams


def test_unigrams_are_witten_and_bells(tmp_path):
    estimate_unigrams(Counter({"YES": 5, "NO": 3}), 2, tmp_path / "1.arpa")
    section = (tmp_path / "1.arpa").read_text().split("\\1-grams:\n")[1].split("\n\n")[0]
    found = {line.split("\t")[1]: 10 ** float(line.split("\t")[0]) for line in section.split("\n")}
    assert found.pop("<s>") < 1e-90
    assert found == pytest.approx({"YES": 5 / 13, "NO": 3 / 13, "</s>": 2 / 13, "<unk>": 3 / 13}, rel=1e-5)


# lmplz


@needs_kenlm
def test_small_texts_fall_back_to_fixed_discounts_and_large_ones_do_not(tmp_path):
    write_training_text(tmp_path / "small.txt", ["a b", "b a"])
    rng = random.Random(3)
    large = [" ".join(str(int(rng.paretovariate(0.5)) % 5000) for _ in range(8)) for _ in range(2000)]
    write_training_text(tmp_path / "large.txt", large)
    arguments = (tmp_path / "x.arpa", 2, [], "auto", "64M", frozenset(), "")
    assert lmplz(tmp_path / "small.txt", *arguments) is True
    assert lmplz(tmp_path / "large.txt", *arguments) is False


@needs_kenlm
def test_without_leave_to_fall_back_a_small_text_is_an_error(tmp_path):
    write_training_text(tmp_path / "small.txt", ["a b", "b a"])
    with pytest.raises(EgretError, match="allow --discount-fallback auto"):
        lmplz(tmp_path / "small.txt", tmp_path / "x.arpa", 2, [], "never", "64M", frozenset(), "")


@needs_kenlm
def test_words_outside_the_lexicon_reach_lmplz_as_one(tmp_path):
    write_training_text(tmp_path / "t.txt", ["a b c <unk>", "b x y a"])
    lmplz(tmp_path / "t.txt", tmp_path / "x.arpa", 2, [], "auto", "64M", frozenset({"a", "b"}), SURROGATE)
    text = (tmp_path / "x.arpa").read_text(encoding="utf-8")
    words = {line.split("\t")[1] for line in text.split("\\1-grams:\n")[1].split("\n\n")[0].split("\n")}
    assert words == {"a", "b", SURROGATE, "<s>", "</s>", "<unk>"}


def test_when_lmplz_fails_its_last_lines_are_shown(tmp_path, monkeypatch):
    fake = tmp_path / "bin" / "lmplz"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho first\necho 'Cannot allocate memory for 1 GB' >&2\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    for stands_for in ("", "UNK"):  # by file, and by a pipe that nobody reads
        write_training_text(tmp_path / "t.txt", ["a b"] * 20000)
        with pytest.raises(EgretError, match=r"(?s)failed \(code 3\).*Cannot allocate memory for 1 GB"):
            lmplz(tmp_path / "t.txt", tmp_path / "x.arpa", 2, [], "auto", "1G", frozenset(), stands_for)


# The step


@needs_kenlm
@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_step_leaves_what_other_steps_read(project, step, order):
    said = step("--cuts", "train.jsonl", "--dev-cuts", "test.jsonl", "--order", str(order), "--out", "lm")
    lm = project / "lm"
    names = {"train.txt", "report.json", f"{order}gram.bin", f"{order}gram.arpa.gz", f"G_{order}gram.safetensors"}
    assert {path.name for path in lm.iterdir()} == {*names, ".stamp.train_ngram.json", ".lock.train_ngram"}
    report = read_json(lm / "report.json")
    assert (report["sentences"], report["words"], report["oov"]["tokens"]) == (30, 240, 0)
    assert list(report["ngrams"]) == [str(n) for n in range(1, order + 1)]
    assert ("used --discount_fallback" in said) == report["discount_fallback"] == (order > 1)
    assert set(arcs.load(lm / f"G_{order}gram.safetensors").arcs[:, 2].tolist()) <= {-1, 1, 2, 3}


@needs_kenlm
def test_perplexity_is_that_of_the_model(project, step):
    pytest.importorskip("kenlm")
    step("--cuts", "train.jsonl", "--dev-cuts", "test.jsonl", "--order", "1", "--out", "lm")
    probability = unigrams(project / "lm", 1)
    words = [word for text in yes_or_no(2, 30) for word in [*text.split(), "</s>"]]
    expected = math.exp(-sum(math.log(probability[word]) for word in words) / len(words))
    dev = read_json(project / "lm" / "report.json")["perplexity"]["test"]
    assert dev["perplexity"] == dev["perplexity_without_oov"] == pytest.approx(expected, abs=2e-3)


@needs_kenlm
@pytest.mark.parametrize("order", [1, 2])
def test_words_outside_the_lexicon_are_counted_and_scored_apart(project, step, order):
    write_cuts(project / "train.jsonl", [*yes_or_no(1, 30), "YES MAYBE NO", "MAYBE PERHAPS"])
    write_cuts(project / "test.jsonl", ["YES NO", "YES NEVER"])
    said = step("--cuts", "train.jsonl", "--dev-cuts", "test.jsonl", "--order", str(order), "--out", "lm")
    report = read_json(project / "lm" / "report.json")
    assert report["oov"] == {
        "types": 2, "tokens": 3, "percent": 1.224, "most_frequent": {"MAYBE": 2, "PERHAPS": 1}
    }  # fmt: skip
    assert "MAYBE (2x), PERHAPS (1x)" in said
    assert report["perplexity"]["test"]["oov"] == 1 and report["perplexity"]["test"]["oov_percent"] == 25
    assert report["perplexity"]["test"]["perplexity_without_oov"] < report["perplexity"]["test"]["perplexity"]
    with gzip.open(project / "lm" / f"{order}gram.arpa.gz", "rt", encoding="utf-8") as lines:
        text = lines.read()
    assert "MAYBE" not in text and SURROGATE not in text
    assert ("<unk> NO" in text) == (order == 2)


@needs_kenlm
def test_words_of_the_lexicon_that_the_text_lacks_are_reported_with_their_probability(project, step):
    make_lang(project, ["MAYBE", "NO", "PERHAPS", "YES"])
    step("--cuts", "train.jsonl", "--order", "1", "--out", "lm")
    report = read_json(project / "lm" / "report.json")
    assert report["lexicon"]["unseen_first"] == ["MAYBE", "PERHAPS"]
    found = unigrams(project / "lm", 1)
    share = 3 / (240 + 30 + 3) / 3
    assert [found[word] for word in ("MAYBE", "PERHAPS", "<unk>")] == pytest.approx([share] * 3, rel=1e-5)
    assert report["unknown"]["left"] == pytest.approx(share, rel=1e-5)


@needs_kenlm
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("foreign", ["", " FOREIGN"])
def test_unigrams_sum_to_one_however_many_words_were_unseen(project, step, order, foreign):
    make_lang(project, ["NO", "YES", *(f"UNSEEN{number}" for number in range(50))])
    write_cuts(project / "train.jsonl", [text + foreign for text in yes_or_no(1, 30)])
    step("--cuts", "train.jsonl", "--order", str(order), "--out", "lm")
    found = unigrams(project / "lm", order)
    del found["<s>"]
    assert sum(found.values()) == pytest.approx(1, abs=1e-5)


@needs_kenlm
def test_an_unseen_word_is_about_as_probable_as_interpolation_with_a_uniform_distribution_makes_it(project, step):
    make_lang(project, ["NO", "YES", *(f"UNSEEN{number}" for number in range(50))])
    step("--cuts", "train.jsonl", "--order", "2", "--out", "lm")
    report = read_json(project / "lm" / "report.json")
    assert report["unknown"]["each_unseen_word"] == pytest.approx(report["unknown"]["mass"] / 51)
    assert report["unknown"]["mass"] > 0.1


@needs_kenlm
@pytest.mark.parametrize("oov", ["<UNK>", "SPN"])
def test_the_word_that_stands_for_others_has_their_probability(project, step, oov):
    make_lang(project, sorted(["NO", "YES", oov]), oov=oov)
    write_cuts(project / "train.jsonl", ["YES MAYBE", "NO PERHAPS", "NO YES"] * 5)
    step("--cuts", "train.jsonl", "--order", "2", "--out", "lm")
    found = unigrams(project / "lm", 2)
    assert found[oov] > 0.1 and read_json(project / "lm" / "report.json")["lexicon"]["unseen"] == 0
    assert set(arcs.load(project / "lm" / "G_2gram.safetensors").arcs[:, 2].tolist()) == {-1, 1, 2, 3, 4}


@needs_kenlm
def test_the_same_text_gives_the_same_bytes(project, step):
    for out in ("one", "two"):
        step("--cuts", "train.jsonl", "--order", "3", "--out", out)
    for name in ("3gram.arpa.gz", "3gram.bin", "G_3gram.safetensors", "train.txt", "report.json"):
        assert (project / "one" / name).read_bytes() == (project / "two" / name).read_bytes(), name


@needs_kenlm
def test_again_with_the_same_is_up_to_date_and_another_order_replaces_the_model(project, step):
    step("--cuts", "train.jsonl", "--order", "2", "--out", "lm")
    assert "up to date" in step("--cuts", "train.jsonl", "--order", "2", "--out", "lm", "--memory", "2G")
    assert "order 2 -> 3" in step("--cuts", "train.jsonl", "--order", "3", "--out", "lm")
    assert not (project / "lm" / "2gram.bin").exists()


@needs_kenlm
def test_what_a_killed_run_left_is_removed(project, step):
    (project / "lm/.train_ngram.abc").mkdir(parents=True)
    (project / "lm/.train_ngram.abc/raw.arpa").write_text("half an ARPA")
    step("--cuts", "train.jsonl", "--out", "lm")
    assert not list((project / "lm").glob(".train_ngram.*"))


@needs_kenlm
def test_perplexity_is_reported_by_part(project, step):
    write_cuts(project / "dev.jsonl", ["YES MAYBE"])
    step("--cuts", "train.jsonl", "--dev-cuts", "dev.jsonl", "test.jsonl", "--order", "1", "--out", "lm")
    rows = read_json(project / "lm" / "report.json")["perplexity"]
    assert {name: row["sentences"] for name, row in rows.items()} == {"train": 30, "dev": 1, "test": 30}
    step("--cuts", "train.jsonl", "--order", "1", "--out", "lm")
    assert list(read_json(project / "lm" / "report.json")["perplexity"]) == ["train"]


@pytest.mark.parametrize("cuts", [["train.jsonl"], ["test.jsonl", "test.jsonl"]])
def test_two_perplexities_of_one_name_are_refused(project, step, cuts):
    said = step("--cuts", "train.jsonl", "--dev-cuts", *cuts, "--order", "1", "--out", "lm", code=2)
    assert f"{cuts[0].removesuffix('.jsonl')} is there already" in said


def test_the_normaliser_is_that_of_the_lang_folder_unless_told(project, step):
    make_lang(project, ["NO", "YES"], normaliser="upper")
    (project / "text").write_text("yes no\n")
    step("--text", "text", "--order", "1", "--out", "lm")
    assert (project / "lm" / "train.txt").read_text() == "YES NO\n"
    assert read_json(project / "lm" / "report.json")["normaliser"]["name"] == "upper"
    step("--text", "text", "--order", "1", "--out", "lm2", "--normaliser", "lower", code=1)


@pytest.fixture
def chinese(project) -> Path:
    """A lang folder of Chinese words, and text as people write it."""
    make_lang(project, ["今天", "天", "天气", "很", "好", "今天天气"], normaliser="mandarin")
    (project / "text").write_text("今天很好。\n天气好！\n今天 天气\n，\n")
    write_cuts(project / "dev.jsonl", ["今 天 好 2"])
    return project


@pytest.mark.parametrize(
    ("how", "train"),
    [
        ("lexicon", "今天 很 好\n天气 好\n今天天气\n"),
        ("jieba", "今天 很 好\n天气 好\n今天天气\n"),
        ("none", "今 天 很 好\n天 气 好\n今 天 天 气\n"),
    ],
)
def test_text_is_cut_into_words_of_the_lexicon(chinese, step, how, train, monkeypatch):
    monkeypatch.setattr("egret.lang.segment.jieba_frequencies", lambda: {"今天": 9, "天气": 9, "今天天气": 9, "好": 9})
    step("--text", "text", "--segment", how, "--order", "1", "--out", "lm")
    assert (chinese / "lm" / "train.txt").read_text() == train
    assert read_json(chinese / "lm" / "report.json")["segment"] == how


@needs_kenlm
def test_perplexity_is_of_the_words_that_the_model_has(chinese, step):
    step("--text", "text", "--segment", "lexicon", "--dev-cuts", "dev.jsonl", "--order", "1", "--out", "lm")
    row = read_json(chinese / "lm" / "report.json")["perplexity"]["dev"]
    assert (row["words"], row["oov"]) == (3, 1)  # 今天 好 二


@needs_kenlm
def test_a_chinese_model_from_elsewhere_is_tried_on_text_cut_into_its_words(chinese, step):
    (chinese / "word.lm").write_text(
        "\\data\\\nngram 1=6\nngram 2=2\n\n\\1-grams:\n-1\t<s>\t-0.3\n-1\t</s>\n-1\t今天\t-0.3\n-1\t好\t-0.2\n"
        "-1\t很\t-0.1\n-1\t外国\t-0.1\n\n\\2-grams:\n-0.5\t<s> 今天\n-0.25\t今天 好\n\n\\end\\\n"
    )
    step("--arpa", "word.lm", "--segment", "lexicon", "--dev-cuts", "dev.jsonl", "--order", "2", "--out", "theirs")
    report = read_json(chinese / "theirs" / "report.json")
    assert report["lexicon"] == {
        "words": 6,
        "unseen": 3,
        "unseen_first": ["今天天气", "天", "天气"],
        "model_words_outside": 1,
    }
    assert report["perplexity"]["dev"]["words"] == 3


@needs_kenlm
def test_a_model_from_elsewhere_is_completed(project, step):
    step("--cuts", "train.jsonl", "--order", "2", "--out", "lm")
    shutil.copy(project / "lm" / "2gram.arpa.gz", project / "downloaded.arpa")  # gzipped, whatever its name
    make_lang(project, ["MAYBE", "NO", "YES"])
    step("--arpa", "downloaded.arpa", "--dev-cuts", "test.jsonl", "--order", "2", "--out", "theirs")
    report = read_json(project / "theirs" / "report.json")
    assert report["source"] == "downloaded.arpa" and report["lexicon"]["unseen_first"] == ["MAYBE"]
    assert not (project / "theirs" / "train.txt").exists() and list(report["perplexity"]) == ["test"]
    assert "say --order 2" in step("--arpa", "downloaded.arpa", "--out", "theirs", code=1)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "give --cuts, --text or --arpa"),
        (["--cuts", "train.jsonl", "--arpa", "train.jsonl"], 2, "either a model or text"),
        (["--cuts", "train.jsonl", "--prune", "1", "1"], 2, "begin with 0"),
        (["--cuts", "train.jsonl", "--order", "2", "--prune", "0", "0", "1"], 2, "3 thresholds for a model of order 2"),
        (["--cuts", "train.jsonl", "--oder", "2"], 2, "did you mean '--order'?"),
        (["--cuts", "none.jsonl"], 1, "none.jsonl: not there; it is made by stage 0"),
        (["--cuts", "empty.jsonl"], 1, "no words in it"),
        (["--cuts", "greek.jsonl"], 1, "none of its words is in lang/words.txt"),
        (["--arpa", "page.arpa"], 1, "a web page"),
        (["--cuts", "train.jsonl", "--normaliser", "uper"], 2, "did you mean 'upper'?"),
        (["--cuts", "train.jsonl", "--segment", "jiebe"], 2, "--segment"),
    ],
)
def test_wrong_calls_say_what_to_do(project, step, arguments, code, says):
    write_cuts(project / "empty.jsonl", ["", " "])
    write_cuts(project / "greek.jsonl", ["ναι όχι"])
    (project / "page.arpa").write_text("<html>not found</html>")
    said = step(*arguments, "--out", "lm", code=code)
    assert says in said.splitlines()[-1]
    assert not list(project.glob("lm/[!.]*")) and not list(project.glob("lm/.train_ngram.*"))


@needs_kenlm
def test_the_program_ends_with_the_codes_that_recipes_rely_on(project):
    arguments = ("--cuts", "train.jsonl", "--order", "1", "--out", "lm")
    assert "train_ngram: done in" in program(project, *arguments)
    assert "up to date" in program(project, *arguments)
    program(project, *arguments, "--order", "0", code=2)
    program(project, "--arpa", "train.jsonl", "--out", "lm", code=1)


def test_without_kenlm_the_error_says_where_it_comes_from(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(EgretError, match=r"lmplz of KenLM is not on PATH; local/install\.sh builds it"):
        tool("lmplz")


def test_segmenting_without_jieba_says_what_to_do(project, step, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == "jieba" else find(name, *more))
    said = step("--cuts", "train.jsonl", "--segment", "jieba", "--out", "lm", code=1)
    assert "jieba is not installed; run local/install.sh" in said.splitlines()[-1]
