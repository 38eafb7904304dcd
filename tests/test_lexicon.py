"""The lexicon, its disambiguation symbols, and L made from it."""

import gzip
import itertools
import math
import random
from collections import defaultdict

import pytest

from egret.base.errors import EgretError
from egret.graph.lexicon_graph import lexicon_graph
from egret.lang.lexicon import disambiguate, first_pronunciations, read_lexicon, word_lexicon, write_lexicon
from egret.lang.symbols import format_symbols, read_symbols, token_table, word_table
from graphs import outputs


@pytest.fixture
def lexicon_of(tmp_path):
    def read(text, **how):
        (tmp_path / "lexicon.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_lexicon(tmp_path / "lexicon.txt", **how)

    return read


def random_lexicon(rng):
    """Few tokens, so that homophones, prefixes and words made of other words abound."""
    entries = set()
    for number in range(rng.randint(2, 6)):
        for _ in range(rng.choice([1, 1, 2])):
            entries.add((f"W{number}", tuple(rng.choice("ab") for _ in range(rng.randint(1, 3)))))
    return [(word, list(tokens)) for word, tokens in rng.sample(sorted(entries), len(entries))]


def graph_of(lexicon, silence=None, marked=True, probability=0.5):
    """L_disambig (or L) as prepare_lang makes it, and its two tables."""
    marks, used = disambiguate(lexicon)
    units = sorted({token for _, tokens in lexicon for token in tokens} | ({silence} if silence else set()))
    tokens = token_table(units, used + 1 if silence else used)
    words = word_table(sorted({word for word, _ in lexicon}))
    more = {"silence_disambiguation": f"#{used + 1}" if silence else None, "backoff_loop": True} if marked else {}
    graph = lexicon_graph(marks if marked else lexicon, tokens, words, silence, probability, **more)
    return graph, tokens, words


def outputs_by_input(graph, longest):
    """Every sequence of labels of up to `longest` that the automaton accepts, and all it can give for it."""
    arcs = defaultdict(list)
    for number, (source, destination, label) in enumerate(graph.arcs.tolist()):
        arcs[source].append((destination, label, tuple(outputs(graph, number))))
    final = graph.num_states - 1
    found = defaultdict(list)
    paths = [(0, (), ())]
    while paths:
        state, read, written = paths.pop()
        for destination, label, output in arcs[state]:
            if destination == final:
                found[read].append(written)
            elif label == 0:
                paths.append((destination, read, written + output))
            elif len(read) < longest:
                paths.append((destination, (*read, label), written + output))
    return found


class TestReading:
    def test_words_and_tokens_in_the_order_of_the_file(self, lexicon_of):
        assert lexicon_of("B b\nA a  b\n") == [("B", ["b"]), ("A", ["a", "b"])]

    def test_numbered_variants_are_pronunciations_of_one_word(self, lexicon_of):
        assert lexicon_of("THE dh ah\nTHE(2) dh iy\nTHE(13) d\n") == [
            ("THE", ["dh", "ah"]),
            ("THE", ["dh", "iy"]),
            ("THE", ["d"]),
        ]

    @pytest.mark.parametrize("word", ["(2)", "A(B)", "A(2)B", "A()"])
    def test_not_every_parenthesis_is_a_variant(self, lexicon_of, word):
        assert lexicon_of(f"{word} a\n") == [(word, ["a"])]

    def test_a_line_twice_counts_once(self, lexicon_of):
        assert lexicon_of("A a\nA a\nA(2) a\n") == [("A", ["a"])]

    def test_byte_order_mark_and_carriage_returns(self, lexicon_of):
        assert lexicon_of(b"\xef\xbb\xbfA a\r\nB b\r\n") == [("A", ["a"]), ("B", ["b"])]

    def test_comments_and_blank_lines(self, lexicon_of):
        assert lexicon_of(";;; CMUdict\n\n  \nA\ta\n") == [("A", ["a"])]

    def test_a_file_of_our_own_is_taken_literally(self, lexicon_of):
        assert lexicon_of("F(2) F(2)\n;;; x\n", literal=True) == [("F(2)", ["F(2)"]), (";;;", ["x"])]

    def test_compressed(self, tmp_path):
        (tmp_path / "a.gz").write_bytes(gzip.compress("é a\n".encode()))
        assert read_lexicon(tmp_path / "a.gz") == [("é", ["a"])]

    def test_a_word_without_tokens(self, lexicon_of):
        with pytest.raises(EgretError, match=r"lexicon.txt:2: the word 'B' has no pronunciation"):
            lexicon_of("A a\nB\n")

    @pytest.mark.parametrize("text", ["", "\n\n", ";;; nothing\n", "\ufeff"])
    def test_empty(self, lexicon_of, text):
        with pytest.raises(EgretError, match="the lexicon is empty"):
            lexicon_of(text)

    def test_another_encoding(self, lexicon_of):
        with pytest.raises(EgretError, match="not UTF-8"):
            lexicon_of("É a\n".encode("latin-1"))

    def test_missing(self, tmp_path):
        with pytest.raises(EgretError, match="no such lexicon"):
            read_lexicon(tmp_path / "gone.txt")

    def test_what_is_written_is_read_again(self, lexicon_of):
        lexicon = [("A", ["a", "b"]), ("A", ["c"]), ("가", ["d"])]
        assert lexicon_of(write_lexicon(lexicon)) == lexicon

    def test_words_as_units(self):
        assert word_lexicon(["B", "A", "B"]) == [("A", ["A"]), ("B", ["B"])]

    def test_transcripts_are_trained_with_the_first_pronunciation(self):
        assert first_pronunciations([("A", ["a"]), ("A", ["b"])]) == {"A": ["a"]}


class TestDisambiguation:
    def test_homophones_are_numbered(self):
        assert disambiguate([("RED", ["r"]), ("READ", ["r"]), ("X", ["x"])]) == (
            [("RED", ["r", "#1"]), ("READ", ["r", "#2"]), ("X", ["x"])],
            2,
        )

    def test_a_word_that_begins_another_one_is_marked(self):
        assert disambiguate([("A", ["a"]), ("AB", ["a", "b"]), ("B", ["b"])]) == (
            [("A", ["a", "#1"]), ("AB", ["a", "b"]), ("B", ["b"])],
            1,
        )

    def test_where_nothing_is_ambiguous_there_is_none(self):
        lexicon = [("A", ["a", "b"]), ("B", ["b", "a"])]
        assert disambiguate(lexicon) == (lexicon, 0)

    @pytest.mark.parametrize("silence", [None, "SIL", "a"])
    def test_every_input_of_l_disambig_has_one_output(self, silence):
        rng = random.Random(1)
        for _ in range(60):
            lexicon = random_lexicon(rng)
            graph, _, _ = graph_of(lexicon, silence)
            for read, written in outputs_by_input(graph, 5).items():
                assert len(written) == 1, (lexicon, read, written)

    def test_without_the_symbols_it_would_not_be_so(self):
        rng = random.Random(1)
        ambiguous = 0
        for _ in range(60):
            graph, _, _ = graph_of(random_lexicon(rng), marked=False)
            ambiguous += any(len(set(written)) > 1 for written in outputs_by_input(graph, 5).values())
        assert ambiguous > 40


class TestGraph:
    LEXICON = [("A", ["a"]), ("AB", ["a", "b"]), ("B", ["b", "c", "d"]), ("A", ["c"])]

    def expected(self, tokens, words, longest):
        """What L should accept, from its definition: pronunciations in a row."""
        found = defaultdict(set)
        for count in range(longest + 1):
            for chosen in itertools.product(self.LEXICON, repeat=count):
                read = tuple(tokens[token] for _, each in chosen for token in each)
                if len(read) <= longest:
                    found[read].add(tuple(words[word] for word, _ in chosen))
        return found

    def test_l_accepts_every_row_of_pronunciations_and_nothing_else(self):
        graph, tokens, words = graph_of(self.LEXICON, marked=False)
        found = {read: set(written) for read, written in outputs_by_input(graph, 5).items()}
        assert found == self.expected(tokens, words, 5)

    def test_silence_may_stand_before_between_and_after_words_once_and_nowhere_else(self):
        graph, tokens, words = graph_of(self.LEXICON, silence="SIL", marked=False)
        names = {number: name for name, number in tokens.items()}
        found = {tuple(names[label] for label in read): written for read, written in outputs_by_input(graph, 4).items()}
        assert [(words["A"], words["A"])] == found["SIL", "a", "SIL", "a"] == found["a", "SIL", "a", "SIL"]
        assert found["SIL",] == [()]
        assert ("SIL", "SIL") not in found and ("a", "SIL", "SIL") not in found
        assert ("b", "SIL", "c", "d") not in found

    @pytest.mark.parametrize("marked", [True, False])
    @pytest.mark.parametrize("probability", [0.5, 0.1])
    def test_silence_or_not_sums_to_one(self, marked, probability):
        graph, tokens, words = graph_of(self.LEXICON, "SIL", marked, probability)
        choices = defaultdict(list)
        for (source, _, label), score, output in zip(
            graph.arcs.tolist(), graph.scores.tolist(), graph.aux.tolist(), strict=True
        ):
            choices[source, label, output].append(math.exp(score))
        ends_of_words = 0
        for (source, label, output), weights in choices.items():
            assert sum(weights) == pytest.approx(1), (source, label, output)
            if len(weights) == 2:
                assert sorted(weights) == pytest.approx(sorted([probability, 1 - probability]))
                ends_of_words += 1
        assert ends_of_words == len(self.LEXICON) + 1  # and the beginning

    def test_without_silence_nothing_is_weighed(self):
        graph, _, _ = graph_of(self.LEXICON)
        assert not graph.scores.any()

    def test_back_off_passes_through_l_disambig_between_words(self):
        graph, tokens, words = graph_of(self.LEXICON)
        found = outputs_by_input(graph, 3)
        assert found[tokens["#0"], tokens["c"], tokens["#0"]] == [(words["#0"], words["A"], words["#0"])]
        plain, _, _ = graph_of(self.LEXICON, marked=False)
        assert tokens["#0"] not in plain.arcs[:, 2]

    def test_silence_is_followed_by_a_symbol_of_its_own(self):
        _, used = disambiguate(self.LEXICON)
        graph, tokens, _ = graph_of(self.LEXICON, "SIL")
        after = graph.arcs[graph.arcs[:, 2] == tokens["SIL"], 1]
        assert set(graph.arcs[graph.arcs[:, 0] == after[0], 2]) == {tokens[f"#{used + 1}"]}


class TestSymbols:
    def test_ids_of_tokens(self):
        assert token_table(["a", "b"], 1) == {"<blk>": 0, "<sos/eos>": 1, "<unk>": 2, "a": 3, "b": 4, "#0": 5, "#1": 6}

    def test_ids_of_words(self):
        assert word_table(["A", "B"]) == {"<eps>": 0, "A": 1, "B": 2, "#0": 3, "<s>": 4, "</s>": 5}

    def test_what_is_written_is_read_again(self, tmp_path):
        table = token_table(["a", "é", "가"], 2)
        (tmp_path / "tokens.txt").write_text(format_symbols(table), encoding="utf-8")
        assert read_symbols(tmp_path / "tokens.txt") == table

    @pytest.mark.parametrize("text", ["a\n", "a b\n", "a 0\nb 2\n", "a 0\na 1\n", " 0\n", "a -1\n", "b 1\na 0\n"])
    def test_a_damaged_table(self, tmp_path, text):
        (tmp_path / "tokens.txt").write_text(text)
        with pytest.raises(EgretError, match=r"tokens.txt:\d: expected"):
            read_symbols(tmp_path / "tokens.txt")

    def test_missing(self, tmp_path):
        with pytest.raises(EgretError, match="prepare_lang"):
            read_symbols(tmp_path / "tokens.txt")
