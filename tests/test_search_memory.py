"""Decoding where memory runs out: batches are halved, then beams narrowed, and it is said of every utterance."""

from pathlib import Path

import pytest
import torch

from egret.base.files import read_json, read_jsonl
from egret.base.memory import out_of_memory
from egret.decoding import attention_beam as attention_module
from egret.decoding import prefix_search, recognise, searches
from egret.decoding.memory import NARROWEST, Piece, narrowed, searched
from egret.decoding.options import DecodeOptions, HlgOptions
from egret.decoding.search import Encoded
from egret.lang.lang import Lang
from folders import make_cuts, make_experiment, make_lang
from graphs import LEXICON

TEST = ["--experiment", "exp", "--lang", "lang", "--out", "out", "--threads", "1", "--test-cuts", "feats/test.jsonl"]
ERROR = "[enforce fail at alloc_cpu.cpp:66] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"


@pytest.fixture
def project(tmp_path):
    make_experiment(tmp_path / "exp", make_lang(tmp_path / "lang", LEXICON, "SIL"))
    make_cuts(tmp_path / "feats/test.jsonl", ["a be", "c", "ab a", "be", "a"], [60, 12, 40, 33, 20], seed=2)
    return tmp_path


@pytest.fixture
def decoded(run_step, project):
    """Decode; returns what was said, the rows and params.json."""

    def run(*arguments: str, code: int = 0) -> tuple[str, list[dict], dict]:
        said = run_step("decode", project, *TEST, *arguments, code=code)
        folder = project / "out/test_ctc_greedy"
        return said, list(read_jsonl(folder / "hyp.jsonl")), read_json(folder / "params.json")

    return run


def out_above(monkeypatch: pytest.MonkeyPatch, limit: int, message: str = ERROR) -> list[int]:
    """Greedy search raises PyTorch's error for more utterances; returns the sizes tried."""
    tried: list[int] = []
    whole = searches.ctc_greedy

    def greedy(log_probs: torch.Tensor, lengths: torch.Tensor) -> list:
        tried.append(len(log_probs))
        if len(log_probs) > limit:
            raise RuntimeError(message)
        return whole(log_probs, lengths)

    monkeypatch.setattr(searches, "ctc_greedy", greedy)
    return tried


def test_a_batch_is_halved_until_it_fits_and_the_words_stay(decoded, monkeypatch):
    _, wanted, _ = decoded()
    tried = out_above(monkeypatch, 2)
    said, rows, params = decoded("--force")
    assert tried == [5, 2, 3, 1, 2]
    assert [(row["id"], row["words"]) for row in rows] == [(row["id"], row["words"]) for row in wanted]
    assert all(row["halved"] for row in rows) and params["halved"] == 5
    assert "batches were halved (a lower --max-duration saves the time) for 5 of 5 utterances" in said


def test_once_halved_it_stays_so_for_the_searches_that_follow(project, run_step, monkeypatch):
    out_above(monkeypatch, 3)
    sizes = []
    whole = prefix_search.prefix_beam
    monkeypatch.setattr(prefix_search, "prefix_beam", lambda *given: sizes.append(len(given[0])) or whole(*given))
    run_step("decode", project, *TEST, "--method", "ctc_greedy", "ctc_prefix_beam")
    assert sizes == [2, 3]


def needing_level(level: int, monkeypatch: pytest.MonkeyPatch, *penalties: float) -> list[tuple[int, float]]:
    """Attention search has no room for beams above those of a level, with these penalties of length; returns the beams
    and penalties tried."""
    tried: list[tuple[int, float]] = []
    whole = attention_module.attention_beam

    def attention_beam(decoder, x, lengths, limits, beam: int, penalty: float, listed: int) -> list:
        tried.append((beam, penalty))
        if beam > 8 >> level and penalty in penalties:
            raise MemoryError
        return whole(decoder, x, lengths, limits, beam, penalty, listed)

    monkeypatch.setattr(attention_module, "attention_beam", attention_beam)
    return tried


