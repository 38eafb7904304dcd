"""G gives every sentence the probability that KenLM gives it."""

import math
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from egret.base.errors import EgretError
from egret.graph import arcs
from egret.graph.arcs import ArcTable
from egret.graph.grammar import arpa_to_openfst, from_openfst, grammar
from egret.lang.symbols import format_symbols, word_table
from egret.lm.arpa import complete
from egret.lm.ngram import SURROGATE, build_binary, estimate_unigrams, lmplz, write_training_text

needs_kenlm = pytest.mark.skipif(shutil.which("lmplz") is None, reason="lmplz is not on PATH (local/install.sh)")

WORDS = [f"w{number:02d}" for number in range(30)]
UNSEEN = ["never", "nowhere"]
LEXICON = [*WORDS, *UNSEEN]


def sentences(seed: int, count: int) -> list[str]:
    """Sentences in which the next word depends on the last, and some words are not in the lexicon."""
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        words = [rng.choice(WORDS)]
        while rng.random() < 0.85:
            follower = WORDS[(WORDS.index(words[-1]) * 7 + rng.randint(0, 4)) % len(WORDS)]
            words.append(follower if rng.random() < 0.7 else rng.choice(WORDS))
        made.append(" ".join("foreign" if rng.random() < 0.02 else word for word in words))
    return made


def walk(graph: ArcTable, labels: list[int], backoff: int) -> float:
    """The score of the path that backs off only where a state has no arc of the next label."""
    table: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for (source, destination, label), score in zip(graph.arcs.tolist(), graph.scores.tolist(), strict=True):
        table.setdefault((source, label), []).append((destination, score))
    state, total = 0, 0.0
    for label in [*labels, -1]:
        while (state, label) not in table:
            [(state, score)] = table[state, backoff]
            total += score
        [(state, score)] = table[state, label]
        total += score
    return total


def model(folder: Path, order: int, lexicon: list[str], prune: list[int]) -> tuple[Path, Path]:
    """A completed ARPA model of some sentences, and words.txt."""
    counts = write_training_text(folder / "train.txt", sentences(1, 400))
    raw = folder / "raw.arpa"
    if order == 1:
        estimate_unigrams(counts.words, counts.sentences, raw)
    else:
        lmplz(folder / "train.txt", raw, order, prune, "auto", "64M", frozenset(WORDS), SURROGATE)
    complete(raw, folder / "full.arpa", lexicon, SURROGATE)
    (folder / "words.txt").write_text(format_symbols(word_table(lexicon)))
    return folder / "full.arpa", folder / "words.txt"


@needs_kenlm
@pytest.mark.parametrize(
    ("order", "prune", "lexicon"),
    [
        (1, [], LEXICON),
        (2, [], LEXICON),
        (3, [], LEXICON),
        (4, [0, 0, 1], LEXICON),
        (3, [], [*LEXICON, "<UNK>"]),
        (3, [], [*LEXICON, "<unk>"]),
    ],
)
def test_the_true_back_off_path_has_the_probability_that_kenlm_says(tmp_path, order, prune, lexicon):
    kenlm = pytest.importorskip("kenlm")
    arpa, words = model(tmp_path, order, lexicon, prune)
    build_binary(arpa, tmp_path / "lm.bin", order)
    scorer = kenlm.Model(str(tmp_path / "lm.bin"))
    graph, ids = grammar(arpa, words, order), word_table(lexicon)
    rng = random.Random(7)
    texts = (
        [text.split() for text in sentences(2, 100)] + [rng.choices(lexicon, k=12) for _ in range(50)] + [[], UNSEEN]
    )
    for text in texts:
        known = [word for word in text if word in ids]
        path = walk(graph, [ids[word] for word in known], ids["#0"])
        assert path == pytest.approx(scorer.score(" ".join(known)) * math.log(10), abs=1e-3)


@needs_kenlm
def test_every_word_of_the_lexicon_has_a_path(tmp_path):
    arpa, words = model(tmp_path, 3, LEXICON, [])
    labels = set(grammar(arpa, words, 3).arcs[:, 2].tolist())
    assert labels == {-1, *word_table(LEXICON).values()} - {0, word_table(LEXICON)["<s>"], word_table(LEXICON)["</s>"]}


