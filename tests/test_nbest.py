"""Lattices: their best word sequences, and the scores of another n-gram on them, against trying everything."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from egret.base.errors import EgretError
from egret.decoding.grammar_walk import Change, Grammar
from egret.decoding.lattice import PARTIAL, PRUNED, Lattice, best_paths, make_lattice
from egret.decoding.options import HlgOptions
from egret.graph import arcs
from egret.graph.grammar import grammar
from egret.graph.ragged import Ragged
from egret.lang.lang import Lang
from egret.lang.symbols import BACKOFF
from exhaustive import Ngram, alignments, random_ngram, sayings, word_sequences
from folders import make_lang, random_log_probs
from test_hlg import HOMOPHONES, PAUSES, PREFIXES, PROBABILITY, REPEATS, VARIANTS, WIDE, Case, compile_case

EVERYTHING = 100_000
WORDS = ["a", "b", "c"]

# In graphs


def all_sequences(case: Case, frames: list[list[float]], scale: float, word_score: float) -> list[tuple[float, list]]:
    """Every word sequence with the score of the best way to say it, the best first."""
    units = case.lang.tokens
    spoken = [units[name] for name in case.lang.units[3:]]
    acoustic = {tokens: max(scores) for tokens, scores in alignments(frames, spoken).items()}
    found = []
    for words in word_sequences(case.lexicon, len(frames)):
        language = case.ngram.score(words)
        scores = [heard + scale * (language + pauses) + word_score * len(words)
                  for tokens, pauses in sayings(case.lexicon, words, case.silence, PROBABILITY)
                  if (heard := acoustic.get(tuple(units[token] for token in tokens))) is not None]  # fmt: skip
        if scores:
            found.append((max(scores), words))
    return sorted(found, key=lambda each: -each[0])


def lattice_of(
    case: Case, lengths: list[int], options: HlgOptions = WIDE, seed: int = 2
) -> tuple[Lattice, torch.Tensor]:
    """The lattices of random log probabilities, and these."""
    from egret.decoding.graph import GraphDecoder

    decoder = GraphDecoder(case.folder, case.lang, torch.device("cpu"))
    log_probs, counts = random_log_probs(seed, lengths, case.lang, spread=3.0)
    return decoder.lattices(log_probs, counts, options, 0.7, 0.5), log_probs


def found_in(case: Case, scale: float, word_score: float) -> Iterator[tuple[list, list]]:
    """Of each utterance the whole list and what it should be, as (score, words)."""
    lattice, log_probs = lattice_of(case, [4, 3])
    lists = best_paths(lattice, scale, word_score, EVERYTHING)
    for paths, frames, length in zip(lists, log_probs, [4, 3], strict=True):
        found = [(path.total(scale, word_score), [case.lang.word_names[word] for word in path.words]) for path in paths]
        yield found, all_sequences(case, frames[:length].tolist(), scale, word_score)


@pytest.mark.k2
@pytest.mark.parametrize("silence", [None, "SIL"])
@pytest.mark.parametrize("lexicon", [PREFIXES, REPEATS], ids=["prefix", "rep"])
@pytest.mark.parametrize(("scale", "word_score"), [(1.0, 0.0), (0.3, 1.5)])
def test_the_list_is_all_word_sequences_in_order(k2, tmp_path, lexicon, silence, scale, word_score):
    case = compile_case(tmp_path, lexicon, silence, 2, seed=1)
    for found, wanted in found_in(case, scale, word_score):
        assert [words for _, words in found] == [words for _, words in wanted]
        assert [score for score, _ in found] == pytest.approx([score for score, _ in wanted], abs=1e-4)


@pytest.mark.k2
@pytest.mark.parametrize("order", [1, 2])  # after words that sound alike, a unigram has the same history
@pytest.mark.parametrize("silence", [None, "SIL"])
@pytest.mark.parametrize("lexicon", [HOMOPHONES, VARIANTS, PAUSES], ids=["homo", "variant", "pause"])
def test_words_that_sound_alike_are_all_in_the_list(k2, tmp_path, lexicon, silence, order):
    case = compile_case(tmp_path, [each for each in lexicon if silence or "SIL" not in each[1]], silence, order, seed=1)
    for found, all_of_them in found_in(case, 1.0, 0.0):
        wanted = {tuple(words): score for score, words in all_of_them}
        assert sorted(tuple(words) for _, words in found) == sorted(wanted)
        assert all(score == pytest.approx(wanted[tuple(words)], abs=1e-4) for score, words in found)


@pytest.mark.k2
def test_the_score_is_divided_into_that_of_the_model_and_that_of_the_graph(k2, tmp_path):
    case = compile_case(tmp_path, HOMOPHONES, None, 2, seed=1)
    lattice, log_probs = lattice_of(case, [5])
    units = case.lang.tokens
    heard = alignments(log_probs[0].tolist(), [units["x"], units["y"]])
    for path in best_paths(lattice, 1.0, 0.0, 20)[0]:
        assert path.graph == pytest.approx(
            case.ngram.score([case.lang.word_names[word] for word in path.words]), abs=1e-4
        )
        assert path.acoustic == pytest.approx(max(heard[tuple(path.tokens)]), abs=1e-4)


@pytest.mark.k2
def test_utterances_without_frames_or_without_a_path_have_no_list_and_disturb_none(k2, tmp_path):
    case = compile_case(tmp_path, [("a", ["x", "y", "x"])], None, 1, seed=1)
    short = arcs.from_rows([(0, 1, 0, 0, 0.0), (1, 2, 3, 1, 0.0), (2, 3, -1, -1, 0.0)], final=3)  # two frames
    arcs.save(case.folder / "HLG.safetensors", short, arcs.identity(case.lang))
    lattice, _ = lattice_of(case, [0, 3, 2])
    assert [[path.words for path in paths] for paths in best_paths(lattice, 1.0, 0.0, 5)] == [[], [], [[1]]]


@pytest.mark.k2
def test_a_batch_without_any_path_has_no_lists(k2, tmp_path):
    case = compile_case(tmp_path, PREFIXES, None, 1, seed=1)
    lattice, _ = lattice_of(case, [0, 0])
    assert best_paths(lattice, 1.0, 0.0, 5) == [[], []]


@pytest.mark.k2
@pytest.mark.parametrize("sure", [1.0, 0.5])
def test_the_first_is_what_the_search_for_the_best_path_finds(k2, tmp_path, sure):
    from egret.decoding.graph import GraphDecoder

    case = compile_case(tmp_path, PREFIXES, "SIL", 2, seed=5)
    options = HlgOptions(sure_blank=sure)
    log_probs, lengths = random_log_probs(3, [30, 12, 25], case.lang, spread=4.0)
    decoder = GraphDecoder(case.folder, case.lang, torch.device("cpu"))
    wanted = decoder.decode(log_probs, lengths, options, 0.7, 0.5)
    found = [paths[0] for paths in best_paths(decoder.lattices(log_probs, lengths, options, 0.7, 0.5), 0.7, 0.5, 10)]
    assert [(path.words, path.tokens) for path in found] == [(best.words, best.tokens) for best in wanted]
    assert [path.total(0.7, 0.5) for path in found] == pytest.approx([best.score for best in wanted], abs=1e-3)


@pytest.fixture
def twice(k2, tmp_path) -> tuple[Case, torch.Tensor]:
    """A graph of k2's modified topology, in which a token follows itself without a blank, and frames x x y."""
    case = compile_case(tmp_path, [("aa", ["x", "x"]), ("b", ["y"])], None, 1, seed=1, topology="modified")
    log_probs = torch.full((1, 3, len(case.lang.units)), -20.0)
    for frame, token in enumerate("xxy"):
        log_probs[0, frame, case.lang.tokens[token]] = -0.1
    return case, log_probs


