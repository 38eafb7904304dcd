"""Characters as units: spelling, the boundary between words, and its place in graphs, losses and decoding."""

import random

import pytest
import torch

from egret.base.errors import EgretError
from egret.corpus.cuts import write_cuts
from egret.graph import arcs
from egret.graph.grammar import grammar
from egret.lang.lang import Lang
from egret.lang.symbols import BACKOFF
from egret.models.greedy import ctc_greedy
from egret.models.losses import make_loss
from exhaustive import alignments, random_ngram, word_sequences
from folders import make_experiment, random_log_probs, transcribed
from graphs import outputs

TEXTS = ["AB A", "B BB O'B"]


@pytest.fixture
def lang_of(tmp_path, run_step):
    """Run the step on transcripts, and on a list of words where there is one; returns the folder as read."""

    def make(*words, texts=TEXTS, lexicon="", code=0):
        supervisions = (
            [{"id": "s", "recording_id": "r", "start": 0.0, "duration": 1.0, "text": text}] for text in texts
        )
        write_cuts(tmp_path / "cuts.jsonl", [
            {"id": str(number), "start": 0.0, "duration": 1.0, "channel": 0, "supervisions": each}
            for number, each in enumerate(supervisions)])  # fmt: skip
        arguments = ["--kind", "char", "--cuts", "cuts.jsonl", "--out", "lang", *words]
        if lexicon:
            (tmp_path / "words").write_text(lexicon)
            arguments += ["--lexicon", "words"]
        make.said = run_step("prepare_lang", tmp_path, *arguments, code=code)
        return Lang.read(tmp_path / "lang") if code == 0 else make.said

    return make


def names(lang: Lang, tokens: list[int]) -> str:
    return " ".join(lang.units[token] for token in tokens)


class TestTheFolder:
    def test_units_are_the_characters_and_the_boundary(self, lang_of):
        assert lang_of().units[3:] == ["'", "A", "B", "O", "▁"]

    def test_without_a_lexicon_the_words_are_those_of_the_transcripts(self, lang_of):
        lang = lang_of()
        assert lang.word_names[1:-3] == ["A", "AB", "B", "BB", "O'B"]
        assert (lang.folder / "lexicon.txt").read_text() == "A A\nAB A B\nB B\nBB B B\nO'B O ' B\n"

    @pytest.mark.parametrize("lexicon", ["AC\nB\n", "AC ey s iy\nAC(2) ae k\nB b iy\n"], ids=["list", "dictionary"])
    def test_a_lexicon_names_the_words_and_others_are_spelled_all_the_same(self, lang_of, lexicon):
        lang = lang_of(lexicon=lexicon)
        assert lang.word_names[1:-3] == ["AC", "B"]
        assert lang.units[3:] == ["'", "A", "B", "C", "O", "▁"]
        assert "4 words of the transcripts are not in the lexicon; they are spelled for training" in lang_of.said
        assert lang.decode(lang.encode("O'B AC")) == ["O'B", "AC"]

    def test_unit_json_names_the_boundary(self, lang_of):
        assert lang_of().about["boundary"] == "▁" and lang_of("--boundary", "").about["boundary"] == ""
        assert lang_of().about["silence"] is None

    def test_characters_are_those_of_the_normalised_words(self, lang_of):
        assert lang_of("--normaliser", "lower", texts=["E\u0301B", "eb"], lexicon="Eb\n").units[3:] == [
            "b",
            "e",
            "é",
            "▁",
        ]