@pytest.fixture
def narrow(project, run_step, monkeypatch):
    """Decode one utterance by attention, whose second penalty has no room for the beam of 8, and by CTC."""
    make_experiment(project / "exp", Lang.read(project / "lang"), decoder="speller", ctc_weight=0.3)
    for part in ("dev", "test"):
        make_cuts(project / f"feats/{part}.jsonl", ["a be"], [60])
    tried = needing_level(1, monkeypatch, 0.5)
    run_step("decode", project, *TEST, "--dev-cuts", "feats/dev.jsonl", "--method", "attention_beam", "joint_beam",
             "--attention.length-penalty", "1", "0.5", "0")  # fmt: skip
    return tried[:5]  # those of dev


def test_all_settings_of_a_method_are_compared_with_the_same_beams(narrow):
    assert narrow == [(8, 1), (8, 0.5), (4, 1), (4, 0.5), (4, 0)]


def test_the_methods_that_follow_have_their_own_beams_and_no_mark(narrow, project):
    marked = {path.parent.name: row.get("beam_narrowed") for path in (project / "out").glob("dev_*/hyp.jsonl")
              for row in read_jsonl(path)}  # fmt: skip
    assert marked == {"dev_attention_beam": True, "dev_joint_beam": None}


def test_what_was_made_of_a_batch_stays_where_a_later_search_needs_narrower_beams():
    piece = Piece([{"id": "a"}], Encoded(torch.zeros(1, 3, 2), torch.tensor([3]), torch.tensor([6]), None))
    made = iter("xyz")

    def search(encoded: Encoded, params: dict) -> list[dict]:
        lattice = encoded.kept.once("lattice", lambda: next(made))
        if params["narrow"] and lattice == "x":
            raise MemoryError
        return [{"words": [lattice]}]

    options = DecodeOptions(experiment=Path(), lang=Path(), out=Path(), test_cuts=[])
    found = []
    for params in ({"narrow": False}, {"narrow": True}, {"narrow": False}):
        [(piece, [[row]])] = searched(piece, search, [params], options, [0.0])
        found.append((row["words"], row.get("beam_narrowed")))
    assert found == [(["x"], None), (["y"], True), (["x"], None)]


def test_an_utterance_that_is_too_much_by_itself_gets_narrower_beams_and_then_no_words(decoded, monkeypatch):
    tried = out_above(monkeypatch, 0)
    said, rows, params = decoded()
    assert tried.count(1) == 5 * (1 + NARROWEST)
    assert all(row["words"] == [] and row["out_of_memory"] and row["score"]["total"] is None for row in rows)
    assert (params["halved"], params["beam_narrowed"], params["out_of_memory"]) == (5, 5, 5)
    assert "memory ran out with the narrowest beams, and there are no words for 5 of 5" in said


def test_the_encoder_runs_on_halves_too(decoded, monkeypatch):
    _, wanted, _ = decoded()
    whole = recognise.encode

    def encode(model, features, *rest):
        if len(features) > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return whole(model, features, *rest)

    monkeypatch.setattr(recognise, "encode", encode)
    _, rows, params = decoded("--force")
    assert [row["words"] for row in rows] == [row["words"] for row in wanted] and params["halved"] == 5


def test_other_errors_are_no_matter_of_memory(project, run_step, monkeypatch):
    tried = out_above(monkeypatch, 0, "shape mismatch")
    with pytest.raises(RuntimeError, match="shape mismatch"):
        run_step("decode", project, *TEST)
    assert tried == [5]


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (RuntimeError(ERROR), True),
        (torch.cuda.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (OSError("out of memory"), False),
        (RuntimeError("index out of range"), False),
    ],
)
def test_only_errors_for_want_of_memory_count_as_such(error, wanted):
    assert out_of_memory(error) is wanted


def test_beams_are_narrowed_one_after_the_other_and_widened_again(tmp_path):
    options = DecodeOptions(
        experiment=tmp_path, lang=tmp_path, out=tmp_path, test_cuts=[], hlg=HlgOptions(search_beam=16.0)
    )
    seen = []
    for level in range(NARROWEST + 1):
        with narrowed(options, level):
            seen.append((options.hlg.search_beam, options.hlg.output_beam, options.hlg.max_active, options.joint.beam))
    assert seen == [(16, 8, 10000, 8), (8, 8, 10000, 4), (8, 4, 5000, 2), (4, 4, 5000, 1), (4, 2, 2500, 1)]
    assert (options.hlg.search_beam, options.hlg.max_active, options.joint.beam) == (16, 10000, 8)