@needs_kenlm
def test_unigram_probabilities_of_a_completed_model_sum_to_one(tmp_path):
    for order in (1, 2, 3):
        arpa, _ = model(tmp_path, order, LEXICON, [])
        section = arpa.read_text().split("\\1-grams:\n")[1].split("\n\n")[0].split("\n")
        rows = [line.split("\t") for line in section]
        assert sum(10 ** float(row[0]) for row in rows if row[1] != "<s>") == pytest.approx(1, abs=1e-5)


@needs_kenlm
def test_back_off_arcs_have_the_label_of_hash_zero_and_no_output(tmp_path):
    arpa, words = model(tmp_path, 2, LEXICON, [])
    graph = grammar(arpa, words, 2)
    backs_off = graph.arcs[:, 2] == word_table(LEXICON)["#0"]
    assert graph.aux is not None and backs_off.any()
    assert (graph.aux[backs_off] == 0).all()
    assert (graph.aux[~backs_off] == graph.arcs[~backs_off, 2]).all()


@needs_kenlm
def test_g_is_kept_whole(tmp_path):
    arpa, words = model(tmp_path, 3, LEXICON, [])
    graph = grammar(arpa, words, 3)
    arcs.save(tmp_path / "G.safetensors", graph, {"order": 3})
    again = arcs.load(tmp_path / "G.safetensors")
    assert np.array_equal(graph.arcs, again.arcs) and np.array_equal(graph.scores, again.scores)
    assert arcs.about(tmp_path / "G.safetensors") == {"order": 3}


def test_states_are_numbered_from_the_start_state_and_finals_lead_to_the_last():
    graph = from_openfst(["5\t2\t1\t1\t0.5", "5\t7\t9\t0", "2\t1.5", "", "7\t5\t3\t3", "7"])
    assert graph.arcs.tolist() == [[0, 1, 1], [0, 2, 9], [1, 3, -1], [2, 3, -1], [2, 0, 3]]
    assert graph.scores.tolist() == [-0.5, 0, -1.5, 0, 0]
    assert graph.aux is not None and graph.aux.tolist() == [1, 0, -1, -1, 3]


def test_a_grammar_without_any_sentence_is_refused():
    with pytest.raises(EgretError, match="no final state"):
        from_openfst(["0 1 1 1 0.5"])


def test_what_kaldilm_cannot_read_is_an_error_of_one_line(tmp_path, capfd):
    (tmp_path / "words.txt").write_text(format_symbols(word_table(["a"])))
    (tmp_path / "bad.arpa").write_text("\\data\\\nngram 1=1\n\n\\1-grams:\nnothing\n\\end\\\n")
    with pytest.raises(EgretError, match=r"bad\.arpa: kaldilm cannot make G") as error:
        grammar(tmp_path / "bad.arpa", tmp_path / "words.txt", 1)
    assert "\n" not in str(error.value) and not capfd.readouterr().err


@needs_kenlm
@pytest.mark.k2
@pytest.mark.parametrize("order", [1, 3])
def test_k2_reads_the_same_automaton_from_the_text(tmp_path, order):
    k2 = pytest.importorskip("k2")
    arpa_to_openfst(*model(tmp_path, order, LEXICON, []), order, tmp_path / "G.fst.txt")
    text = (tmp_path / "G.fst.txt").read_text()
    theirs = arcs.from_k2(k2.arc_sort(k2.Fsa.from_openfst(text, acceptor=False)))
    ours = arcs.from_k2(k2.arc_sort(arcs.to_k2(from_openfst(text.splitlines()))))
    assert (ours.num_states, ours.num_arcs) == (theirs.num_states, theirs.num_arcs)
    assert canonical(ours) == canonical(theirs)


def canonical(graph: ArcTable) -> list[tuple]:
    """The arcs of a deterministic automaton, its states numbered as met from the start by increasing labels."""
    leaving: dict[int, list[tuple]] = {}
    for place, (source, destination, label) in enumerate(graph.arcs.tolist()):
        output = graph.aux[place] if graph.aux is not None else label
        leaving.setdefault(source, []).append((label, int(output), round(float(graph.scores[place]), 5), destination))
    number, queue, found = {0: 0}, [0], []
    for state in queue:
        for label, output, score, destination in sorted(leaving.get(state, [])):
            if destination not in number:
                number[destination] = len(number)
                queue.append(destination)
            found.append((number[state], number[destination], label, output, score))
    return found
