"""The lang folder: what steps/prepare_lang.py leaves, and from words to tokens and back."""

import itertools
import json
import random

import pytest

from egret.base.errors import EgretError
from egret.base.files import read_json, write_text
from egret.corpus.cuts import write_cuts
from egret.graph import arcs
from egret.graph.lexicon_graph import lexicon_graph
from egret.lang.lang import Lang
from egret.lang.lexicon import read_lexicon
from egret.lang.symbols import read_symbols

LEXICON = "A a\nAB a b\nB b\nRED r\nREAD r\nTHE t h e\nTHE(2) t h i\n"


def cut(name, text):
    supervision = {"id": name, "recording_id": name, "start": 0.0, "duration": 1.0, "text": text}
    return {"id": name, "start": 0.0, "duration": 1.0, "channel": 0, "supervisions": [supervision]}


@pytest.fixture
def prepare(tmp_path, run_step):
    """Run the step; returns all that it said."""

    def run(*words, lexicon=LEXICON, texts=(), code=0):
        (tmp_path / "lexicon").write_bytes(lexicon if isinstance(lexicon, bytes) else lexicon.encode())
        arguments = ["--out", "lang", *words]
        if "word" not in words:
            arguments += ["--lexicon", "lexicon"]
        if texts:
            write_cuts(tmp_path / "cuts.jsonl", [cut(str(place), text) for place, text in enumerate(texts)])
            arguments += ["--cuts", "cuts.jsonl"]
        return run_step("prepare_lang", tmp_path, *arguments, code=code)

    return run


@pytest.fixture
def lang_of(prepare, tmp_path):
    def make(*words, **how):
        prepare(*words, **how)
        return Lang.read(tmp_path / "lang")

    return make