@pytest.mark.k2
def test_a_repeated_token_stays_with_the_modified_topology(twice):
    from egret.decoding.graph import GraphDecoder

    case, log_probs = twice
    [best] = GraphDecoder(case.folder, case.lang, torch.device("cpu")).decode(log_probs, torch.tensor([3]), WIDE, 1.0)
    assert [case.lang.units[token] for token in best.tokens] == ["x", "x", "y"]


@pytest.mark.k2
def test_a_repeated_token_stays_in_lattices_with_the_modified_topology(twice):
    from egret.decoding.graph import GraphDecoder

    case, log_probs = twice
    decoder = GraphDecoder(case.folder, case.lang, torch.device("cpu"))
    [[best, *_]] = best_paths(decoder.lattices(log_probs, torch.tensor([3]), WIDE, 1.0, 0.0), 1.0, 0.0, 2)
    assert [case.lang.units[token] for token in best.tokens] == ["x", "x", "y"]


@pytest.mark.k2
def test_a_repeated_token_stays_with_kaldi_decoder(twice):
    pytest.importorskip("kaldi_decoder")
    pytest.importorskip("kaldifst")
    from egret.decoding.kaldi import KaldiDecoder

    case, log_probs = twice
    [best] = KaldiDecoder(case.folder, case.lang).decode(log_probs, torch.tensor([3]), WIDE, 1.0)
    assert [case.lang.units[token] for token in best.tokens] == ["x", "x", "y"]


