"""Units of Chinese: characters with Latin words in pieces, syllables, and what the corpus says was spoken."""

import json

import numpy as np
import pytest

from egret.base.errors import EgretError
from egret.base.files import write_jsonl
from egret.corpus.cuts import spoken_of, write_cuts
from egret.graph.viterbi import align
from egret.lang.lang import Lang
from egret.lang.lexicon import disambiguate
from egret.lang.spelling import single
from egret.lang.transcript import Transcripts
from egret.models.losses import make_loss
from egret.report.utterances import Listener
from egret.training.data import Corpus
from exhaustive import alignments
from folders import random_log_probs, transcribed
from test_losses import log_sum
from tiny import make_features

SYLLABLES = "今天 jin1 tian1\n今 jin1\n金 jin1\n天 tian1\n行 xing2\n行 hang2\n银行 yin2 hang2\n"


def cut(number, text, **custom):
    supervision = {"id": "s", "start": 0.0, "text": text, **({"custom": custom} if custom else {})}
    return {"id": str(number), "supervisions": [supervision]}


@pytest.fixture
def lang_of(tmp_path, run_step):
    """Run the step on cuts and a lexicon; returns the folder as read."""

    def make(*words, cuts=(), lexicon="", code=0):
        arguments = ["--normaliser", "mandarin", "--out", "lang", *words]
        if cuts:
            write_cuts(tmp_path / "cuts.jsonl", cuts)
            arguments += ["--cuts", "cuts.jsonl"]
        if lexicon:
            (tmp_path / "lexicon").write_text(lexicon)
            arguments += ["--lexicon", "lexicon"]
        make.said = run_step("prepare_lang", tmp_path, *arguments, code=code)
        return Lang.read(tmp_path / "lang") if code == 0 else make.said

    return make


def names(lang: Lang, tokens: list[int]) -> str:
    return " ".join(lang.units[token] for token in tokens)


class TestCharacters:
    CHAR = ("--kind", "char", "--boundary", "")

    def test_words_of_several_characters_stay_whole_and_single_ones_are_added(self, lang_of):
        lang = lang_of(*self.CHAR, cuts=[cut(0, "今天天气")], lexicon="今天\n天气\n")
        assert lang.word_names[1:-3] == sorted(["今天", "天气", "今", "天", "气"])

    def test_every_transcript_can_be_spelled_in_words_of_the_lexicon(self, lang_of):
        lang = lang_of(*self.CHAR, cuts=[cut(0, "看DVD吧")], lexicon="今天\n")
        assert {"看", "DVD", "吧"} <= lang.words.keys()

    def test_words_with_characters_that_no_transcript_has_are_left_out_and_said(self, lang_of):
        lang = lang_of(*self.CHAR, cuts=[cut(0, "今天")], lexicon="今天\n明天\n")
        assert lang.units[3:] == sorted("今天") and "left out: 明天" in lang_of.said

    def test_without_transcripts_the_characters_are_those_of_the_lexicon(self, lang_of):
        assert lang_of(*self.CHAR, lexicon="今天\n明天\n").units[3:] == sorted("今天明")

    def test_without_a_lexicon_the_words_are_the_characters(self, lang_of):
        assert lang_of(*self.CHAR, cuts=[cut(0, "今天")]).word_names[1:-3] == sorted("今天")

    def test_words_are_cut_into_characters_and_latin_stretches(self):
        assert single("A股是T-SHIRT吗") == ["A", "股", "是", "T-SHIRT", "吗"]


