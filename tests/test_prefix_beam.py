"""CTC prefix beam search against trying everything: alignments, n-gram models at word ends, hot words, padding."""

import itertools
import random
import re

import pytest
import torch

from egret.base.errors import EgretError, UsageError
from egret.base.files import read_json, read_jsonl
from egret.corpus.cuts import write_cuts
from egret.decoding.fusion import Fusion, Words
from egret.decoding.hot_words import HotWords, read_hot_words
from egret.decoding.options import METHODS, PrefixOptions
from egret.decoding.prefix_beam import prefix_beam
from egret.decoding.prefix_scores import PrefixScores
from egret.decoding.prefix_search import read_model
from egret.decoding.word_ends import NOTHING, Unit, word_units
from egret.lang.lang import Lang
from egret.models.greedy import ctc_greedy
from exhaustive import Ngram, alignments, random_ngram
from folders import make_cuts, make_experiment, make_lang, random_log_probs
from graphs import LEXICON, make_graph

ALL = 1000.0  # a beam for tokens that leaves none out


@pytest.fixture
def phones(tmp_path) -> Lang:
    return make_lang(tmp_path / "phones", [("a", ["x"]), ("b", ["y", "z"])])


@pytest.fixture
def spelled(tmp_path, run_step):
    """A lang folder of characters or pieces by steps/prepare_lang.py."""

    def make(*words: str, text: str = "AB A") -> Lang:
        write_cuts(tmp_path / "cuts.jsonl", [{"id": "c", "start": 0.0, "duration": 1.0, "channel": 0, "supervisions":
                   [{"id": "s", "recording_id": "r", "start": 0.0, "duration": 1.0, "text": text}]}])  # fmt: skip
        run_step("prepare_lang", tmp_path, *words, "--cuts", "cuts.jsonl", "--out", "spelled")
        return Lang.read(tmp_path / "spelled")

    return make


CHARACTERS = ("--kind", "char", "--normaliser", "plain")


def every(log_probs: torch.Tensor, tokens: list[int]) -> dict[tuple[int, ...], float]:
    """The logarithm of the probability of every transcript of one utterance [T, V]."""
    found = alignments(log_probs.double().tolist(), tokens)
    return {spoken: float(torch.logsumexp(torch.tensor(scores, dtype=torch.float64), 0))
            for spoken, scores in found.items()}  # fmt: skip


def expect(found, wanted: dict[tuple[int, ...], float], best: int = 20) -> None:
    """The best transcripts and their scores are those of the table."""
    best = min(best, len(wanted))
    ranked = sorted(wanted.items(), key=lambda item: -item[1])[:best]
    assert [each.tokens for each in found[:best]] == [list(spoken) for spoken, _ in ranked]
    assert [each.score for each in found[:best]] == pytest.approx([score for _, score in ranked], abs=1e-4)


# CTC alone


@pytest.mark.parametrize("seed", range(3))
def test_a_wide_beam_gives_every_transcript_the_sum_over_its_alignments(phones, seed):
    log_probs, lengths = random_log_probs(seed, [4], phones)
    tokens = list(range(1, len(phones.units)))
    [found] = prefix_beam(log_probs, lengths, 900, len(tokens), ALL)
    wanted = every(log_probs[0], tokens)
    assert len(found) == len(wanted)
    expect(found, wanted, len(wanted))


def test_a_transcript_that_comes_back_to_a_beam_is_not_there_twice(phones):
    for seed in range(30):
        log_probs, lengths = random_log_probs(seed, [12, 9], phones, spread=0.5)
        for found in prefix_beam(log_probs, lengths, 4, 3, ALL):
            assert len({tuple(each.tokens) for each in found}) == len(found)


def test_no_transcript_gets_more_than_its_alignments_have(phones):
    for seed in range(8):
        log_probs, lengths = random_log_probs(seed, [4], phones, spread=0.7)
        wanted = every(log_probs[0], list(range(1, len(phones.units))))
        [found] = prefix_beam(log_probs, lengths, 3, 2, ALL)
        assert all(each.score <= wanted[tuple(each.tokens)] + 1e-9 for each in found)