@pytest.mark.k2
@pytest.mark.parametrize("topology", ["standard", "modified"])
@pytest.mark.parametrize("lexicon", [REPEATS, VARIANTS, PREFIXES], ids=["rep", "variant", "prefix"])
def test_the_tokens_of_every_path_say_its_words(k2, tmp_path, lexicon, topology):
    case = compile_case(
        tmp_path, lexicon, None, 1, seed=1, topology=topology
    )  # a unigram leads words back to one state
    lattice, _ = lattice_of(case, [5])
    for path in best_paths(lattice, 1.0, 0.0, EVERYTHING)[0]:
        ways = sayings(lexicon, [case.lang.word_names[word] for word in path.words], None, PROBABILITY)
        assert [case.lang.units[token] for token in path.tokens] in [list(tokens) for tokens, _ in ways]


@pytest.fixture
def unfinished(k2, tmp_path) -> tuple[Case, torch.Tensor]:
    """Frames x y x, of which the beam leaves no word that is whole but the first, beside x y."""
    case = compile_case(tmp_path, [("a", ["x", "y"])], None, 1, seed=1)
    log_probs = torch.full((2, 3, len(case.lang.units)), -200.0)
    for frame, token in enumerate("xyx"):
        log_probs[:, frame, case.lang.tokens[token]] = -0.1
    return case, log_probs


BEAM = HlgOptions(search_beam=50, output_beam=8, min_active=1)


@pytest.mark.k2
@pytest.mark.parametrize("word_score", [0.0, 2.0])
def test_where_no_path_ends_a_sentence_the_best_is_taken_and_marked(unfinished, word_score):
    from egret.decoding.graph import GraphDecoder

    case, log_probs = unfinished
    decoder = GraphDecoder(case.folder, case.lang, torch.device("cpu"))
    given = log_probs, torch.tensor([3, 2]), BEAM, 0.5, word_score
    found = decoder.decode(*given)
    assert [(best.words, len(best.tokens), best.partial) for best in found] == [([1, 1], 3, True), ([1], 2, False)]
    lists = best_paths(decoder.lattices(*given), 0.5, word_score)
    assert [(path.words, path.tokens, path.marks) for [path] in lists] == [
        (found[0].words, found[0].tokens, (PARTIAL,)), (found[1].words, found[1].tokens, ())
    ]  # fmt: skip
    assert [path.total(0.5, word_score) for [path] in lists] == pytest.approx([best.score for best in found], abs=1e-3)


@pytest.mark.k2
def test_where_no_path_ends_a_sentence_kaldi_decoder_takes_the_best(unfinished):
    pytest.importorskip("kaldi_decoder")
    pytest.importorskip("kaldifst")
    from egret.decoding.kaldi import KaldiDecoder

    case, log_probs = unfinished
    found = KaldiDecoder(case.folder, case.lang).decode(log_probs, torch.tensor([3, 2]), BEAM, 0.5)
    assert [(best.words, len(best.tokens), best.partial) for best in found] == [([1, 1], 3, True), ([1], 2, False)]


# In lattices of any kind


@dataclass
class Way:
    """One path of a lattice of an utterance."""

    words: tuple[int, ...]
    acoustic: float
    graph: float