class TestTheFolder:
    def test_tokens(self, lang_of):
        lang = lang_of("--silence", "SIL")
        names = ["<blk>", "<sos/eos>", "<unk>", "SIL", "a", "b", "e", "h", "i", "r", "t", "#0", "#1", "#2", "#3"]
        assert lang.tokens == {name: number for number, name in enumerate(names)}
        assert lang.units == names[:11] and lang.first_disambiguation == 11

    def test_words(self, lang_of):
        lang = lang_of()
        assert lang.word_names == ["<eps>", "A", "AB", "B", "READ", "RED", "THE", "#0", "<s>", "</s>"]

    def test_what_it_is_made_of(self, lang_of):
        assert lang_of("--silence", "SIL", "--oov", "RED", "--silence-probability", "0.2").about == {
            "kind": "phone",
            "units": 11,
            "special": {"<blk>": 0, "<sos/eos>": 1, "<unk>": 2},
            "silence": {"token": "SIL", "probability": 0.2},
            "oov": "RED",
            "normaliser": {"name": "plain", "version": 1},
        }

    def test_lexicon_with_and_without_marks(self, lang_of, tmp_path):
        lang_of()
        assert (tmp_path / "lang" / "lexicon.txt").read_text() == LEXICON.replace("(2)", "")
        assert (tmp_path / "lang" / "lexicon_disambig.txt").read_text() == (
            "A a #1\nAB a b\nB b\nRED r #1\nREAD r #2\nTHE t h e\nTHE t h i\n"
        )

    @pytest.mark.parametrize("silence", [None, "SIL"])
    def test_both_graphs_are_those_of_the_lexicons(self, lang_of, tmp_path, silence):
        lang = lang_of(*(["--silence", silence] if silence else []))
        pause = {"silence": silence, "silence_probability": 0.5}
        mark = {"silence_disambiguation": "#3" if silence else None, "backoff_loop": True}
        for name, graph, more in (("lexicon", "L", {}), ("lexicon_disambig", "L_disambig", mark)):
            entries = read_lexicon(lang.folder / f"{name}.txt", literal=True)
            expected = lexicon_graph(entries, lang.tokens, lang.words, **pause, **more)
            found = arcs.load(lang.folder / f"{graph}.safetensors")
            assert (found.arcs == expected.arcs).all() and (found.aux == expected.aux).all()
            assert (found.scores == expected.scores).all()

    def test_words_as_units(self, lang_of):
        lang = lang_of("--kind", "word", texts=["B A", "A F(2)"])
        assert lang.units[3:] == ["A", "B", "F(2)"]
        assert lang.decode(lang.encode("F(2) B A A")) == ["F(2)", "B", "A", "A"]

    def test_every_word_can_be_recognised(self, lang_of):
        lang = lang_of(lexicon=LEXICON)
        graph = arcs.load(lang.folder / "L.safetensors")
        assert {lang.words[word] for word in ("A", "AB", "B", "RED", "READ", "THE")} == set(graph.aux[graph.aux > 0])

    def test_byte_order_mark_and_carriage_returns(self, lang_of):
        assert lang_of(lexicon=b"\xef\xbb\xbfA a\r\nB b\r\n", texts=["A B"]).units[3:] == ["a", "b"]

    def test_words_are_normalised_and_tokens_are_not(self, lang_of):
        lang = lang_of("--normaliser", "upper", "--oov", "spn", lexicon="yes y ə\nno n o\nspn s\n", texts=["Yes nO"])
        assert lang.word_names[1:4] == ["NO", "SPN", "YES"] and lang.units[3:] == ["n", "o", "s", "y", "ə"]
        assert lang.about["oov"] == "SPN" and lang.encode("unheard") == lang.encode("SPN")
        assert lang.decode(lang.encode("YES NO")) == ["YES", "NO"]

    def test_words_that_become_the_same_keep_their_pronunciations_once(self, lang_of):
        lang = lang_of("--normaliser", "lower", lexicon="The t h e\nthe t h e\nTHE t h i\n")
        assert read_lexicon(lang.folder / "lexicon.txt") == [("the", ["t", "h", "e"]), ("the", ["t", "h", "i"])]

    def test_composed_and_decomposed_characters_are_one_word(self, lang_of):
        lang = lang_of(lexicon="e\u0301tude e t u d\n", texts=["\u00e9tude", "e\u0301tude\u200b"])
        assert lang.word_names[1] == "\u00e9tude"

    def test_words_as_units_are_normalised(self, lang_of):
        assert lang_of("--kind", "word", "--normaliser", "lower", texts=["Yes YES no"]).units[3:] == ["no", "yes"]

    def test_the_second_run_is_up_to_date(self, prepare):
        prepare()
        assert "up to date" in prepare()
        assert "again, because: input lexicon changed" in prepare(lexicon="A a\n")

    def test_counts(self, prepare):
        assert "units 7, words 6, pronunciations 7" in prepare()


