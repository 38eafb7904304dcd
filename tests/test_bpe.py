"""Pieces of words as units: the model of pieces, words cut by it, and its place in graphs, losses and decoding."""

import random
import time

import pytest
import torch

from egret.base.errors import EgretError
from egret.corpus.cuts import write_cuts
from egret.graph.lexicon_graph import lexicon_graph
from egret.lang.bpe import Bpe, train_bpe
from egret.lang.lang import Lang
from egret.lang.lexicon import disambiguate, read_lexicon
from egret.lang.symbols import token_table, word_table
from egret.models.losses import make_loss
from folders import random_log_probs, transcribed
from test_characters import make_graph

TEXTS = ["THE HELP HELPED", "THE OTHER HELPER'S HELP", "OVER THERE"]
COUNTS = {"THE": 3, "THEN": 2, "OTHER": 1, "THERE": 2}


@pytest.fixture
def lang_of(tmp_path, run_step):
    """Run the step on transcripts, other text and a lexicon where there are such; returns the folder as read."""

    def make(*words, texts=TEXTS, text="", lexicon="", size=20, code=0):
        arguments = ["--kind", "bpe", "--vocab-size", str(size), "--out", "lang", *words]
        if texts:
            supervisions = [{"id": "s", "start": 0.0, "text": text} for text in texts]
            rows = ({"id": str(number), "supervisions": [each]} for number, each in enumerate(supervisions))
            write_cuts(tmp_path / "cuts.jsonl", rows)
            arguments += ["--cuts", "cuts.jsonl"]
        for name, content in (("text", text), ("lexicon", lexicon)):
            if content:
                (tmp_path / name).write_text(content)
                arguments += [f"--{name}", name]
        make.said = run_step("prepare_lang", tmp_path, *arguments, code=code)
        return Lang.read(tmp_path / "lang") if code == 0 else make.said

    return make


class TestTheModel:
    def test_it_has_as_many_pieces_as_asked_for(self):
        assert len(Bpe(train_bpe(COUNTS, 9, "--vocab-size")).pieces) == 9

    def test_the_same_words_give_the_same_bytes(self):
        shuffled = dict(sorted(COUNTS.items(), key=lambda item: item[1]))
        assert train_bpe(COUNTS, 9, "--vocab-size") == train_bpe(shuffled, 9, "--vocab-size")

    def test_frequent_pairs_are_joined_first(self):
        longest = [max(Bpe(train_bpe(counts, 7, "--vocab-size")).pieces, key=len)
                   for counts in ({"AB": 5, "CD": 1}, {"AB": 1, "CD": 5})]  # fmt: skip
        assert longest == ["▁AB", "▁CD"]

    def test_so_many_pieces_as_are_said_to_be_possible_are_possible(self):
        with pytest.raises(EgretError, match=r"--vocab-size 999: .* too small .* largest possible is \d+$") as found:
            train_bpe(COUNTS, 999, "--vocab-size")
        largest = int(str(found.value).split()[-1])
        assert len(Bpe(train_bpe(COUNTS, largest, "x")).pieces) == largest
        with pytest.raises(EgretError, match="largest possible"):
            train_bpe(COUNTS, largest + 1, "x")

    def test_fewer_pieces_than_characters_are_not_possible(self):
        with pytest.raises(EgretError, match=r"--vocab-size 3: .* more characters than that; .* possible is 7"):
            train_bpe(COUNTS, 3, "--vocab-size")  # T H E N O R and ▁
        assert len(Bpe(train_bpe(COUNTS, 7, "x")).pieces) == 7

    @pytest.mark.parametrize("word", ["A▁B", "<unk>", "C#1", "X<blk>"])
    def test_words_with_what_means_something_of_its_own_are_refused(self, word):
        with pytest.raises(EgretError, match=word):
            train_bpe({word: 1, **COUNTS}, 9, "--vocab-size")

    def test_what_is_no_model_is_refused(self):
        with pytest.raises(EgretError, match=r"x/bpe.model: not a whole SentencePiece model"):
            Bpe(train_bpe(COUNTS, 9, "--vocab-size")[:50], "x/bpe.model")


class TestTheFolder:
    def test_units_are_the_pieces(self, lang_of):
        lang = lang_of(size=20)
        assert lang.units[3:] == sorted(Bpe.read(lang.folder / "bpe.model").pieces) and len(lang.units) == 23

    def test_words_are_those_of_the_lexicon_and_of_the_transcripts(self, lang_of):
        assert lang_of(lexicon="HELP h e l p\nPOET\n", texts=["POT HEEL"], size=8).word_names[1:-3] == [
            "HEEL",
            "HELP",
            "POET",
            "POT",
        ]

    def test_the_lexicon_spells_words_in_pieces(self, lang_of):
        lang = lang_of()
        spelled = dict(read_lexicon(lang.folder / "lexicon.txt", literal=True))
        assert "".join(spelled["HELPER'S"]) == "▁HELPER'S" and len(spelled["HELPER'S"]) < 9

    def test_words_of_strange_characters_are_left_out_and_said(self, lang_of):
        lang = lang_of(lexicon="HELP\nZOO\n")
        assert "ZOO" not in lang.words and "left out: ZOO" in lang_of.said

    def test_other_text_teaches_pieces_and_gives_no_words(self, lang_of):
        lang = lang_of(text="ZOO ZOO\nZOOS\n", size=24)
        assert "ZOO" not in lang.words and lang.outside("ZOO") == []

    def test_it_is_the_same_each_time(self, lang_of):
        first = {path.name: path.read_bytes() for path in lang_of().folder.glob("[a-zA-Z]*")}
        again = {path.name: path.read_bytes() for path in lang_of("--force").folder.glob("[a-zA-Z]*")}
        assert first == again and "bpe.model" in first

    def test_without_its_model_it_cannot_be_used(self, lang_of):
        lang = lang_of()
        (lang.folder / "bpe.model").unlink()
        with pytest.raises(EgretError, match=r"bpe.model: no such model; it is made by steps/prepare_lang.py"):
            lang.encode("THE")


