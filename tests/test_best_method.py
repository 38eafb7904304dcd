"""Which method is the best: by dev alone, or stated beforehand."""

import pytest

from egret.base.errors import EgretError
from egret.scoring.best import choose_best


def scored(part: str, method: str, words: int, characters: int = 0, ref: int = 100, of: int = 400) -> dict:
    """A score of so many wrong words of `ref`, and wrong characters of `of`."""
    return {
        "part": part, "method": method, "wer": 100 * words / ref, "cer": 100 * characters / of, "ref": ref,
        "ci95": {"wer": [0, 1], "cer": [0, 1]}, "ins": 0, "del": 0, "sub": words, "missing": 0, "ser": 0.0,
        "characters": {"ref": of, "ins": 0, "del": 0, "sub": characters}, "chosen_on": "dev",
        "params": {"beam": len(method)}, "rtf": None, "normaliser": {"name": "plain", "version": 1},
    }  # fmt: skip


def test_the_method_is_chosen_on_dev_whatever_the_test_parts_say():
    scores = [scored("dev", "one", 5), scored("dev", "three", 4), scored("test", "one", 1), scored("test", "three", 9)]
    best = choose_best(scores, ["dev"], "", "wer")
    assert (best["method"], best["chosen_on"], best["params"]) == ("three", "dev", {"beam": 5})
    assert best["dev"]["wer"] == 4 and {part: row["wer"] for part, row in best["test"].items()} == {"test": 9}


def test_the_method_may_be_chosen_by_character_errors():
    scores = [scored("dev", "one", 5, characters=3), scored("dev", "two", 6, characters=2)]
    assert choose_best(scores, ["dev"], "", "cer")["method"] == "two"


def test_without_dev_the_stated_method_counts():
    scores = [scored("test", "one", 1), scored("test", "two", 9)]
    best = choose_best(scores, [], "two", "wer")
    assert (best["method"], best["chosen_on"], best["dev"], best["test"]["test"]["wer"]) == ("two", "fixed", None, 9)
    with pytest.raises(EgretError, match="say --main-method"):
        choose_best(scores, [], "", "wer")
    with pytest.raises(EgretError, match="did you mean 'two'"):
        choose_best(scores, [], "twoo", "wer")
    assert choose_best(scores[:1], [], "", "wer")["method"] == "one"


def test_several_dev_parts_choose_together_each_by_its_words():
    def best(words_of_other: int) -> dict:
        clean = [scored("clean", "one", 4), scored("clean", "two", 6)]
        share = words_of_other // 100
        other = [scored("other", name, wrong * share, ref=words_of_other) for name, wrong in (("one", 9), ("two", 8))]
        return choose_best([*clean, *other], ["clean", "other"], "", "wer")

    assert best(100)["method"] == "one"
    found = best(300)
    assert (found["method"], found["chosen_on"], found["dev"], found["test"]) == ("two", "clean other", None, {})
    assert {part: row["wer"] for part, row in found["dev_parts"].items()} == {"clean": 6, "other": 8}


def test_several_dev_parts_choose_by_characters_each_by_its_characters():
    scores = [
        scored("short", "one", 0, 20, ref=100, of=200), scored("short", "two", 0, 2, ref=100, of=200),
        scored("long", "one", 0, 20, ref=100, of=1000), scored("long", "two", 0, 50, ref=100, of=1000),
    ]  # fmt: skip
    assert choose_best(scores, ["short", "long"], "", "cer")["method"] == "one"


def test_a_dev_part_that_was_not_decoded_is_an_error():
    with pytest.raises(EgretError, match=r"no decoding of the dev part 'dev' \(there are test\)"):
        choose_best([scored("test", "one", 1)], ["dev"], "", "wer")
