"""What a step was made from: when its output is current, and what is said when it is not."""

import json
import os

import pytest

from egret.base import stamps
from egret.base.stamps import (
    Request,
    changed_outputs,
    failure_path,
    fingerprint,
    read_stamp,
    stamp_path,
    why_not_current,
    write_stamp,
)


def request(version=1, options=None, inputs=None):
    return Request("tiny", version, {"order": 3} if options is None else options, inputs or {"text": "abc"})


@pytest.fixture
def made(tmp_path):
    """A finished step in a folder of its own."""
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "a.txt").write_text("one")
    write_stamp(tmp_path / "made", request(), [tmp_path / "made" / "a.txt"], {"lines": 1}, 0.5)
    return tmp_path / "made"


def edit(path, text):
    """Change a file's content; its time moves on even where the clock is coarse."""
    before = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(before + 10**9, before + 10**9))


class TestWhetherAnOutputIsCurrent:
    def test_without_a_stamp_it_was_not_run(self, tmp_path):
        (tmp_path / "a.txt").write_text("a mere file proves nothing")
        assert why_not_current(tmp_path, request()) == ["not run"]

    def test_what_a_run_that_was_killed_left_in_place_of_outputs_is_named(self, tmp_path, made):
        assert changed_outputs(made, "tiny") == []
        edit(made / "a.txt", "two")
        assert changed_outputs(made, "tiny") == ["a.txt"]
        assert changed_outputs(tmp_path, "tiny") is None

    def test_the_same_request_is_current(self, made):
        assert why_not_current(made, request()) == []

    @pytest.mark.parametrize(
        ("other", "reason"),
        [
            (request(version=2), "the step's version 1 -> 2"),
            (request(options={"order": 4}), "order 3 -> 4"),
            (request(options={"order": 3, "prune": 1}), "prune None -> 1"),
            (request(inputs={"text": "xyz"}), "input text changed"),
            (request(inputs={"text": "abc", "lexicon": "1"}), "input lexicon new"),
        ],
    )
    def test_what_differs_is_named(self, made, other, reason):
        assert why_not_current(made, other) == [reason]

    def test_an_input_that_is_no_more(self, tmp_path, made):
        write_stamp(made, request(inputs={"text": "abc", "more": "1"}), [], {}, 0)
        assert why_not_current(made, request()) == ["input more gone"]

    def test_a_deleted_output(self, made):
        (made / "a.txt").unlink()
        assert why_not_current(made, request()) == ["output a.txt is gone"]

    @pytest.mark.parametrize("text", ["two", "longer than before"])
    def test_an_edited_output(self, made, text):
        edit(made / "a.txt", text)
        assert why_not_current(made, request()) == ["output a.txt changed"]

    def test_touching_an_output_changes_nothing(self, made):
        os.utime(made / "a.txt", (1, 1))
        assert why_not_current(made, request()) == []

    def test_an_output_outside_the_folder(self, tmp_path, made):
        (tmp_path / "beside.txt").write_text("x")
        write_stamp(made, request(), [tmp_path / "beside.txt"], {}, 0)
        assert why_not_current(made, request()) == []
        (tmp_path / "beside.txt").unlink()
        assert why_not_current(made, request()) == ["output ../beside.txt is gone"]

    def test_a_large_output_is_known_by_its_size(self, tmp_path, monkeypatch):
        monkeypatch.setattr(stamps, "HASHED_UP_TO", 10)
        monkeypatch.setattr(stamps, "sha256", lambda path: pytest.fail("hashed"))
        (tmp_path / "large").write_text("x" * 20)
        write_stamp(tmp_path, request(), [tmp_path / "large"], {}, 0)
        assert why_not_current(tmp_path, request()) == []
        (tmp_path / "large").write_text("x" * 19)
        assert why_not_current(tmp_path, request()) == ["output large changed"]

    @pytest.mark.parametrize("text", ["", "{", "{}", "[]", "null", '{"version": 1}', "\x00"])
    def test_a_damaged_stamp_is_no_stamp(self, made, text):
        stamp_path(made, "tiny").write_text(text)
        assert read_stamp(made, "tiny") is None
        assert why_not_current(made, request()) == ["not run"]

    def test_the_stamp_of_another_step_in_the_folder_does_not_count(self, made):
        assert why_not_current(made, Request("other", 1, {"order": 3}, {"text": "abc"})) == ["not run"]

    def test_success_removes_word_of_a_failure(self, made):
        stamps.write_failure(made, "tiny", "it broke")
        assert json.loads(failure_path(made, "tiny").read_text())["message"] == "it broke"
        write_stamp(made, request(), [], {}, 0)
        assert not failure_path(made, "tiny").exists()