class TestWordsAndTokens:
    def test_round_trip_with_words_that_the_lexicon_lacks(self, lang_of):
        lang, rng = lang_of(), random.Random(1)
        for _ in range(50):
            words = ["".join(rng.choices("HELPOV'", k=rng.randint(1, 6))) for _ in range(rng.randint(0, 5))]
            assert lang.decode(lang.encode(" ".join(words))) == words

    def test_pieces_are_joined_at_what_begins_a_word(self, lang_of):
        lang = lang_of()
        names = ["H", "<unk>", "E", "▁", "▁", "<sos/eos>", "P", "▁THE", "R"]
        assert lang.decode([lang.tokens[name] for name in names]) == ["HE", "P", "THER"]

    def test_a_word_with_a_strange_character_is_outside(self, lang_of):
        lang = lang_of()
        assert lang.outside("THE ZOO A▁B") == ["ZOO", "A▁B"]
        with pytest.raises(EgretError, match=r"tokens.txt lacks characters of ZOO; give steps/prepare_lang.py cuts"):
            lang.encode("THE ZOO")


class TestMistakes:
    def test_a_vocabulary_too_large_for_the_text(self, lang_of):
        assert "--vocab-size 5000: the text is too small for so many pieces; the largest" in lang_of(size=5000, code=2)

    def test_nothing_to_learn_from(self, lang_of):
        assert "there are no words to learn pieces from" in lang_of(texts=[], lexicon="A\n", code=1)

    @pytest.mark.parametrize("option", ["--silence", "--oov"])
    def test_neither_silence_nor_a_word_for_others(self, lang_of, option):
        assert "leave out --silence and --oov" in lang_of(option, "A", code=2)

    @pytest.mark.parametrize("words", [["--vocab-size", "9"], ["--text", "words"]])
    def test_options_of_pieces_with_other_units(self, run_step, tmp_path, words):
        (tmp_path / "words").write_text("A a\n")
        said = run_step("prepare_lang", tmp_path, "--lexicon", "words", "--out", "lang", *words, code=2)
        assert f"{words[0]} " in said and "leave it out" in said

    def test_text_that_is_not_utf8(self, lang_of, tmp_path, run_step):
        (tmp_path / "latin1").write_bytes("É".encode("latin-1"))
        arguments = ["--kind", "bpe", "--text", "latin1", "--out", "lang"]
        assert "--text latin1: not UTF-8 text" in run_step("prepare_lang", tmp_path, *arguments, code=1)


@pytest.mark.k2
def test_words_come_out_of_the_graph_as_training_spells_them(k2, lang_of):
    from egret.decoding.graph import GraphDecoder
    from egret.decoding.options import HlgOptions

    lang = lang_of()
    make_graph(lang, seed=1, order=2)
    text = "OVER THE HELPER'S HELP HELP"
    path = [token for target in lang.encode(text) for token in (target, 0)]
    log_probs = torch.full((1, len(path), len(lang.units)), -50.0)
    log_probs[0, range(len(path)), path] = 0.0
    decoder = GraphDecoder(lang.folder, lang, torch.device("cpu"))
    [best] = decoder.decode(log_probs, torch.tensor([len(path)]), HlgOptions(), 1.0)
    assert [lang.word_names[word] for word in best.words] == text.split() == lang.decode(best.tokens)


@pytest.mark.k2
def test_graph_ctc_of_pieces_is_ctc_with_words_that_the_lexicon_lacks(k2, lang_of):
    lang = lang_of()
    log_probs, lengths = random_log_probs(1, [20, 15], lang)
    batch = transcribed(lang, ["HELLO THE", "OTHER POET"])
    graph, plain = (make_loss(name, lang)(log_probs, lengths, batch).item() for name in ("ctc_graph", "ctc"))
    assert graph == pytest.approx(plain, rel=1e-5)


def test_l_of_a_large_lexicon_is_made_quickly():
    rng, pieces = random.Random(1), [f"p{piece}" for piece in range(500)]
    lexicon = [(f"w{number}", rng.choices(pieces, k=4)) for number in range(20_000)]
    begun = time.process_time()
    marked, used = disambiguate(lexicon)
    lexicon_graph(marked, token_table(pieces, used), word_table(word for word, _ in lexicon), backoff_loop=True)
    assert time.process_time() - begun < 6  # about half a second; the bound is for a busy machine