class TestWordsAndTokens:
    def test_words_are_spelled_with_the_boundary_between_them(self, lang_of):
        lang = lang_of()
        assert names(lang, lang.encode("AB A BB")) == "A B ▁ A ▁ B B"
        assert lang.encode("") == []

    def test_round_trip(self, lang_of):
        lang, rng = lang_of(), random.Random(1)
        for _ in range(50):
            words = ["".join(rng.choices("ABO'", k=rng.randint(1, 4))) for _ in range(rng.randint(0, 5))]
            assert lang.decode(lang.encode(" ".join(words))) == words

    def test_boundaries_at_the_edges_and_in_a_row_make_no_words(self, lang_of):
        lang = lang_of()
        spoken = [lang.tokens[name] for name in ["▁", "A", "<unk>", "B", "▁", "▁", "<sos/eos>", "B", "▁"]]
        assert lang.decode(spoken) == ["AB", "B"]
        assert lang.decode([lang.tokens["▁"]]) == []

    def test_greedy_decoding_gives_words_that_no_lexicon_has(self, lang_of):
        lang = lang_of()
        path = [lang.tokens[name] for name in ["B", "B", "<blk>", "B", "▁", "▁", "O", "<blk>", "A"]]
        log_probs = torch.full((1, len(path), len(lang.units)), -9.0)
        log_probs[0, range(len(path)), path] = 0.0
        [(tokens, _)] = ctc_greedy(log_probs, torch.tensor([len(path)]))
        assert lang.decode(tokens) == ["BB", "OA"]

    def test_without_a_boundary_every_character_is_a_word(self, lang_of):
        lang = lang_of("--boundary", "", texts=["今天 天气"])
        assert names(lang, lang.encode("天气 今天")) == "天 气 今 天"
        assert lang.decode(lang.encode("天气 今天")) == ["天", "气", "今", "天"]

    def test_a_word_with_a_character_that_is_no_unit_is_unknown(self, lang_of):
        lang = lang_of()
        assert lang.outside("OAB XA A▁B") == ["XA", "A▁B"]
        with pytest.raises(EgretError, match=r"tokens.txt lacks characters of A▁B, XA; give"):
            lang.encode("OAB XA A▁B")


class TestMistakes:
    def test_a_boundary_that_is_a_character_of_a_word(self, lang_of):
        assert "--boundary B: is a character of AB, B, BB" in lang_of("--boundary", "B", code=1)
        assert "--boundary C: is a character of AC" in lang_of("--boundary", "C", lexicon="AC\n", code=1)

    @pytest.mark.parametrize("boundary", ["#1", "<blk>", "a b", " "])
    def test_a_reserved_boundary(self, lang_of, boundary):
        assert f"--boundary {boundary!r}: a reserved name" in lang_of("--boundary", boundary, code=2)

    @pytest.mark.parametrize("option", ["--silence", "--oov"])
    def test_neither_silence_nor_a_word_for_others(self, lang_of, option):
        assert "leave out --silence and --oov" in lang_of(option, "A", code=2)

    def test_no_words(self, lang_of):
        assert "--kind char: no words in --cuts" in lang_of(texts=[""], code=1)

    def test_a_reserved_character_in_the_transcripts(self, lang_of):
        assert "the transcripts: the token '#' of 'C#' has a reserved name" in lang_of(
            texts=["C#"], lexicon="A\n", code=1
        )


# In graphs


def said(words: list[str]) -> list[str]:
    """Every way to spell words that a graph lets pass."""
    spoken = "▁".join(words)
    return sorted({head + spoken + tail for head in ("", "▁") for tail in ("", "▁" if words else "")})


def accepted(graph: arcs.ArcTable, lang: Lang, longest: int) -> dict[str, list[list[str]]]:
    """What L reads of up to so many tokens, each with all that it says to it."""
    found: dict[str, list[list[str]]] = {}
    table = list(zip(graph.arcs.tolist(), (outputs(graph, arc) for arc in range(graph.num_arcs)), strict=True))
    paths = [(0, "", [])]
    while paths:
        state, read, words = paths.pop()
        for (source, destination, label), output in table:
            if source != state or len(read) + (label > 0) > longest:
                continue
            if label == -1:
                found.setdefault(read, []).append(words)
            else:
                spoken = [*words, *(lang.word_names[word] for word in output)]
                paths.append((destination, read + (lang.units[label] if label else ""), spoken))
    return found


def test_l_reads_words_with_one_boundary_between_them(lang_of):
    lang = lang_of(texts=["AB A"])
    expected = {spelled: [words] for words in word_sequences([("A", ["A"]), ("AB", ["A", "B"])], 5)
                for spelled in said(words) if len(spelled) <= 5}  # fmt: skip
    assert accepted(arcs.load(lang.folder / "L.safetensors"), lang, 5) == expected


def test_the_targets_of_training_are_among_what_l_reads(lang_of):
    lang = lang_of(texts=["AB A"])
    table = accepted(arcs.load(lang.folder / "L.safetensors"), lang, 5)
    for text in ("A AB", "AB", "A A A"):
        assert table["".join(lang.units[token] for token in lang.encode(text))] == [text.split()]


