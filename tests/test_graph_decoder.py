"""The search in HLG: what it finds in a batch, scales and beams, and what is left out of it."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from egret.base.errors import EgretError
from egret.decoding.options import HlgOptions
from egret.lang.lang import Lang
from folders import make_lang, random_log_probs
from graphs import LEXICON, make_graph, one_hot


@pytest.fixture
def decoder(k2, tmp_path):
    from egret.decoding.graph import GraphDecoder

    lang = make_lang(tmp_path / "lang", LEXICON, "SIL")
    return GraphDecoder(make_graph(tmp_path / "graph", lang), lang, torch.device("cpu"))


WIDE = HlgOptions(search_beam=1e4, output_beam=1e4, max_active=1_000_000)


def lang_of(tmp_path: Path) -> Lang:
    return Lang.read(tmp_path / "lang")


@pytest.mark.k2
def test_a_batch_of_many_lengths_gives_what_each_utterance_gives_alone(decoder, tmp_path):
    lengths = [9, 30, 1, 17, 30, 4]
    log_probs, counts = random_log_probs(1, lengths, lang_of(tmp_path), spread=3.0)
    together = decoder.decode(log_probs, counts, WIDE, 1.0)
    alone = [
        decoder.decode(log_probs[n : n + 1, :length], counts[n : n + 1], WIDE, 1.0)[0]
        for n, length in enumerate(lengths)
    ]
    assert [(best.words, best.tokens) for best in together] == [(best.words, best.tokens) for best in alone]
    assert [best.score for best in together] == pytest.approx([best.score for best in alone], abs=1e-3)
    assert len({tuple(best.words) for best in together}) > 3  # an order mixed up would show


@pytest.mark.k2
def test_tokens_are_those_of_the_best_path(decoder, tmp_path):
    lang = lang_of(tmp_path)
    x, y, z, silence = (lang.tokens[name] for name in ("x", "y", "z", "SIL"))
    path = [silence, x, x, y, 0, silence, silence, z, 0, z, 0]
    [best] = decoder.decode(one_hot(path, len(lang.units)) * 3, torch.tensor([len(path)]), WIDE, 1e-3)
    assert [lang.units[token] for token in best.tokens] == ["SIL", "x", "y", "SIL", "z", "z"]
    assert [lang.word_names[word] for word in best.words][-1] == "c"


@pytest.mark.k2
def test_an_utterance_without_a_path_gets_no_words_and_disturbs_no_other(decoder, tmp_path):
    log_probs, lengths = random_log_probs(2, [12, 9, 7], lang_of(tmp_path), spread=3.0)
    before = decoder.decode(log_probs, lengths, WIDE, 1.0)
    assert all(math.isfinite(best.score) for best in before) and before[0].words and before[2].words
    log_probs[1] = -math.inf
    after = decoder.decode(log_probs, lengths, WIDE, 1.0)
    assert (after[1].words, after[1].tokens, after[1].score) == ([], [], -math.inf)
    assert [after[0], after[2]] == [before[0], before[2]]
    assert decoder.decode(log_probs[1:2], lengths[1:2], WIDE, 1.0) == [after[1]]


@pytest.mark.k2
def test_the_graph_scale_multiplies_the_graph_and_nothing_else(decoder, tmp_path):
    lang = lang_of(tmp_path)
    path = [lang.tokens["x"], lang.tokens["y"], 0]
    log_probs = one_hot(path, len(lang.units)) * 50  # one token sequence only is possible
    acoustic = sum(log_probs[0, frame, token].item() for frame, token in enumerate(path))
    graph = {scale: decoder.decode(log_probs, torch.tensor([3]), WIDE, scale)[0].score - acoustic
             for scale in (1.0, 0.5, 2.0, 1.0)}  # fmt: skip
    assert graph[1.0] < -1
    assert graph[0.5] == pytest.approx(graph[1.0] / 2, abs=1e-3)
    assert graph[2.0] == pytest.approx(graph[1.0] * 2, abs=1e-3)


@pytest.mark.k2
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_word_score_is_added_for_each_word(decoder, tmp_path, scale):
    lang = lang_of(tmp_path)
    path = [lang.tokens[name] for name in ("x", "y", "z")] + [0, lang.tokens["z"]]
    log_probs, lengths = one_hot(path, len(lang.units)) * 50, torch.tensor([5])
    found = {score: decoder.decode(log_probs, lengths, WIDE, scale, score)[0] for score in (0.0, 30.0, -30.0, 0.0)}
    said = {score: [lang.word_names[word] for word in best.words] for score, best in found.items()}
    assert said[30.0] in (["a", "be", "c"], ["a", "bee", "c"]) and said[-30.0] == [
        "ab",
        "c",
    ]  # x y z z, most and fewest
    for score in (30.0, -30.0):
        plain = found[score].score - score * len(said[score])
        assert plain <= found[0.0].score + 1e-2
        if said[score] == said[0.0]:
            assert plain == pytest.approx(found[0.0].score, abs=1e-2)
    assert said[0.0] in (said[30.0], said[-30.0])


@pytest.fixture
def without_sure_blanks(k2):
    from egret.decoding.graph import without_sure_blanks

    return without_sure_blanks


@pytest.mark.k2
def test_of_neighbouring_sure_blanks_the_first_stays(without_sure_blanks):
    sure, unsure, x = [-0.001, -7.0], [-0.5, -0.9], [-9.0, -0.0001]
    rows = [[sure, sure, x, sure, sure, sure, x, unsure, sure], [x, x, unsure, sure, sure, sure, sure, sure, sure]]
    shorter, lengths, scores = without_sure_blanks(torch.tensor(rows), torch.tensor([9, 5]), 0.99)
    assert lengths.tolist() == [6, 4]
    assert shorter[0].tolist() == torch.tensor([sure, x, sure, x, unsure, sure]).tolist()
    assert shorter[1, :4].tolist() == torch.tensor([x, x, unsure, sure]).tolist()
    assert scores == pytest.approx([-0.003, -0.001])  # beyond an utterance's end nothing counts


@pytest.mark.k2
def test_all_frames_stay_where_nothing_is_sure_enough(without_sure_blanks):
    log_probs = one_hot([0, 0, 3, 0, 0])
    assert without_sure_blanks(log_probs, torch.tensor([5]), 1.0)[0] is log_probs
    assert without_sure_blanks(log_probs, torch.tensor([5]), 0.99)[0].equal(log_probs)  # the blanks have 0.6 at most


@pytest.mark.k2
@pytest.mark.parametrize("seed", range(5))
def test_without_sure_blanks_the_best_path_is_the_same(decoder, tmp_path, seed):
    log_probs, lengths = random_log_probs(seed, [40, 33, 1, 17, 0], lang_of(tmp_path), spread=4.0)
    sure = torch.rand(log_probs.shape[:2], generator=torch.Generator().manual_seed(seed)) < 0.6
    log_probs[sure] = torch.tensor([0.0] + [-9.0] * (log_probs.shape[2] - 1)).log_softmax(0)
    every = decoder.decode(log_probs, lengths, WIDE, 1.0)
    fewer = decoder.decode(log_probs, lengths, replace(WIDE, sure_blank=0.99), 1.0)
    assert [(best.words, best.tokens) for best in fewer] == [(best.words, best.tokens) for best in every]
    assert [best.score for best in fewer] == pytest.approx([best.score for best in every], abs=1e-3)
    assert any(best.words for best in every)


@pytest.mark.k2
def test_equal_tokens_stay_apart_without_sure_blanks(decoder, tmp_path):
    lang = lang_of(tmp_path)
    z = lang.tokens["z"]
    path = [0, 0, z, 0, 0, 0, z, 0, 0]
    log_probs = torch.full((1, len(path), len(lang.units)), -30.0)
    log_probs[0, range(len(path)), path] = 0.0
    [best] = decoder.decode(log_probs, torch.tensor([len(path)]), replace(WIDE, sure_blank=0.99), 1.0)
    assert ([lang.word_names[word] for word in best.words], best.tokens) == (["c"], [z, z])


@pytest.mark.k2
def test_utterances_without_frames_get_no_words_and_disturb_no_other(decoder, tmp_path):
    log_probs, lengths = random_log_probs(2, [12, 9, 7], lang_of(tmp_path), spread=3.0)
    before = decoder.decode(log_probs, lengths, WIDE, 1.0)
    after = decoder.decode(log_probs, torch.tensor([12, 0, 7]), WIDE, 1.0)
    assert [after[0], after[2]] == [before[0], before[2]]
    assert (after[1].words, after[1].tokens, after[1].score) == ([], [], -math.inf)
    assert decoder.decode(log_probs, torch.tensor([0, 0, 0]), WIDE, 1.0) == [after[1]] * 3


@pytest.mark.k2
def test_narrow_beams_lose_paths_and_never_win_score(decoder, tmp_path):
    log_probs, lengths = random_log_probs(3, [60] * 8, lang_of(tmp_path), spread=1.0)
    narrow = HlgOptions(search_beam=0.5, output_beam=0.5, min_active=1, max_active=4)
    pairs = zip(
        decoder.decode(log_probs, lengths, narrow, 1.0), decoder.decode(log_probs, lengths, WIDE, 1.0), strict=True
    )
    gaps = [wide.score - narrow.score for narrow, wide in pairs]
    assert min(gaps) > -1e-3 and max(gaps) > 0.1


@pytest.mark.k2
@pytest.mark.parametrize("lexicon", [[("aa", ["x"]), *LEXICON[1:]], [*LEXICON[:-1], ("c", ["q", "z"])]])
def test_a_graph_of_another_lang_folder_is_refused(decoder, tmp_path, lexicon):
    from egret.decoding.graph import GraphDecoder

    other = make_lang(tmp_path / "other", lexicon, "SIL")
    with pytest.raises(EgretError, match=r"HLG\.safetensors: made for other units or words than .*other"):
        GraphDecoder(tmp_path / "graph", other, torch.device("cpu"))
