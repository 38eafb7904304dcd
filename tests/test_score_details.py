"""What is behind a rate: the tables, speakers, durations, confusions, words outside the lexicon."""

import pytest

from egret.scoring import tables
from egret.scoring.details import Tally, bucket, by_duration, by_speaker, group
from egret.scoring.errors import count_errors
from egret.scoring.trn import trn

# Tables


def test_an_utterance_is_shown_with_its_errors_under_each_other():
    refs = {"u1": ["HELLO", "WORLD", "TODAY"], "u2": ["今天", "天气", "好"], "u3": ["GONE"], "u4": []}
    hyps = {"u1": ["HELLO", "OH", "WORLD", "DAY"], "u2": ["今天", "好"], "u4": []}
    assert "".join(tables.per_utterance(refs, hyps, count_errors(refs, hyps))) == (
        "u1  2 errors in 3 words (1 ins, 0 del, 1 sub)\n"
        "  ref: HELLO ** WORLD TODAY\n"
        "  hyp: HELLO OH WORLD DAY\n"
        "             I        S\n"
        "\n"
        "u2  1 error in 3 words (0 ins, 1 del, 0 sub)\n"
        "  ref: 今天 天气 好\n"
        "  hyp: 今天 **** 好\n"
        "            D\n"
        "\n"
        "u3  1 error in 1 word (0 ins, 1 del, 0 sub, no hypothesis)\n"
        "  ref: GONE\n"
        "  hyp: ****\n"
        "       D\n"
        "\n"
        "u4  0 errors in 0 words (0 ins, 0 del, 0 sub)\n"
        "  ref:\n"
        "  hyp:\n"
    )


def test_speakers_are_listed_from_the_worst_on_with_a_row_for_all():
    refs = {"a1": ["x", "y"], "b1": ["x"], "b2": ["z"], "c1": ["x"]}
    hyps = {"a1": ["x", "y"], "b1": ["y"], "b2": ["z"], "c1": ["x"]}
    counts = count_errors(refs, hyps)
    speakers = by_speaker({"a1": "ann", "b1": "bob", "b2": "bob", "c1": ""}, counts, counts)
    rows = tables.groups_table("speaker", speakers, group("all", refs, counts, counts)).splitlines()
    assert [row.split() for row in rows[1:]] == [
        ["bob", "2", "2", "0", "0", "1", "50.00", "50.00"],
        ["?", "1", "1", "0", "0", "0", "0.00", "0.00"],
        ["ann", "1", "2", "0", "0", "0", "0.00", "0.00"],
        ["all", "4", "5", "0", "0", "1", "20.00", "20.00"],
    ]


def test_confusions_are_listed_from_the_commonest_on():
    refs = {"1": ["a", "b"], "2": ["a", "c"], "3": ["a"], "4": ["d"]}
    hyps = {"1": ["x", "b"], "2": ["x", "c"], "3": ["y"], "4": ["d", "e"]}
    lines = [line.split() for line in tables.confusions(Tally.of(refs, hyps)).splitlines() if line.startswith("  ")]
    assert lines == [["2", "a", "->", "x"], ["1", "a", "->", "y"], ["1", "e"]]


# What is behind a rate


def test_words_outside_the_lexicon_are_counted_apart():
    refs = {"1": ["a", "zebra"], "2": ["a", "b"], "3": ["zebra", "b"]}
    hyps = {"1": ["a", "b"], "2": ["b", "b"], "3": ["zebra", "b"]}
    found = Tally.of(refs, hyps, known={"a", "b"}).out_of_lexicon(count_errors(refs, hyps))
    assert found == {"words": 2, "percent": round(100 * 2 / 6, 4), "types": 1, "wrong": 1, "utterances": 2,
                     "wer_of_others": 50.0, "commonest": [["zebra", 2]]}  # fmt: skip


@pytest.mark.parametrize(("seconds", "name"), [(0.0, "0-2"), (1.99, "0-2"), (2.0, "2-4"), (31.9, "16-32"), (32, "32-")])
def test_buckets_of_duration(seconds, name):
    assert bucket(seconds) == name


def test_durations_are_listed_from_the_shortest_on():
    refs = {"a": ["x"], "b": ["x"], "c": ["y"], "d": ["z"]}
    counts = count_errors(refs, {"a": ["x"], "b": ["y"], "c": ["y"], "d": ["z"]})
    found = by_duration({"a": 40.0, "b": 1.0, "c": 1.5, "d": None}, counts, counts)
    assert [(each.name, each.utterances, each.words.rate) for each in found] == [
        ("0-2", 2, 50.0), ("32-", 1, 0.0), ("?", 1, 0.0)]  # fmt: skip


def test_transcripts_for_sclite_end_with_speaker_and_utterance():
    lines = trn({"u1": ["A", "B"]}, {"u1": "ann", "u2": "", "u 3": "b(o)b"}, ["u1", "u2", "u 3"])
    assert list(lines) == ["A B (ann-u1)\n", "(u2)\n", "(b_o_b-u_3)\n"]
