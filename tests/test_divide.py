"""A corpus without parts is divided by names and a seed, whole speakers where there are enough."""

from pathlib import Path

import pytest

from egret.base.errors import EgretError
from egret.corpus.divide import Division, divide, part_of
from egret.corpus.validate import Parts, Utterance

TENTH = Division(10, 10, "auto", 1)


def corpus(speakers: int, each: int) -> list[Utterance]:
    return [
        Utterance(f"s{who}-{number}", Path(f"{who}-{number}.wav"), f"text {who} {number}", f"s{who}")
        for who in range(speakers)
        for number in range(each)
    ]


def voices(parts: Parts, part: str) -> set[str]:
    return {each.speaker for each in parts[part]}


def test_no_speaker_is_in_two_parts():
    parts = divide({"train": corpus(20, 5)}, TENTH)
    assert not voices(parts, "train") & voices(parts, "dev")
    assert not (voices(parts, "train") | voices(parts, "dev")) & voices(parts, "test")


def test_shares_are_of_the_utterances():
    parts = divide({"train": corpus(20, 5)}, Division(20, 10, "auto", 1))
    assert [len(parts[part]) for part in ("train", "dev", "test")] == [70, 20, 10]


def test_the_order_of_the_list_does_not_matter():
    listed = corpus(20, 5)
    ids = {each.id for each in divide({"train": listed}, TENTH)["test"]}
    assert {each.id for each in divide({"train": listed[::-1]}, TENTH)["test"]} == ids


def test_another_seed_chooses_others():
    chosen = [voices(divide({"train": corpus(30, 2)}, Division(10, 10, "auto", seed)), "test") for seed in (1, 2)]
    assert chosen[0] != chosen[1]


def test_few_speakers_are_divided_by_utterances():
    parts = divide({"train": corpus(2, 50)}, TENTH)
    assert [len(parts[part]) for part in ("train", "dev", "test")] == [80, 10, 10]


def test_few_speakers_are_divided_where_that_is_asked_for():
    parts = divide({"train": corpus(3, 10)}, Division(10, 10, "speakers", 1))
    assert [len(voices(parts, part)) for part in ("train", "dev", "test")] == [1, 1, 1]


def test_whole_speakers_cannot_be_taken_where_nobody_says_who_speaks():
    nameless = [Utterance(f"u{number}", Path(f"{number}.wav"), "", "") for number in range(20)]
    with pytest.raises(EgretError, match="--divide speakers: the corpus does not say who speaks"):
        divide({"train": nameless}, Division(10, 10, "speakers", 1))


def test_a_part_that_the_corpus_has_is_not_taken():
    test = [Utterance("t", Path("t.wav"), "", "s9")]
    parts = divide({"train": corpus(20, 5), "test": test}, TENTH)
    assert (parts["test"], len(parts["dev"])) == (test, 10)


def test_a_speaker_of_the_test_part_is_not_taken_for_dev():
    test = [Utterance("t", Path("t.wav"), "", "s9")]
    taken = {
        next(iter(voices(divide({"train": corpus(7, 5)}, Division(10, 10, "auto", seed)), "dev"))) for seed in range(9)
    }
    assert len(taken) > 1
    again = [divide({"train": corpus(10, 5), "test": test}, Division(10, 10, "auto", seed)) for seed in range(20)]
    assert all("s9" not in voices(parts, "dev") for parts in again)


def test_what_cannot_be_used_stays_to_be_rejected():
    listed = [*corpus(20, 5), Utterance("bad", Path("bad.wav"), "", "", problem="no path")]
    assert "bad" in {each.id for each in divide({"train": listed}, TENTH)["train"]}


def test_nothing_to_train_on_is_an_error():
    with pytest.raises(EgretError, match="no utterances to train on"):
        divide({"train": [], "test": corpus(1, 1)}, TENTH)


@pytest.mark.parametrize(
    ("name", "part"), [("", "train"), ("Validation", "dev"), ("cv", "dev"), ("TEST", "test"), ("x", None)]
)
def test_parts_have_the_names_that_others_use(name: str, part: str | None):
    assert part_of(name) == part