class TestMistakes:
    def test_a_word_that_the_lexicon_lacks(self, prepare):
        said = prepare(texts=["A NEW", "NEW NEWER A"], code=1)
        assert "lacks 2 words of the transcripts, NEW (2x), NEWER (1x); add them, or say with --oov" in said

    def test_a_word_stands_for_those_that_the_lexicon_lacks(self, prepare, tmp_path):
        assert "become RED: NEW (1x)" in prepare("--oov", "RED", texts=["A NEW"])
        lang = Lang.read(tmp_path / "lang")
        assert lang.encode("A NEW") == lang.encode("A RED")
        assert lang.outside("A NEW") == []

    @pytest.mark.parametrize("kind", ["phone", "word"])
    def test_the_word_for_others_must_be_there_itself(self, prepare, kind):
        assert "--oov UNK: " in prepare("--kind", kind, "--oov", "UNK", texts=["A"], code=1)

    @pytest.mark.parametrize("token", ["<blk>", "<sos/eos>", "<unk>", "#0", "#x"])
    def test_reserved_tokens(self, prepare, token):
        said = prepare(lexicon=f"A a\nB {token}\n", code=1)
        assert f"lexicon: the token {token!r} of 'B' has a reserved name" in said

    @pytest.mark.parametrize("word", ["<eps>", "<s>", "</s>", "#0", "#1"])
    def test_reserved_words(self, prepare, word):
        assert f"lexicon: the word {word!r} has a reserved name" in prepare(lexicon=f"A a\n{word} b\n", code=1)

    def test_reserved_words_as_units(self, prepare):
        assert "the transcripts: the token '<unk>'" in prepare("--kind", "word", texts=["A <unk>"], code=1)

    @pytest.mark.parametrize("silence", ["#1", "<blk>", "S I", " "])
    def test_reserved_silence(self, prepare, silence):
        assert f"--silence {silence!r}" in prepare("--silence", silence, code=2)

    def test_a_boundary_where_words_are_not_spelled(self, prepare):
        assert "--boundary goes with --kind char" in prepare("--boundary", "_", code=2)

    def test_an_empty_lexicon(self, prepare):
        assert "the lexicon is empty" in prepare(lexicon="\n", code=1)

    def test_no_words(self, prepare):
        assert "no words in --cuts" in prepare("--kind", "word", code=1)

    def test_phones_without_a_lexicon(self, run_step, tmp_path):
        assert "needs --lexicon" in run_step("prepare_lang", tmp_path, "--out", "lang", code=2)

    def test_a_word_of_which_nothing_is_seen_is_left_out_and_said(self, prepare):
        said = prepare(lexicon="A a\n\u200b b\n")
        assert "1 words are none in text normalised as plain, and left out: '\\u200b'" in said and "words 1" in said

    def test_a_lexicon_of_which_nothing_is_seen(self, prepare):
        assert "no word is left when normalised as plain" in prepare(lexicon="\u200b b\n", code=1)

    def test_a_word_that_becomes_a_reserved_one(self, prepare):
        assert "the word '<s>' has a reserved name" in prepare("--normaliser", "lower", lexicon="<S> a\n", code=1)

    def test_an_unknown_normaliser(self, prepare, tmp_path):
        assert "did you mean 'upper'" in prepare("--normaliser", "uper", code=2)
        assert not (tmp_path / "lang" / "tokens.txt").exists()

    def test_a_lexicon_that_is_not_there(self, run_step, tmp_path):
        said = run_step("prepare_lang", tmp_path, "--lexicon", "gone", "--out", "lang", code=1)
        assert "--lexicon gone: not there" in said


class TestReadingTheFolder:
    def test_no_lang_folder(self, tmp_path):
        with pytest.raises(EgretError, match=r"made by steps/prepare_lang.py \(stage 2\)"):
            Lang.read(tmp_path / "lang")

    def test_a_damaged_table(self, prepare, tmp_path):
        prepare()
        (tmp_path / "lang" / "tokens.txt").write_text("<blk> 0\na 2\n")
        with pytest.raises(EgretError, match=r"tokens.txt:2"):
            Lang.read(tmp_path / "lang")


def handmade(folder, lexicon, silence=None):
    """A lang folder without the step, for many small lexicons."""
    tokens = sorted({token for line in lexicon.splitlines() for token in line.split()[1:]} | ({silence} - {None}))
    names = ["<blk>", "<sos/eos>", "<unk>", *tokens, "#0"]
    write_text(folder / "tokens.txt", "".join(f"{name} {number}\n" for number, name in enumerate(names)))
    write_text(folder / "words.txt", "<eps> 0\n")
    write_text(folder / "lexicon.txt", lexicon)
    about = {"kind": "phone", "oov": "", "silence": {"token": silence} if silence else None}
    write_text(folder / "unit.json", json.dumps(about))
    return Lang.read(folder)


