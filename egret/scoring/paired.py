"""Two systems on the same utterances: whether the difference in their errors may be chance."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from egret.base.errors import first_few
from egret.base.files import read_jsonl
from egret.scoring.bootstrap import Paired, paired
from egret.scoring.results import Score
from egret.scoring.tables import columns
from egret.scoring.writing import described

T = TypeVar("T")
Pair = tuple[T, T]

LETTERS = "AB"
# Of a row of errors.jsonl.
COUNTED = {"wer": ("words", "word_errors"), "cer": ("characters", "character_errors"), "mer": ("units", "unit_errors")}
TEST_COLUMNS = ["part", "", "utterances", "A %", "B %", "B - A [95 %]", "B fewer in", "p", ""]
HOW = (
    "B - A: difference in points, and where 95 % of the resamplings of the utterances put it (paired bootstrap); "
    "B fewer in: share of the resamplings in which B has fewer errors; p: matched-pairs test, two-sided"
)


@dataclass(frozen=True)
class Test:
    """A part by the best method of each experiment: `found` on the utterances that both have, or why there is none."""

    part: str
    metric: str
    methods: tuple[str, str]
    found: Paired | None
    note: str = ""

    @property
    def verdict(self) -> str:
        """Which is better, by the interval of the difference."""
        if self.found is None:
            return "no test"
        low, high = self.found.ci95
        return "B is better" if high < 0 else "A is better" if low > 0 else "may be chance"

    def as_plain(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "verdict": self.verdict}


def paired_tests(scores: Pair[list[Score]], best: Pair[dict[str, Any]]) -> Iterator[Test]:
    """A test of each part that both have by their best methods, by the measures that these were chosen by.

    Args:
      scores: of all decodings of each, each with its `folder`.
      best: content of best.json of each; empty: it has no scores.
    """
    of_both = [{score["part"]: score for score in each if score["method"] == chosen["method"]}
               for each, chosen in zip(scores, best, strict=True)]  # fmt: skip
    metrics = sorted({each.get("metric", "wer") for each in best if each}, reverse=True)
    for part in [part for part in of_both[0] if part in of_both[1]]:
        for metric in metrics:
            yield test_part(part, metric, (of_both[0][part], of_both[1][part]))


def test_part(part: str, metric: str, scores: tuple[Score, Score]) -> Test:
    """The paired test of one part."""
    methods = (scores[0]["method"], scores[1]["method"])

    def none(why: str) -> Test:
        return Test(part, metric, methods, None, why)

    names = [described(score) for score in scores]
    if names[0] != names[1]:
        return none(f"texts were normalised differently: A {names[0]}, B {names[1]}; score both with one --normaliser")
    latin = [score.get("latin", "letter") for score in scores]
    if metric == "cer" and latin[0] != latin[1]:
        return none(
            f"CER takes Latin words for {latin[0]}s in A, for {latin[1]}s in B; score both with one --cer-latin"
        )
    rows = []
    for letter, score in zip(LETTERS, scores, strict=True):
        path = score["folder"] / "errors.jsonl"
        if not path.exists():
            return none(f"{letter} has no {path}; score it again (steps/score.py, stage 5)")
        rows.append({row["id"]: row for row in read_jsonl(path)})
    shared = [name for name in rows[0] if name in rows[1]]
    if not shared:
        return none("scored on different utterances, none of which both have")
    other = [name for name in shared if rows[0][name]["reference"] != rows[1][name]["reference"]]
    if other:
        return none(f"the transcripts of {len(other)} of {len(shared)} utterances differ ({first_few(other)}); "
                    f"score both against the same cuts")  # fmt: skip
    length, errors = COUNTED[metric]
    if old := [letter for letter, row in zip(LETTERS, rows, strict=True) if errors not in row[shared[0]]]:
        return none(f"{old[0]} was scored without {metric.upper()}; score it again (steps/score.py, stage 5)")
    a, b = ([row[name][errors] for name in shared] for row in rows)
    found = paired(a, b, [rows[0][name][length] for name in shared])
    notes = [_apart(len(shared), rows), _chosen_there(part, scores)]
    return Test(part, metric, methods, found, "; ".join(note for note in notes if note))


def _chosen_there(part: str, scores: tuple[Score, Score]) -> str:
    if any(part in str(score.get("chosen_on") or "").split() for score in scores):
        return "methods or their parameters were chosen on it, so that a difference here is no evidence"
    return ""


def _apart(shared: int, rows: Sequence[dict[str, Any]]) -> str:
    alone = [len(row) - shared for row in rows]
    if not any(alone):
        return ""
    return (f"scored on different utterances: {alone[0]} only in A, {alone[1]} only in B; the test is on the "
            f"{shared} that both have")  # fmt: skip


def test_rows(tests: Sequence[Test]) -> list[list[str]]:
    """The cells below TEST_COLUMNS."""
    rows = []
    for test in tests:
        start, end = [test.part, test.metric.upper()], [test.verdict]
        found = test.found
        if found is None:
            rows.append([*start, *["-"] * 6, *end])
            continue
        rows.append([
            *start,
            str(found.utterances),
            *(f"{each:.2f}" for each in found.rates),
            f"{found.difference:+.2f} [{found.ci95[0]:+.2f}, {found.ci95[1]:+.2f}]",
            f"{100 * found.fewer[0]:.1f} %",
            "-" if found.p is None else f"{found.p:.2g}",
            *end,
        ])  # fmt: skip
    return rows


def tests_table(found: Sequence[Test]) -> str:
    """All tests on the screen, with what there is to say of each."""
    if not found:
        return ""
    notes = "".join(f"{test.part}: {test.note}\n" for test in found if test.note)
    explained = f"({HOW})\n" if any(test.found for test in found) else ""
    return columns(TEST_COLUMNS, test_rows(found)) + notes + explained