def test_it_is_at_least_as_probable_as_the_best_path(phones):
    log_probs, lengths = random_log_probs(5, [40, 33, 21, 8], phones, spread=1.0)
    for found, (_, score) in zip(prefix_beam(log_probs, lengths, 16, 20, ALL), ctc_greedy(log_probs, lengths),
                                 strict=True):  # fmt: skip
        assert found[0].score >= score


@pytest.mark.parametrize("token_beam", [ALL, 2.0])
def test_an_utterance_alone_and_in_a_padded_batch_gives_the_same(phones, token_beam):
    lengths = [30, 1, 17, 30, 22]
    log_probs, _ = random_log_probs(2, lengths, phones)
    together = prefix_beam(log_probs, torch.tensor(lengths), 6, 4, token_beam)
    for row, length in enumerate(lengths):
        [alone] = prefix_beam(log_probs[row : row + 1, :length], torch.tensor([length]), 6, 4, token_beam)
        assert [(each.tokens, each.score) for each in alone] == [
            (each.tokens, pytest.approx(each.score)) for each in together[row]
        ]


def test_tokens_below_the_threshold_are_no_part_of_a_transcript(phones):
    log_probs = torch.tensor([[[0.6, 1e-9, 1e-9, 0.3, 0.1, 1e-9]]]).log()
    tokens = {tuple(each.tokens) for each in prefix_beam(log_probs, torch.tensor([1]), 9, 5, 1.0)[0]}
    assert tokens == {(), (3,)}


def test_no_more_tokens_are_tried_than_asked_for(phones):
    log_probs, lengths = random_log_probs(3, [1], phones)
    assert len(prefix_beam(log_probs, lengths, 9, 2, ALL)[0]) == 3  # and none


# Words


def strict(ngram: Ngram, words: list[str]) -> float:
    """A model's score of a sentence where a listed bigram is always taken."""
    pairs = zip(["<s>", *words], [*words, "</s>"], strict=True)
    return sum(
        ngram.bigrams[pair] if pair in ngram.bigrams else ngram.backoffs.get(pair[0], 0.0) + ngram.unigrams[pair[1]]
        for pair in pairs
    )


def ngram_of(lang: Lang, tokens: list[int], frames: int, folder):
    """A random model of all words that so many tokens can make, as numbers and as KenLM has it."""
    pytest.importorskip("kenlm")
    words = sorted({word for count in range(1, frames + 1) for row in itertools.product(tokens, repeat=count)
                    for word in lang.decode(list(row))})  # fmt: skip
    ngram = random_ngram(random.Random(3), words, 2)
    return ngram, read_model(ngram.write(folder / "lm.arpa"), words)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (CHARACTERS, "AB A"),
        ((*CHARACTERS, "--boundary", ""), "AB A"),
        (("--kind", "bpe", "--vocab-size", "5"), "AB A BA AB AB"),
    ],
    ids=["characters", "characters that are words", "pieces"],
)
def test_with_an_ngram_model_it_is_what_trying_everything_finds(spelled, tmp_path, words, text):
    lang = spelled(*words, text=text)
    frames, tokens = 4, list(range(3, len(lang.units)))
    ngram, model = ngram_of(lang, tokens, frames, tmp_path)
    log_probs, lengths = random_log_probs(1, [frames], lang)
    log_probs[:, :, 1:3] = -50.0
    scale, word_score = 0.7, -0.4
    wanted = {}
    for spoken, score in every(log_probs[0], tokens).items():
        said = lang.decode(list(spoken))
        wanted[spoken] = score + scale * strict(ngram, said) + word_score * len(said)
    fusion = Fusion([Words(word_units(lang), model, scale, word_score)], len(lang.units))
    [found] = prefix_beam(log_probs, lengths, 500, 9, ALL, fusion)
    expect(found, wanted)


@pytest.mark.parametrize("scorers", [(True, False), (False, True), (True, True)])
def test_in_a_narrow_beam_nothing_that_would_be_in_it_is_given_up_early(spelled, tmp_path, scorers):
    lang = spelled(*CHARACTERS)
    (tmp_path / "hot").write_text("AB A 3\nB -2\nA B 2\nA BA A 9\n")
    both = [read_hot_words(tmp_path / "hot", lang), Words(word_units(lang), None, 0.0, 2.5)]
    units = len(lang.units)

    def search(seed: int, most: torch.Tensor | None) -> list:
        fusion = Fusion([each for each, asked in zip(both, scorers, strict=True) if asked], units)
        fusion.most = fusion.most if most is None else most
        found = prefix_beam(*random_log_probs(seed, [20, 13], lang, spread=0.7), 3, 9, ALL, fusion)
        return [(each.tokens, each.score) for row in found for each in row]

    for seed in range(10):
        assert search(seed, None) == search(seed, torch.full((units,), 1e6))