def random_lattice(seed: int, layers: int = 5, words: int = 3) -> Lattice:
    """Two utterances, the second a frame shorter, with up to three states at a frame and two words on an arc."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[int, int, int, int]] = []
    starts, state = [], 0
    for owner, count in enumerate((layers, layers - 1)):
        starts.append(state)
        at, following = [state], state + 1
        for layer in range(count):
            after = list(range(following, following + (3 if layer < count - 1 else 1)))
            last = layer == count - 1
            rows += [(source, to, -1 if last else int(rng.integers(0, 4)), owner)
                     for source in at for to in after for _ in range(1 if last else 2)]  # fmt: skip
            at, following = after, following + len(after)
        state = following
    counts = np.array([0 if label < 0 else rng.integers(0, 3) for _, _, label, _ in rows])
    said = Ragged(rng.integers(1, words + 1, counts.sum()), counts)
    source, to, label, owner = np.array(rows).T
    scores = rng.normal(size=(2, len(rows)))
    return make_lattice(np.array(starts), source, to, label, said, *scores, owner)


def ways(lattice: Lattice, utterance: int) -> Iterator[Way]:
    """Every path, one by one."""
    splits = lattice.words.splits

    def follow(state: int, way: Way) -> Iterator[Way]:
        for arc in np.flatnonzero(lattice.sources == state):
            said = tuple(lattice.words.values[splits[arc] : splits[arc + 1]].tolist())
            longer = Way(way.words + said, way.acoustic + lattice.acoustic[arc], way.graph + lattice.graph[arc])
            if lattice.labels[arc] == -1:
                yield longer
            else:
                yield from follow(int(lattice.destinations[arc]), longer)

    yield from follow(int(lattice.starts[utterance]), Way((), 0.0, 0.0))


@pytest.mark.parametrize("count", [1, 2, 7, EVERYTHING])
@pytest.mark.parametrize("seed", range(3))
def test_of_each_word_sequence_the_best_path_counts(seed, count):
    lattice = random_lattice(seed)
    for utterance, paths in enumerate(best_paths(lattice, 0.5, 0.2, count)):
        best: dict[tuple, float] = {}
        for way in ways(lattice, utterance):
            score = way.acoustic + 0.5 * way.graph + 0.2 * len(way.words)
            best[way.words] = max(score, best.get(way.words, score))
        wanted = sorted(best.items(), key=lambda each: -each[1])[:count]
        assert [tuple(path.words) for path in paths] == [words for words, _ in wanted]
        assert [path.total(0.5, 0.2) for path in paths] == pytest.approx([score for _, score in wanted])


def test_a_lattice_without_a_final_state_has_no_list():
    lattice = random_lattice(1)
    cut = replace(lattice, labels=np.where((lattice.labels < 0) & (lattice.owners == 0), 0, lattice.labels))
    assert [len(paths) for paths in best_paths(cut, 1.0, 0.0, 3)] == [0, 3]


@pytest.mark.parametrize("most", [1, 12, 1000])
def test_utterances_that_are_too_many_for_memory_are_searched_one_after_the_other(monkeypatch, most):
    wanted = best_paths(random_lattice(7), 1.0, 0.0, 4)
    monkeypatch.setattr("egret.decoding.lattice.AT_ONCE", most)
    assert best_paths(random_lattice(7), 1.0, 0.0, 4) == wanted


def test_groups_are_as_large_as_may_be():
    lattice = random_lattice(8)
    widest = [np.bincount(lattice.owners[begin:end], minlength=2) for begin, end in lattice.layers]
    both = int(np.max(widest, axis=0).sum())
    assert list(lattice.groups(both)) == [range(0, 2)]
    assert list(lattice.groups(both - 1)) == [range(0, 1), range(1, 2)]


def test_the_same_list_comes_out_each_time():
    assert best_paths(random_lattice(4), 1.0, 0.0, 30) == best_paths(random_lattice(4), 1.0, 0.0, 30)


# Another n-gram


@pytest.fixture
def lang(tmp_path) -> Lang:
    return make_lang(tmp_path / "lang", [(word, [word]) for word in WORDS])


def make_grammar(folder: Path, lang: Lang, seed: int, order: int = 2) -> tuple[Grammar, Ngram]:
    ngram = random_ngram(random.Random(seed), WORDS, order)
    table = grammar(ngram.write(folder / f"{seed}.arpa"), lang.folder / "words.txt", order)
    return Grammar(table, lang.words[BACKOFF]), ngram


def model_score(ngram: Ngram, words: list[str]) -> float:
    """The n-gram model's own probability: the back-off only where there is no bigram."""
    pairs = list(zip(["<s>", *words], [*words, "</s>"], strict=True))
    return sum(ngram.bigrams[pair] if pair in ngram.bigrams else
               ngram.backoffs.get(pair[0], 0.0) + ngram.unigrams[pair[1]] for pair in pairs)  # fmt: skip


@pytest.mark.parametrize("order", [1, 2])
def test_followed_word_by_word_g_gives_the_probability_of_the_model(tmp_path, lang, order):
    walk, ngram = make_grammar(tmp_path, lang, seed=3, order=order)
    texts = [list(words) for length in range(4) for words in product(WORDS, repeat=length)]
    for words in texts:
        state, total = np.zeros(1, np.int64), 0.0
        for label in [*(lang.words[word] for word in words), -1]:
            state, score = walk.follow(state, np.array([label]))
            total += float(score[0])
        assert total == pytest.approx(model_score(ngram, words), abs=1e-4)