class TestFingerprints:
    def test_content_counts_and_not_the_time(self, tmp_path):
        (tmp_path / "a").write_text("one")
        first = fingerprint(tmp_path / "a")
        os.utime(tmp_path / "a", (1, 1))
        assert fingerprint(tmp_path / "a") == first
        (tmp_path / "a").write_text("two")
        assert fingerprint(tmp_path / "a") != first

    def test_an_unchanged_output_is_not_read_again(self, made, monkeypatch):
        known = read_stamp(made, "tiny")["outputs"]["a.txt"]["sha256"]
        monkeypatch.setattr(stamps, "sha256", lambda path: pytest.fail("read again"))
        assert fingerprint(made / "a.txt") == known

    def test_every_edit_of_an_output_is_another_fingerprint(self, made):
        seen = {fingerprint(made / "a.txt")}
        for text in ("two", "three", "fourteen"):
            edit(made / "a.txt", text)
            seen.add(fingerprint(made / "a.txt"))
        assert len(seen) == 4

    def test_a_file_is_the_same_with_and_without_its_stamp(self, made):
        with_stamp = fingerprint(made / "a.txt")
        stamp_path(made, "tiny").unlink()
        assert fingerprint(made / "a.txt") == with_stamp

    def test_a_stamped_folder_counts_by_its_outputs(self, made):
        first = fingerprint(made)
        (made / "log").mkdir()
        (made / "log" / "a.log").write_text("not an output")
        assert fingerprint(made) == first
        edit(made / "a.txt", "two")
        assert fingerprint(made) != first

    def test_a_folder_without_stamp_counts_by_all_its_files(self, tmp_path):
        (tmp_path / "a" / "b").mkdir(parents=True)
        (tmp_path / "a" / "b" / "c").write_text("one")
        first = fingerprint(tmp_path / "a")
        (tmp_path / "a" / "b" / "c").rename(tmp_path / "a" / "b" / "d")
        second = fingerprint(tmp_path / "a")
        (tmp_path / "a" / "b" / "d").write_text("two")
        assert len({first, second, fingerprint(tmp_path / "a")}) == 3

    def test_word_of_a_failure_does_not_count(self, tmp_path):
        (tmp_path / "a").write_text("one")
        first = fingerprint(tmp_path)
        stamps.write_failure(tmp_path, "tiny", "it broke")
        assert fingerprint(tmp_path) == first

    @pytest.mark.parametrize("text", ["{", "{}", "[]"])
    def test_beside_a_damaged_stamp_the_content_counts(self, made, text):
        first = fingerprint(made / "a.txt")
        stamp_path(made, "tiny").write_text(text)
        assert fingerprint(made / "a.txt") == first
        assert fingerprint(made)

    def test_nothing_there(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            fingerprint(tmp_path / "gone")


class TestOutputsOfJobs:
    """The stamp of a whole step takes over what the stamps of its jobs say of their outputs."""

    @pytest.fixture
    def whole(self, made, tmp_path):
        """Make the stamp of a step above the folder of a job."""

        def make():
            write_stamp(tmp_path, request(inputs={"text": "whole"}), [made / "a.txt"], {}, 1.0)
            return read_stamp(tmp_path, "tiny")["outputs"]["made/a.txt"]["sha256"]

        return make

    def test_they_are_not_read_again(self, whole, made, monkeypatch):
        known = read_stamp(made, "tiny")["outputs"]["a.txt"]["sha256"]
        monkeypatch.setattr(stamps, "sha256", None)
        assert whole() == known

    def test_one_that_has_changed_since_is_read(self, whole, made):
        edit(made / "a.txt", "two")
        assert whole() == stamps.sha256(made / "a.txt")