@pytest.mark.parametrize("units", [True, False])
def test_no_token_adds_more_than_hot_words_say(units):
    rng = random.Random(2)
    spelling = [Unit(False, "", False), Unit(True, "", False), *(Unit(False, name, False) for name in "abc")]
    for _ in range(40):
        phrases = [(rng.choices(range(1, 5), k=rng.randint(1, 4)), rng.uniform(-2, 5)) for _ in range(6)]
        scorer = HotWords([each for each in phrases if set(each[0]) != {1}], spelling if units else None, [0])
        context = scorer.begin()
        for token in rng.choices(range(1, 5), k=100):
            added, context = scorer.step(context, token)
            assert added <= scorer.most(token) + 1e-9


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (CHARACTERS, "AB A"),
        ((*CHARACTERS, "--boundary", ""), "今天 A"),
        ((*CHARACTERS, "--boundary", "", "--latin-bpe", "4"), "今天 AB A BA 天"),
        (("--kind", "bpe", "--vocab-size", "6"), "AB A BA AB AB"),
    ],
)
def test_words_end_where_the_lang_folder_says(spelled, words, text):
    lang = spelled(*words, text=text)

    class Heard(Words):
        def word(self, state, word):
            heard.append(word)
            return 0.0, state

    rng = random.Random(0)
    for _ in range(300):
        row = rng.choices(range(1, len(lang.units)), k=rng.randrange(8))
        heard: list[str] = []
        scorer = Heard(word_units(lang), None, 0.0, 0.0)
        context = scorer.begin()
        for token in row:
            _, context = scorer.step(context, token)
        scorer.end(context)
        assert heard == lang.decode(row)


def test_units_that_are_words_have_word_ends_and_phones_have_none(tmp_path, phones):
    words = make_lang(tmp_path / "words", [("yes", ["Y"]), ("no", ["N"]), ("nope", ["N"])])
    assert [unit.text for unit in word_units(words)][3:] == ["no", "yes"]
    assert word_units(phones) is None


# Hot words


def total(scorer: HotWords, tokens: list[int]) -> float:
    added, context = 0.0, scorer.begin()
    for token in tokens:
        more, context = scorer.step(context, token)
        added += more
    return added + scorer.end(context)


def test_a_transcript_gets_the_score_of_each_phrase_as_often_as_it_is_there(spelled, tmp_path):
    lang = spelled(*CHARACTERS)
    phrases = {"A": 0.5, "A B": 2.0, "AB": 1.5, "BA A": -1.0, "A B A": 4.0}
    (tmp_path / "hot").write_text("".join(f"{phrase}\t{score}\n" for phrase, score in phrases.items()))
    scorer = read_hot_words(tmp_path / "hot", lang)
    for tokens in itertools.product(range(3, len(lang.units)), repeat=7):
        said = lang.decode(list(tokens))
        wanted = sum(score for phrase, score in phrases.items() for start in range(len(said))
                     if said[start : start + len(phrase.split())] == phrase.split())  # fmt: skip
        assert total(scorer, list(tokens)) == pytest.approx(wanted)


def test_with_hot_words_it_is_what_trying_everything_finds(phones, tmp_path):
    (tmp_path / "hot").write_text("a b  1.5\nb 0.7\n")
    scorer = read_hot_words(tmp_path / "hot", phones)
    tokens = list(range(3, len(phones.units)))
    log_probs, lengths = random_log_probs(4, [5], phones)
    log_probs[:, :, 1:3] = -50.0
    x, y, z = (phones.tokens[name] for name in "xyz")
    wanted = {
        spoken: score
        + sum(value for phrase, value in (((x, y, z), 1.5), ((y, z), 0.7)) for start in range(len(spoken))
              if spoken[start : start + len(phrase)] == phrase)
        for spoken, score in every(log_probs[0], tokens).items()
    }  # fmt: skip
    [found] = prefix_beam(log_probs, lengths, 500, 9, ALL, Fusion([scorer], len(phones.units)))
    expect(found, wanted)