class TestWordsAndTokens:
    def test_the_first_pronunciation_is_trained_with(self, lang_of):
        lang = lang_of()
        assert [lang.units[token] for token in lang.encode("THE A")] == ["t", "h", "e", "a"]

    def test_a_word_that_the_lexicon_lacks(self, lang_of):
        lang = lang_of()
        assert lang.outside("A NEW B NEW") == ["NEW", "NEW"]
        with pytest.raises(EgretError, match=r"lexicon.txt lacks NEW; add them, or map"):
            lang.encode("A NEW B NEW")

    def test_no_words_no_tokens(self, lang_of):
        lang = lang_of()
        assert lang.encode("") == [] and lang.decode([]) == []

    def test_round_trip(self, lang_of):
        lang = lang_of(lexicon="NO n o\nYES y e s\nON o n e\n")
        rng = random.Random(1)
        for _ in range(50):
            words = [rng.choice(["NO", "YES", "ON"]) for _ in range(rng.randint(0, 6))]
            assert lang.decode(lang.encode(" ".join(words))) == words

    def test_every_pronunciation_is_recognised(self, lang_of):
        lang = lang_of()
        assert lang.decode([lang.tokens[name] for name in ["t", "h", "i", "b"]]) == ["THE", "B"]

    def test_of_homophones_the_first_in_the_lexicon(self, lang_of):
        lang = lang_of()
        assert lang.decode(lang.encode("READ")) == ["RED"]

    def test_silence_and_special_tokens_are_no_words(self, lang_of):
        lang = lang_of("--silence", "SIL")
        names = ["SIL", "a", "b", "<blk>", "<unk>", "SIL", "SIL", "r", "<sos/eos>"]
        assert lang.decode([lang.tokens[name] for name in names]) == ["AB", "RED"]

    def test_no_word_goes_on_across_silence(self, lang_of):
        lang = lang_of("--silence", "SIL")
        assert lang.decode([lang.tokens[name] for name in ["a", "b"]]) == ["AB"]
        assert lang.decode([lang.tokens[name] for name in ["a", "SIL", "b"]]) == ["A", "B"]

    def test_tokens_that_are_no_word_are_left_out(self, lang_of):
        lang = lang_of()
        assert lang.decode([lang.tokens[name] for name in ["t", "a", "e", "r", "h"]]) == ["A", "RED"]

    def test_two_words_rather_than_three_though_the_last_is_shorter(self, tmp_path):
        lang = handmade(tmp_path, "A a\nB b\nCDE c d e\nABC a b c\nDE d e\n")
        assert lang.decode([lang.tokens[name] for name in "abcde"]) == ["ABC", "DE"]

    def test_the_cut_into_words_is_the_least(self, tmp_path):
        """Fewest tokens left over, then fewest words: against every possible cut."""
        rng = random.Random(2)
        for number in range(25):
            prons = sorted({"".join(rng.choice("abc") for _ in range(rng.randint(1, 4))) for _ in range(5)})
            lang = handmade(tmp_path / str(number), "".join(f"{pron.upper()} {' '.join(pron)}\n" for pron in prons))
            for _ in range(10):
                text = [rng.choice(lang.units[3:]) for _ in range(rng.randint(0, 8))]
                found = lang.decode([lang.tokens[name] for name in text])
                assert (len(text) - sum(map(len, found)), len(found)) == self.least("".join(text), prons), text
                rest = iter("".join(text).upper())
                assert all(letter in rest for letter in "".join(found))  # in their order

    @staticmethod
    def least(text, prons):
        """(tokens left over, words), the smallest over all ways to cut."""
        found = []
        for cuts in itertools.product([False, True], repeat=max(0, len(text) - 1)):
            edges = [0, *(place + 1 for place, cut_here in enumerate(cuts) if cut_here), len(text)]
            pieces = [text[first:last] for first, last in itertools.pairwise(edges)]
            known = [piece for piece in pieces if piece in prons]
            found.append((len(text) - sum(map(len, known)), len(known)))
        return min(found)


def test_the_tables_agree_with_unit_json(prepare, tmp_path):
    prepare("--silence", "SIL")
    about = read_json(tmp_path / "lang" / "unit.json")
    tokens = read_symbols(tmp_path / "lang" / "tokens.txt")
    assert about["units"] == sum(not name.startswith("#") for name in tokens)