class TestLatinPieces:
    CUTS = [cut(0, "我看DVD和VCD"), cut(1, "HELLO你好 HELP")]
    MIXED = ("--kind", "char", "--boundary", "", "--latin-bpe", "12")

    def test_units_are_characters_and_so_many_pieces(self, lang_of):
        lang = lang_of(*self.MIXED, cuts=self.CUTS)
        han = [name for name in lang.units[3:] if ord(name[-1]) > 0x3000]
        assert sorted(han) == sorted("我看和你好") and len(lang.units) == 3 + 5 + 12

    def test_latin_words_are_cut_into_pieces_and_others_into_characters(self, lang_of):
        lang = lang_of(*self.MIXED, cuts=self.CUTS)
        spelled = names(lang, lang.encode("我 看 DVD"))
        assert spelled.startswith("我 看 ▁") and spelled.replace(" ", "") == "我看▁DVD"

    @pytest.mark.parametrize("text", ["我 看 DVD", "HELLO HELP 你 好", "VCD DVD", "好 HELD 我", "你"])
    def test_round_trip(self, lang_of, text):
        lang = lang_of(*self.MIXED, cuts=self.CUTS)
        assert lang.decode(lang.encode(text)) == text.split()

    def test_a_piece_after_a_character_begins_a_word_though_it_does_not_say_so(self, lang_of):
        lang = lang_of(*self.MIXED, cuts=self.CUTS)
        assert lang.decode([lang.tokens[name] for name in ["D", "我", "L", "<unk>", "▁", "P", "D"]]) == [
            "D",
            "我",
            "L",
            "PD",
        ]

    def test_strange_letters_and_characters_are_outside(self, lang_of):
        lang = lang_of(*self.MIXED, cuts=self.CUTS)
        assert lang.outside("我 ZOO 他 ▁") == ["ZOO", "他", "▁"]

    def test_no_latin_words_to_learn_from(self, lang_of):
        said = lang_of(*self.MIXED, cuts=[cut(0, "你好")], code=1)
        assert "--latin-bpe 12: no Latin words in --cuts and --text" in said

    def test_a_model_of_an_earlier_run_does_not_stay(self, lang_of, tmp_path):
        lang_of(*self.MIXED, cuts=self.CUTS)
        lang_of("--kind", "char", cuts=self.CUTS)
        assert not (tmp_path / "lang/bpe.model").exists()

    def test_too_many_pieces(self, lang_of):
        said = lang_of(*self.MIXED[:-1], "500", cuts=self.CUTS, code=2)
        assert "--latin-bpe 500: the text is too small for so many pieces; the largest possible is" in said

    @pytest.mark.parametrize("words", [["--kind", "char"], ["--kind", "bpe"]])
    def test_only_where_there_is_no_boundary(self, lang_of, words):
        said = lang_of(*words, "--latin-bpe", "9", cuts=self.CUTS, code=2)
        assert '--latin-bpe goes with --kind char --boundary ""' in said


class TestSyllables:
    SYLLABLE = ("--kind", "syllable")

    def test_words_of_several_characters_stay_whole(self, lang_of):
        lang = lang_of(*self.SYLLABLE, lexicon=SYLLABLES)
        assert {"今天", "银行", "金"} <= lang.words.keys()
        assert lang.units[3:] == ["hang2", "jin1", "tian1", "xing2", "yin2"]

    def test_the_first_reading_is_trained_with(self, lang_of):
        lang = lang_of(*self.SYLLABLE, lexicon=SYLLABLES)
        assert names(lang, lang.encode("今 天 行")) == "jin1 tian1 xing2"

    def test_syllables_are_words_of_the_lexicon_of_homophones_the_first(self, lang_of):
        lang = lang_of(*self.SYLLABLE, lexicon=SYLLABLES)
        assert lang.decode([lang.tokens[name] for name in ["jin1", "jin1", "tian1", "hang2"]]) == ["今", "今天", "行"]

    def test_syllables_without_their_tones_are_counted(self, lang_of):
        lang_of(*self.SYLLABLE, lexicon="妈 ma1\n马 ma3\n绿 lv4\n")
        assert "units 3" in lang_of.said and "without_tones 2" in lang_of.said

    def test_a_hundred_homophones_are_told_apart(self):
        marked, used = disambiguate([(chr(0x4E00 + number), ["yi4"]) for number in range(100)])
        assert used == 100 and len({tuple(tokens) for _, tokens in marked}) == 100

    def test_without_a_lexicon(self, lang_of):
        said = lang_of(*self.SYLLABLE, cuts=[cut(0, "今")], code=2)
        assert "--kind syllable needs --lexicon, a dictionary of `word syllable syllable ...`" in said