def test_a_phrase_that_has_begun_has_a_part_of_its_score(phones):
    scorer = HotWords([([3, 4, 5], 6.0)], None, [])
    first, context = scorer.step(scorer.begin(), 3)
    second, context = scorer.step(context, 4)
    assert (first, second) == (2.0, 2.0) and scorer.step(context, 3)[0] == -2.0 and scorer.end(context) == -4.0


def test_silence_inside_a_phrase_does_not_matter(tmp_path):
    lang = make_lang(tmp_path / "lang", LEXICON, "SIL")
    (tmp_path / "hot").write_text("c be 3\n")
    scorer = read_hot_words(tmp_path / "hot", lang)
    assert total(scorer, [lang.tokens[name] for name in ["z", "z", "SIL", "y"]]) == 3.0


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a\n", "hot: expected `word or phrase  score` with a number below a million as score, found line 1: 'a'"),
        ("a 1\n\na b\nc\n", "hot: expected `word or phrase  score` .* as score, found line 3: 'a b', line 4: 'c'"),
        ("a nan\n", "hot: expected `word or phrase  score`"),
        ("a q 1\nb 2\nq w 3\n", r"hot: .* has no units for q \(lines 1, 3\), w \(line 3\); leave these phrases out"),
        ("a 1\nb 2\na 3\n", "hot:3: the same units as line 1"),
        ("\n", "no phrases in it"),
    ],
)
def test_a_file_of_hot_words_that_has_something_wrong_is_refused(phones, tmp_path, content, says):
    (tmp_path / "hot").write_text(content)
    with pytest.raises(EgretError, match=says):
        read_hot_words(tmp_path / "hot", phones)


# steps/decode.py

BASE = ["--experiment", "exp", "--test-cuts", "feats/test.jsonl", "--out", "out", "--threads", "1"]
PREFIX = [*BASE, "--method", "ctc_prefix_beam"]
TEXTS = ["AB A", "B", "BA B AB", "A", "B A"]


@pytest.fixture
def project(tmp_path, spelled):
    """A model of characters and of phones, an n-gram model, features of dev and test."""
    lang = spelled(*CHARACTERS, text=" ".join(TEXTS))
    make_experiment(tmp_path / "exp", lang)
    random_ngram(random.Random(1), lang.word_names[1:-3], 2).write(tmp_path / "lm.arpa")
    for seed, part in enumerate(("dev", "test")):
        make_cuts(tmp_path / f"feats/{part}.jsonl", TEXTS, [40, 12, 64, 13, 25], seed=seed)
    return tmp_path


def test_the_step_leaves_hypotheses_with_scores_by_source(project, run_step):
    run_step("decode", project, *PREFIX, "--lang", "spelled")
    rows = list(read_jsonl(project / "out/test_ctc_prefix_beam/hyp.jsonl"))
    assert [row["id"] for row in rows] == [f"test-{number}" for number in range(5)]
    assert all(row["score"] == {"total": row["score"]["ctc"], "ctc": row["score"]["ctc"]} for row in rows)


def test_every_scale_is_tried_on_dev_with_every_word_score(project, run_step):
    pytest.importorskip("kenlm")
    said = run_step("decode", project, *PREFIX, "--lang", "spelled", "--dev-cuts", "feats/dev.jsonl", "--prefix.lm",
                    "lm.arpa", "--prefix.lm-scale", "0.5", "1", "--prefix.word-score", "0", "2")  # fmt: skip
    tried = re.findall(r"dev: ctc_prefix_beam, lm_scale ([\d.]+), word_score ([-\d.]+): ", said)
    assert tried == [("0.5", "0"), ("0.5", "2"), ("1", "0"), ("1", "2")]
    params = read_json(project / "out/test_ctc_prefix_beam/params.json")["params"]
    assert params.keys() == {"beam", "tokens", "token_beam", "lm_scale", "word_score"}


def test_another_file_of_hot_words_means_to_decode_again(project, run_step):
    arguments = [*PREFIX, "--lang", "spelled", "--prefix.hot-words", "hot"]
    counts = []
    for score in (-30, 30):
        (project / "hot").write_text(f"AB {score}\n")
        run_step("decode", project, *arguments)
        rows = read_jsonl(project / "out/test_ctc_prefix_beam/hyp.jsonl")
        counts.append(sum(row["words"].count("AB") for row in rows))
    assert counts[0] == 0 < counts[1]


