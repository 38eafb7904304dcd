"""Two n-gram models made one: exact where either has the n-gram, a distribution after every history."""

import itertools
import json
import math
import random
from pathlib import Path

import pytest

from egret.base.errors import EgretError
from egret.lm.arpa import complete, ngrams_by_order
from egret.lm.interpolation import best_weight, interpolate
from egret.lm.ngram import estimate_unigrams, lmplz, write_training_text
from egret.lm.perplexity import perplexity
from test_ngram import make_lang, needs_kenlm, write_cuts

WORDS = ["A", "B", "C", "D"]
KNOWN = frozenset(WORDS)

pytestmark = needs_kenlm


def sentences(seed: int, weights: list[int], count: int = 60) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, weights, k=rng.randint(1, 6))) for _ in range(count)]


OWN, OTHER = sentences(1, [8, 4, 1, 0]), sentences(2, [1, 1, 6, 8])


def model(folder: Path, name: str, text: list[str], order: int) -> Path:
    work = folder / name
    work.mkdir()
    counts = write_training_text(work / "train.txt", text)
    if order == 1:
        estimate_unigrams(counts.words, counts.sentences, work / "raw.arpa")
    else:
        lmplz(work / "train.txt", work / "raw.arpa", order, [], "auto", "1G", KNOWN, "")
    complete(work / "raw.arpa", work / "full.arpa", WORDS)
    return work / "full.arpa"


@pytest.fixture
def pair(tmp_path) -> tuple[Path, Path]:
    return model(tmp_path, "own", OWN, 3), model(tmp_path, "other", OTHER, 3)


def scorer(path: Path):
    kenlm = pytest.importorskip("kenlm")
    return kenlm.Model(str(path))


def probability(path: Path, history: tuple[str, ...], word: str) -> float:
    """Of a word after a history that begins with <s> or does not, by KenLM."""
    import kenlm

    lm, state = scorer(path), kenlm.State()
    begins = history[:1] == ("<s>",)
    (lm.BeginSentenceWrite if begins else lm.NullContextWrite)(state)
    for each in history[begins:]:
        after = kenlm.State()
        lm.BaseScore(state, each, after)
        state = after
    return 10 ** lm.BaseScore(state, word, kenlm.State())


def test_every_ngram_of_either_has_the_mean_of_what_they_give_it(pair, tmp_path):
    interpolate(pair, 0.3, tmp_path / "mixed.arpa")
    for order in ngrams_by_order(tmp_path / "mixed.arpa"):
        for name in order.keys() - {b"<s>"}:
            *history, word = name.decode().split()
            first, second = (probability(path, tuple(history), word) for path in pair)
            mixed = probability(tmp_path / "mixed.arpa", tuple(history), word)
            assert mixed == pytest.approx(0.7 * first + 0.3 * second, rel=1e-4)


def test_it_has_the_ngrams_of_both(pair, tmp_path):
    interpolate(pair, 0.3, tmp_path / "mixed.arpa")
    first, second, mixed = map(ngrams_by_order, (*pair, tmp_path / "mixed.arpa"))
    assert all(one.keys() | two.keys() == both.keys() for one, two, both in zip(first, second, mixed, strict=True))


def test_after_every_history_it_sums_to_one(pair, tmp_path):
    interpolate(pair, 0.3, tmp_path / "mixed.arpa")
    histories = [(), *itertools.product(["<s>", *WORDS]), *itertools.product(["<s>", *WORDS], WORDS)]
    for history in histories:
        total = sum(probability(tmp_path / "mixed.arpa", history, word) for word in [*WORDS, "</s>", "<unk>"])
        assert total == pytest.approx(1, abs=1e-4), history


@pytest.mark.parametrize("orders", [(1, 1), (2, 3)])
def test_models_of_any_orders(tmp_path, orders):
    paths = model(tmp_path, "own", OWN, orders[0]), model(tmp_path, "other", OTHER, orders[1])
    interpolate(paths, 0.5, tmp_path / "mixed.arpa")
    found = ngrams_by_order(tmp_path / "mixed.arpa")
    assert len(found) == max(orders)
    mean = sum(10 ** ngrams_by_order(path)[0][b"B"][0] for path in paths) / 2
    assert 10 ** found[0][b"B"][0] == pytest.approx(mean, rel=1e-5)


def test_the_weight_is_the_one_that_makes_the_text_most_probable(pair, tmp_path):
    pytest.importorskip("kenlm")
    text = sentences(3, [8, 4, 1, 0], 40) + sentences(4, [1, 1, 6, 8], 20)
    best = best_weight(pair, text, KNOWN, "<unk>")

    def log_probability(weight: float) -> float:
        total = 0.0
        for sentence in text:
            one, two = ([10**score for score, *_ in scorer(path).full_scores(sentence)] for path in pair)
            total += sum(math.log((1 - weight) * a + weight * b) for a, b in zip(one, two, strict=True))
        return total

    assert 0.1 < best < 0.9
    assert log_probability(best) == pytest.approx(max(log_probability(n / 50) for n in range(1, 50)), abs=1e-2)


def test_without_text_each_model_has_half(pair):
    pytest.importorskip("kenlm")
    assert best_weight(pair, [], KNOWN, "<unk>") == 0.5