class TestSpoken:
    """What the corpus says was spoken goes before the lexicon."""

    SPOKEN = ("--kind", "syllable", "--spoken", "syllables", "--silence", "SIL", "--silence-probability", "0.3")

    @pytest.fixture
    def lang(self, lang_of):
        return lang_of(*self.SPOKEN, cuts=[cut(0, "行", syllables="hang2")], lexicon=SYLLABLES)

    def test_it_is_what_is_trained_on(self, lang):
        assert names(lang, lang.encode("今 行", "jin1 hang2")) == "jin1 hang2"

    def test_where_it_is_not_said_the_lexicon_says(self, lang):
        assert names(lang, lang.encode("今 行", "")) == "jin1 xing2"

    def test_unit_json_names_the_field(self, lang):
        assert lang.spoken == "syllables"

    def test_units_outside_are_named(self, lang):
        assert lang.outside("今 行", "jin1 hang9 #0 <blk>") == ["hang9", "#0", "<blk>"]
        with pytest.raises(EgretError, match=r"tokens.txt lacks the units hang9 of the field 'syllables'"):
            lang.encode("行", "hang9")

    def test_words_need_not_be_in_the_lexicon(self, lang):
        assert lang.outside("龘", "jin1") == [] and lang.outside("龘") == ["龘"]

    def test_silence_may_stand_between_syllables(self, lang):
        jin, hang, silence = (lang.tokens[name] for name in ("jin1", "hang2", "SIL"))
        pause = [[], [silence]]
        assert Transcripts(lang).slots("今 行", "jin1 hang2") == [pause, [[jin]], pause, [[hang]], pause]

    def test_of_phones_silence_may_stand_at_the_edges_only(self, lang_of):
        lang = lang_of("--kind", "phone", *self.SPOKEN[2:], lexicon="今 j in1\n")
        phones, pause = [lang.tokens["j"], lang.tokens["in1"]], [[], [lang.tokens["SIL"]]]
        assert Transcripts(lang).slots("今", "j in1") == [pause, [phones], pause]

    def test_without_silence_it_is_a_plain_row(self, lang_of):
        lang = lang_of(*self.SPOKEN[:4], lexicon=SYLLABLES)
        assert Transcripts(lang).slots("今", "jin1 hang2") == [[[lang.tokens[name]]] for name in ("jin1", "hang2")]

    def test_it_is_aligned(self, lang):
        spoken = ["SIL", "jin1", "hang2"]
        log_probs = np.log(np.full((3, len(lang.units)), 0.01))
        log_probs[range(3), [lang.tokens[name] for name in spoken]] = np.log(0.9)
        found = align(log_probs, Transcripts(lang).slots("今 行", "jin1 hang2"))
        assert [lang.units[span.token] for span in found.spans] == spoken

    def test_the_report_aligns_it(self, lang):
        log_probs = random_log_probs(1, [4], lang)[0][0].numpy()
        found = Listener(None, lang).reference(log_probs, cut(0, "行", syllables="jin1"), "行")
        assert lang.tokens["jin1"] in [span.token for span in found.spans]

    @pytest.mark.k2
    def test_graph_ctc_is_the_sum_over_silences_between_what_was_spoken(self, k2, lang):
        log_probs, lengths = random_log_probs(1, [4], lang)
        jin, hang, silence = (lang.tokens[name] for name in ("jin1", "hang2", "SIL"))
        ways = alignments(log_probs[0].tolist(), [jin, hang, silence])
        terms = []
        for pauses in np.ndindex(2, 2, 2):
            first, middle, last = ([silence] * pause for pause in pauses)
            weight = sum(np.log(0.3 if pause else 0.7) for pause in pauses)
            terms += [score + weight for score in ways.get((*first, jin, *middle, hang, *last), [])]
        loss = make_loss("ctc_graph", lang)(log_probs, lengths, transcribed(lang, ["今 行"], ["jin1 hang2"]))
        assert loss.item() == pytest.approx(-log_sum(terms), abs=1e-3)

    def test_units_that_no_pronunciation_has_are_said(self, lang_of):
        cuts = [cut(0, "行", syllables="hang2 heng2"), cut(1, "行", syllables="heng2")]
        lang_of(*self.SPOKEN, cuts=cuts, lexicon=SYLLABLES)
        assert "1 spoken units (syllables) are in no pronunciation of lexicon; " in lang_of.said
        assert "heng2 (2x)" in lang_of.said

    def test_a_field_that_no_cut_has(self, lang_of):
        said = lang_of(*self.SPOKEN, cuts=[cut(0, "行")], lexicon=SYLLABLES, code=1)
        assert "--spoken syllables: no supervision of --cuts has such a field" in said

    def test_only_with_units_that_are_pronounced(self, lang_of):
        said = lang_of("--kind", "char", "--spoken", "x", cuts=[cut(0, "行")], code=2)
        assert "--spoken goes with phone and syllable, not with --kind char" in said

    def test_the_field_of_several_supervisions(self):
        early = {"start": 0, "text": "x", "custom": {"phones": "a"}}
        late = {"start": 1, "text": "x", "custom": {"phones": "b"}}
        assert spoken_of({"supervisions": [late, early]}, "phones") == "a b"
        assert spoken_of({"supervisions": [late, {"start": 0, "text": "x"}]}, "phones") == ""
        assert spoken_of({"supervisions": [late]}, "") == ""

    def test_a_field_that_is_no_text(self, lang_of):
        said = lang_of(*self.SPOKEN, cuts=[cut(0, "行", syllables=["xing2"])], lexicon=SYLLABLES, code=1)
        assert "custom field 'syllables' of its supervision is no text but ['xing2']" in said


