"""The table of models: whether a bar is reached."""

import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture
def row(monkeypatch):
    """What makes a row of the table."""
    monkeypatch.syspath_prepend(str(BENCH))
    import models

    yield lambda wers, cpu=60.0, ctc=True: models.Row("tdnn", 10, 1.0, cpu, cpu, wers, ctc)
    for name in ("models", "recipe"):
        monkeypatch.delitem(sys.modules, name)


def test_the_method_is_chosen_on_dev_as_in_the_recipe(row):
    greedy, graph = {"dev": 9.0, "test": 16.0}, {"dev": 9.5, "test": 14.0}
    assert row({"ctc_greedy": greedy, "hlg_1best": graph}).missed() == "16.0 %"
    assert row({"ctc_greedy": greedy, "hlg_1best": {**graph, "dev": 8.5}}).missed() == ""


def test_what_has_no_ctc_has_another_bar(row):
    assert row({"attention_beam": {"dev": 20.0, "test": 59.0}}, ctc=False).missed() == ""
    assert row({"attention_beam": {"dev": 20.0, "test": 60.0}}, ctc=False).missed() == "60.0 %"


def test_more_than_ten_minutes_are_too_many(row):
    assert row({"ctc_greedy": {"dev": 1.0, "test": 1.0}}, cpu=601.0).missed() == "601 s"