def test_an_ngram_without_its_context_is_named(pair, tmp_path):
    lines = pair[0].read_text().split("\n")
    lost = next(line for line in lines if line.split("\t")[1:2] == ["A B"])
    count = next(line for line in lines if line.startswith("ngram 2="))
    lines[lines.index(count)] = f"ngram 2={int(count.split('=')[1]) - 1}"
    (tmp_path / "bad.arpa").write_text("\n".join(line for line in lines if line != lost))
    with pytest.raises(EgretError, match=r"3-gram .*'\S+ \S+ \S+' is there without its first or its last words"):
        interpolate((tmp_path / "bad.arpa", tmp_path / "bad.arpa"), 0.5, tmp_path / "mixed.arpa")


@pytest.fixture
def project(tmp_path, run_step):
    """A lang folder, transcripts, text of another kind, and the step that makes models of them."""
    make_lang(tmp_path, WORDS)
    write_cuts(tmp_path / "train.jsonl", OWN)
    write_cuts(tmp_path / "dev.jsonl", sentences(3, [8, 4, 1, 0], 40) + sentences(4, [1, 1, 6, 8], 20))
    (tmp_path / "other.txt").write_text("\n".join([*OTHER, "E F"]) + "\n")

    def step(*arguments: str, code: int = 0) -> str:
        return run_step("train_ngram", tmp_path, "--lang", "lang", *arguments, code=code)

    return tmp_path, step


TWO = ["--cuts", "train.jsonl", "--other-text", "other.txt"]
MIXED = [*TWO, "--weight-cuts", "dev.jsonl", "--dev-cuts", "dev.jsonl"]


def test_the_mixture_finds_dev_more_probable_than_either_model(project):
    pytest.importorskip("kenlm")
    folder, step = project
    step(*MIXED, "--out", "mixed")
    step("--cuts", "train.jsonl", "--dev-cuts", "dev.jsonl", "--out", "own")
    step("--text", "other.txt", "--dev-cuts", "dev.jsonl", "--out", "other")
    mixed, own, other = (
        json.loads((folder / name / "report.json").read_text())["perplexity"]["dev"]["perplexity"]
        for name in ("mixed", "own", "other")
    )
    assert mixed < min(own, other)


def test_unigrams_are_mixed_with_the_weight_that_dev_chooses(project):
    pytest.importorskip("kenlm")
    folder, step = project
    step(*MIXED, "--order", "1", "--out", "mixed")
    assert 0.1 < chosen(folder) < 0.9


def test_the_report_says_what_was_mixed(project):
    pytest.importorskip("kenlm")
    folder, step = project
    step(*TWO, "--other-weight", "0.25", "--out", "mixed")
    report = json.loads((folder / "mixed" / "report.json").read_text())
    assert report["other_text"]["weight"] == 0.25
    assert report["other_text"]["sentences"] == len(OTHER) + 1
    assert report["other_text"]["oov"]["most_frequent"] == {"E": 1, "F": 1}
    assert report["sentences"] == len(OWN)
    assert perplexity(folder / "mixed/3gram.bin", ["A B"], KNOWN, "<unk>")["perplexity"] > 1


def chosen(folder: Path) -> float:
    return json.loads((folder / "mixed" / "report.json").read_text())["other_text"]["weight"]


def test_the_weight_is_chosen_on_its_own_cuts_whatever_is_reported_besides(project):
    pytest.importorskip("kenlm")
    folder, step = project
    write_cuts(folder / "test.jsonl", OTHER)
    weights = []
    for parts in (["dev.jsonl"], ["test.jsonl", "dev.jsonl"]):
        step(*TWO, "--weight-cuts", "dev.jsonl", "--dev-cuts", *parts, "--out", "mixed")
        weights.append(chosen(folder))
    assert weights[0] == weights[1]


def test_several_parts_choose_the_weight_together(project):
    pytest.importorskip("kenlm")
    folder, step = project
    write_cuts(folder / "more.jsonl", OTHER)
    weights = []
    for parts in (["dev.jsonl"], ["dev.jsonl", "more.jsonl"]):
        step(*TWO, "--weight-cuts", *parts, "--out", "mixed")
        weights.append(chosen(folder))
    assert weights[1] > weights[0] + 0.05


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--other-text", "other.txt"], "neither is given; use --text"),
        ([*TWO, "--dev-cuts", "dev.jsonl"], "chosen on --weight-cuts: give these, or --other-weight"),
        ([*MIXED, "--other-weight", "0.5"], "--weight-cuts choose the weight that --other-weight gives"),
        (["--cuts", "train.jsonl", "--weight-cuts", "dev.jsonl"], "there is no --other-text for"),
        (["--cuts", "train.jsonl", "--other-weight", "0.5"], "--other-weight is that of --other-text"),
        ([*TWO, "--other-weight", "1"], "--other-weight 1"),
        (["--arpa", "other.txt", "--other-text", "other.txt"], "takes the place of"),
    ],
)
def test_wrong_calls_say_what_to_do(project, arguments, says):
    assert says in project[1](*arguments, "--out", "lm", code=2)