def make_graph(lang: Lang, seed: int, order: int):
    """HLG of a random n-gram, in the lang folder itself, and the n-gram."""
    from egret.graph.hlg import compile_hlg

    ngram = random_ngram(random.Random(seed), lang.word_names[1:-3], order)
    g = grammar(ngram.write(lang.folder / "lm.arpa"), lang.folder / "words.txt", order)
    lexicon = arcs.load(lang.folder / "L_disambig.safetensors")
    graph, _ = compile_hlg(lexicon, g, len(lang.units), lang.first_disambiguation, lang.words[BACKOFF])
    arcs.save(lang.folder / "HLG.safetensors", graph, arcs.identity(lang))
    return ngram


@pytest.mark.k2
@pytest.mark.parametrize("seed", range(8))
def test_the_best_path_is_the_best_of_all(k2, lang_of, seed):
    from egret.decoding.graph import GraphDecoder
    from egret.decoding.options import HlgOptions

    rng = random.Random(seed)
    words = sorted({"".join(rng.choices("AB", k=rng.choice([1, 1, 2, 3]))) for _ in range(4)} | {"B"})
    lang = lang_of(texts=[" ".join(words)])
    ngram = make_graph(lang, seed, order=1 + seed % 2)
    log_probs, lengths = random_log_probs(seed, [5], lang, spread=3.0)
    heard = {tuple(path): max(scores) for path, scores
             in alignments(log_probs[0].tolist(), list(range(3, len(lang.units)))).items()}  # fmt: skip
    best = max((heard.get(tuple(lang.tokens[name] for name in spelled), -1e9) + ngram.score(sequence), sequence)
               for sequence in word_sequences([(word, list(word)) for word in words], 5)
               for spelled in said(sequence))  # fmt: skip
    wide = HlgOptions(search_beam=1e4, output_beam=1e4, max_active=1_000_000)
    [found] = GraphDecoder(lang.folder, lang, torch.device("cpu")).decode(log_probs, lengths, wide, 1.0)
    assert [lang.word_names[word] for word in found.words] == best[1]
    assert found.score == pytest.approx(best[0], abs=1e-4)


@pytest.mark.k2
@pytest.mark.parametrize("edges", [("", ""), ("▁", ""), ("", "▁")])
def test_what_training_spells_comes_out_of_the_graph_as_it_does_greedily(k2, lang_of, edges):
    from egret.decoding.graph import GraphDecoder
    from egret.decoding.options import HlgOptions

    lang = lang_of()
    make_graph(lang, seed=1, order=2)
    text = "B BB O'B A AB"
    head, tail = ([lang.tokens[edge]] if edge else [] for edge in edges)
    path = [token for target in [*head, *lang.encode(text), *tail] for token in (target, 0)]
    log_probs = torch.full((1, len(path), len(lang.units)), -50.0)
    log_probs[0, range(len(path)), path] = 0.0
    decoder = GraphDecoder(lang.folder, lang, torch.device("cpu"))
    [best] = decoder.decode(log_probs, torch.tensor([len(path)]), HlgOptions(), 1.0)
    assert [lang.word_names[word] for word in best.words] == text.split() == lang.decode(best.tokens)


@pytest.mark.k2
def test_graph_ctc_of_spelled_words_is_ctc_with_words_that_the_lexicon_lacks(k2, lang_of):
    lang = lang_of(lexicon="AB\nB\n")
    log_probs, lengths = random_log_probs(1, [12, 9], lang)
    batch = transcribed(lang, ["AB O'A BB", "B B"])
    graph, plain = (make_loss(name, lang)(log_probs, lengths, batch).item() for name in ("ctc_graph", "ctc"))
    assert graph == pytest.approx(plain, rel=1e-5)


def test_a_model_of_characters_is_decoded_by_the_step(lang_of, run_step, tmp_path):
    from folders import make_cuts

    make_experiment(tmp_path / "exp", lang_of())
    make_cuts(tmp_path / "test.jsonl", ["AB A", "B"], [40, 30])
    arguments = ["--experiment", "exp", "--lang", "lang", "--test-cuts", "test.jsonl", "--threads", "1", "--out", "out"]
    assert "utterances of test 2" in run_step("decode", tmp_path, *arguments)