def test_training_takes_what_was_spoken_and_rejects_what_is_no_unit(lang_of, run_step, tmp_path):
    lang_of("--kind", "syllable", "--spoken", "syllables", lexicon="one a1\none b1\ntwo c1\nthree d1\n")
    unit = tmp_path / "lang/unit.json"
    unit.write_text(unit.read_text().replace("mandarin", "upper"))
    manifest = make_features(tmp_path / "fbank", "train", 20, seed=1)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    for row in rows:
        row["supervisions"][0]["custom"] = {"syllables": "b1 c1"}
    rows[3]["supervisions"][0]["custom"] = {"syllables": "b1 z9"}
    rows[4]["supervisions"][0]["custom"] = {"other": "z9"}
    write_jsonl(manifest, rows)
    said = run_step(
        "train", tmp_path, "--cuts", "fbank/train.jsonl", "--stats", "fbank/train.stats.safetensors", "--lang", "lang",
        "--out", "exp", "--epochs", "1", "--threads", "1", "--model.tdnn.dim", "8",
    )  # fmt: skip
    rejected = (tmp_path / "exp/rejected_train.jsonl").read_text()
    assert "20 utterances in, 19 used" in said
    assert json.loads(rejected) == {"id": "train-003", "reason": "text outside the units", "detail": "z9"}
    corpus = Corpus([manifest], Lang.read(tmp_path / "lang"), int, tmp_path / "r.jsonl", 9.0)
    batch = corpus.load([0, 3])
    assert batch.ids == ["train-000", "train-004"] and batch.spoken == ["b1 c1", ""]
    assert batch.targets == [corpus.lang.encode("", "b1 c1"), corpus.lang.encode(batch.texts[1])]


@pytest.mark.k2
def test_many_units_can_be_trained_with_graph_ctc(k2, tmp_path, run_step):
    """As many as there are characters in a corpus of Mandarin; the standard topology would have 18 million arcs."""
    words = [chr(0x4E00 + number) for number in range(4300)]
    write_cuts(tmp_path / "cuts.jsonl", [cut(0, " ".join(words))])
    arguments = ["--kind", "char", "--boundary", "", "--cuts", "cuts.jsonl", "--out", "lang"]
    run_step("prepare_lang", tmp_path, *arguments)
    lang = Lang.read(tmp_path / "lang")
    log_probs, lengths = random_log_probs(1, [60, 50], lang)
    batch = transcribed(lang, [" ".join(words[:20]), " ".join(words[1000:1010])])
    plain = make_loss("ctc", lang)(log_probs, lengths, batch).item()
    for topology in ("auto", "standard"):  # no character stands beside itself
        graph = make_loss("ctc_graph", lang, topology)(log_probs, lengths, batch).item()
        assert graph == pytest.approx(plain, rel=1e-4)