@pytest.mark.parametrize("words", [["--prefix.lm", "lm.arpa"], ["--prefix.word-score", "1"]])
def test_words_of_phones_are_not_scored(project, run_step, words):
    make_experiment(project / "exp", make_lang(project / "lang", LEXICON))
    said = run_step("decode", project, *PREFIX, "--lang", "lang", *words, code=2)
    assert f"{words[0]}: lang has units of kind phone, which make words only with a lexicon" in said
    assert "--method hlg_1best" in said


@pytest.mark.parametrize(
    ("content", "says"),
    [("<html>", "KenLM cannot read it"), (None, "knows none of the 4 words such as 'A'")],
)
def test_a_model_that_is_of_no_use_is_refused(project, run_step, content, says):
    pytest.importorskip("kenlm")
    random_ngram(random.Random(1), ["yes", "no"], 2).write(project / "lm.arpa")
    if content:
        (project / "lm.arpa").write_text(content)
    said = run_step("decode", project, *PREFIX, "--lang", "spelled", "--prefix.lm", "lm.arpa", code=1)
    assert "--prefix.lm lm.arpa: " in said and says in said


def test_a_scale_without_a_model_is_wrong_usage():
    with pytest.raises(UsageError, match="--prefix.lm-scale is the weight of --prefix.lm, which is not given"):
        PrefixOptions(lm_scale=[0.5, 1.0])


def test_all_is_every_method_that_there_are_outputs_for(project, run_step):
    run_step("decode", project, *BASE, "--lang", "spelled", "--method", "all")
    found = {path.name.removeprefix("test_") for path in (project / "out").glob("test_*")}
    assert found == {"ctc_greedy", "ctc_prefix_beam", "nbest_oracle"}


@pytest.mark.k2
def test_all_takes_the_methods_of_a_graph_and_a_decoder(k2, project, run_step):
    lang = make_lang(project / "lang", LEXICON)
    make_experiment(project / "exp", lang, decoder="speller", ctc_weight=0.3)
    make_graph(project / "graph", lang)
    run_step("decode", project, *BASE, "--lang", "lang", "--graph", "graph", "--method", "all")
    found = {path.name.removeprefix("test_") for path in (project / "out").glob("test_*")}
    assert found == set(METHODS) - {"lattice_rescore", "neural_lm_rescore"}  # for which no model was given


def test_all_of_a_model_without_ctc_is_what_its_decoder_can_do(project, run_step):
    make_experiment(project / "exp", make_lang(project / "lang", LEXICON), decoder="speller", ctc_weight=0.0)
    run_step("decode", project, *BASE, "--lang", "lang", "--method", "all")
    assert {path.name for path in (project / "out").glob("test_*")} == {"test_attention_beam", "test_nbest_oracle"}


def test_a_phrase_that_is_but_silence_is_refused(project, run_step):
    make_experiment(project / "exp", make_lang(project / "lang", [*LEXICON, ("uh", ["SIL"])], "SIL"))
    (project / "hot").write_text("uh 3\n")
    said = run_step("decode", project, *PREFIX, "--lang", "lang", "--prefix.hot-words", "hot", code=1)
    assert "hot:1: 'uh' is nothing but silence in lang" in said


def test_silence_is_no_word(tmp_path):
    lang = make_lang(tmp_path, [("yes", ["Y"]), ("no", ["N"]), ("uh", ["SIL"])], "SIL")
    units = word_units(lang)
    assert units is not None and units[lang.tokens["SIL"]] == NOTHING
    assert units[lang.tokens["Y"]] == Unit(True, "yes", True)


def test_an_impossible_frame_is_no_end(tmp_path):
    log_probs = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(1)).log_softmax(dim=2)
    expected = PrefixScores.begin(log_probs, torch.tensor([6]), 1).longer(torch.tensor([[[1, 2]]])).begins
    log_probs[0, 2, 3] = -torch.inf
    found = PrefixScores.begin(log_probs, torch.tensor([6]), 1).longer(torch.tensor([[[1, 2]]])).begins
    assert torch.allclose(found, expected)