@pytest.mark.parametrize("share", [1.0, 0.4, 0.0])
@pytest.mark.parametrize("with_first", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_the_best_with_another_g_or_a_share_of_it_is_the_best_of_all_paths(tmp_path, lang, seed, with_first, share):
    first, old = make_grammar(tmp_path, lang, seed=10 + seed)
    larger, new = make_grammar(tmp_path, lang, seed=20 + seed)
    lattice = random_lattice(seed)
    changed = Change(larger, first if with_first else None)(lattice)
    assert not changed.marks[PRUNED]
    for utterance, [path] in enumerate(best_paths(changed.shared(share), 0.8, 0.3)):
        wanted = []
        for way in ways(lattice, utterance):
            words = [lang.word_names[word] for word in way.words]
            kept = way.graph - model_score(old, words) if with_first else 0.0
            graph = share * (kept + model_score(new, words)) + (1 - share) * way.graph
            score = way.acoustic + 0.8 * graph + 0.3 * len(words)
            wanted.append((score, way.words))
        score, words = max(wanted)
        assert tuple(path.words) == words
        assert path.total(0.8, 0.3) == pytest.approx(score, abs=1e-4)


def test_with_the_same_g_nothing_changes(tmp_path, lang):
    first, _ = make_grammar(tmp_path, lang, seed=5)
    lattice = random_lattice(5)
    before, after = (best_paths(each, 1.0, 0.0, 50) for each in (lattice, Change(first, first)(lattice)))
    assert [[path.words for path in paths] for paths in after] == [[path.words for path in paths] for paths in before]
    assert [path.total(1.0, 0.0) for paths in after for path in paths] == pytest.approx(
        [path.total(1.0, 0.0) for paths in before for path in paths]
    )


def test_a_batch_without_any_path_has_none_afterwards(tmp_path, lang):
    larger, _ = make_grammar(tmp_path, lang, seed=5)
    none = np.zeros(0, np.int64)
    lattice = make_lattice(np.array([-1, -1]), none, none, none, random_lattice(5).words.take(none), np.zeros(0),
                           np.zeros(0), none)  # fmt: skip
    changed = Change(larger)(lattice)
    assert best_paths(changed.shared(0.5), 1.0, 0.0) == [[], []]


def test_what_the_larger_g_has_no_sentence_for_has_no_path(tmp_path, lang):
    only_a = arcs.from_rows([(0, 0, 1, 1, -0.5), (0, 1, -1, -1, -0.1)], final=1)
    lattice = random_lattice(6)
    found = best_paths(Change(Grammar(only_a, lang.words[BACKOFF]))(lattice), 1.0, 0.0, EVERYTHING)
    for utterance, paths in enumerate(found):
        wanted = {way.words for way in ways(lattice, utterance) if set(way.words) <= {1}}
        assert {tuple(path.words) for path in paths} == wanted
    nothing = arcs.from_rows([(0, 1, 99, 99, 0.0), (1, 2, -1, -1, 0.0)], final=2)
    assert best_paths(Change(Grammar(nothing, lang.words[BACKOFF]))(lattice), 1.0, 0.0, 5) == [[], []]


def test_where_not_all_histories_can_be_followed_the_best_of_the_first_pass_stays(tmp_path, lang, monkeypatch):
    first, _ = make_grammar(tmp_path, lang, seed=5)
    lattice = random_lattice(5)
    monkeypatch.setattr("egret.decoding.grammar_walk.MOST", 3)
    changed = Change(first, first)(lattice)
    assert changed.marks[PRUNED] == {0, 1}
    assert [[path.words for path in paths] for paths in best_paths(changed, 1.0, 0.0)] == [
        [path.words for path in paths] for paths in best_paths(lattice, 1.0, 0.0)
    ]


def test_a_g_of_other_words_is_refused(tmp_path, lang):
    table = arcs.from_rows([(0, 1, -1, -1, 0.0)], final=1)
    arcs.save(tmp_path / "G.safetensors", table, {"words": "others", "order": 4})
    with pytest.raises(EgretError, match="made for other words than .*words.txt has; make G again"):
        Grammar.read(tmp_path / "G.safetensors", lang)


def test_a_graph_of_unknown_origin_is_refused(tmp_path, lang):
    table = arcs.from_rows([(0, 0, 99, 99, 0.0), (0, 1, -1, -1, 0.0)], final=1)
    arcs.save(tmp_path / "G.safetensors", table)
    with pytest.raises(EgretError, match="no G of an n-gram model; give the G_"):
        Grammar.read(tmp_path / "G.safetensors", lang)
