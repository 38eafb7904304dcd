"""The scores on a page: all methods, and of the best one what went wrong, to read and to hear."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from egret.base.errors import counted
from egret.base.files import read_json, read_jsonl
from egret.corpus.cuts import read_cuts
from egret.report.aligned import aligned, legend, note, worst_first
from egret.report.bars import Bar, bars
from egret.report.html import Markup, el, table
from egret.report.sections import SHOWN, confusions_section, scores_table, speakers_section
from egret.report.sound import Allowance, beside
from egret.report.style import BESIDE, document
from egret.scoring.errors import Errors
from egret.scoring.inputs import Hypotheses, References
from egret.scoring.paired import HOW, TEST_COLUMNS, Test, test_rows
from egret.scoring.results import Score
from egret.scoring.tables import remarks
from egret.scoring.writing import Writing, described

SPEAKERS = 30  # bars at most
REMARKS = 20
KEPT = ("ins", "del", "sub", "wer", "cer")  # of score.json, under the names that details.json has, too
WEIGHTS = {"word": "as one unit each", "letter": "as their letters"}  # of Latin words in CER


@dataclass(frozen=True)
class Part:
    """A part that was decoded: its manifest, and its references as they were scored."""

    manifest: Path
    references: References


@dataclass
class Page:
    """What a page is made of.

    Attributes:
      path: where it will lie, for recordings are named from there.
      title: of what.
      scores: of all decodings, each with its `folder`.
      best: content of best.json; empty: there is no best method, and no utterances are shown.
      parts: by name.
      known: words of the lexicon; None: there is none.
      tests: against another system, whose name is `other`.
      shown: utterances of each part at most.
      room: for sound that cannot be played where it lies.
    """

    path: Path
    title: str
    scores: list[Score]
    best: dict[str, Any]
    parts: Mapping[str, Part]
    known: Collection[str] | None
    tests: Sequence[Test]
    other: str
    shown: int
    room: Allowance
    utterances: int = field(default=0, init=False)  # that are on it

    def make(self) -> str:
        """The whole page."""
        methods = [score for score in self.scores if score["method"] == self.best.get("method")]
        content = [
            self._header(),
            el("section", el("h2", "Scores"), scores_table(self.scores, self.best), self._charts()),
            self._tests(),
            *(self._part(score) for score in methods),
            el("footer", el("h2", "How to read this"), legend()),
        ]
        return document(f"{self.title}: scores", content, media=BESIDE)

    def _header(self) -> Markup:
        some = self.scores[0]
        facts = {
            "texts written by": described(some),
            "Latin words in CER": WEIGHTS[some["latin"]],
            "lexicon": some["out_of_lexicon"]["lexicon"] if self.known is not None else "",
            "resamples": str(some["resamples"]),
        }
        cells = [el("div", el("dt", name), el("dd", value)) for name, value in facts.items() if value]
        said = [sentence for score in self.scores for sentence in remarks(score)]
        notes = [note(f"{sentence}.") for sentence in said[:REMARKS]]
        if len(said) > REMARKS:
            notes.append(note(f"and {counted(len(said) - REMARKS, 'remark')} more, which score.json of each has"))
        return el("header", el("h1", f"{self.title}: scores"), el("dl", cells), notes)

    def _charts(self) -> Markup:
        """WER of every method with its interval, a box for each part."""
        found = []
        for part in self.parts:
            rows = [Bar(score["method"], score["wer"], tuple(score["ci95"]["wer"]), said=f"{score['ref']} words")
                    for score in self.scores if score["part"] == part]  # fmt: skip
            found.append(bars(f"{part}: WER, %", rows))
        return el("div", found, class_="charts")

    def _tests(self) -> Markup:
        if not self.tests:
            return Markup("")
        notes = [note(f"{test.part}: {test.note}") for test in self.tests if test.note]
        title = f"Paired test: A is {self.other}, B is {self.title}, each by its best method"
        return el("section", el("h2", title), table(TEST_COLUMNS, test_rows(self.tests)), notes, note(HOW))

    def _part(self, score: Score) -> Markup:
        """The details of one part by the best method."""
        details = read_json(score["folder"] / "details.json")
        words = {"utterances": score["sentences"], "words": score["ref"], **{key: score[key] for key in KEPT}}
        cards = list(self._cards(score))
        self.utterances += len(cards)
        every = f"The {counted(len(cards), 'worst utterance', 'worst utterances')} of {score['sentences']:,}"
        return el(
            "section",
            el("h2", f"{score['part']}: {score['wer']:.2f} % by {score['method']}"),
            el("div", [*_plots(details), *_sureness(score)], class_="charts"),
            confusions_section(details["confusions"]),
            _outside(score.get("out_of_lexicon")),
            speakers_section(details["speakers"], words),
            el("h3", every) if cards else [],
            note("All of them are in per_utt.txt.") if len(cards) < score["sentences"] else [],
            cards,
        )

    def _cards(self, score: Score) -> Iterator[Markup]:
        """The worst utterances, one after the other."""
        part = self.parts[score["part"]]
        errors, totals = {}, {}
        for row in read_jsonl(score["folder"] / "errors.jsonl"):
            errors[row["id"]] = Errors(row["words"], row["ins"], row["del"], row["sub"])
            if row["score"] is not None:
                totals[row["id"]] = row["score"]
        chosen = worst_first(errors, totals, self.shown)
        wanted = set(chosen)
        hyps = Hypotheses.read(score["folder"] / "hyp.jsonl", Writing.of(score), times=True, only=wanted)
        cuts = {cut["id"]: cut for cut in read_cuts(part.manifest) if cut["id"] in wanted} if wanted else {}
        for name in chosen:
            yield self._card(cuts[name], part.references, hyps, errors[name])

    def _card(self, cut: dict[str, Any], references: References, hyps: Hypotheses, errors: Errors) -> Markup:
        name = cut["id"]
        seconds, speaker = references.seconds[name], references.speakers[name]
        facts = [speaker and f"speaker {speaker}", "" if seconds is None else f"{seconds:.2f} s",
                 f"{counted(errors.total, 'error')} in {counted(errors.ref, 'word')}"]  # fmt: skip
        shown = aligned(references.words[name], hyps.words.get(name, []), self.known, hyps.confidence.get(name),
                        hyps.times.get(name))  # fmt: skip
        return el(
            "article",
            el("h4", name),
            el("p", " · ".join(fact for fact in facts if fact), class_="facts"),
            shown,
            [] if name in hyps.words else note("It has no hypothesis; all its words count as deleted."),
            beside(cut, self.path, self.room),
        )


def _plots(details: Mapping[str, Any]) -> list[Markup]:
    """WER by seconds and by speaker."""
    durations = [Bar(f"{row['seconds']} s", row["wer"], said=_said(row)) for row in details["durations"]]
    speakers = [Bar(row["speaker"], row["wer"], said=_said(row)) for row in details["speakers"]]
    title = "WER by speaker, %" if len(speakers) <= SPEAKERS else f"WER of the {SPEAKERS} worst speakers, %"
    return [bars("WER by duration, %", durations), bars(title, speakers[:SPEAKERS])]


def _said(row: Mapping[str, Any]) -> str:
    return f"{counted(row['utterances'], 'utterance')}, {counted(row['words'], 'word')}"


def _sureness(score: Score) -> list[Markup]:
    """How often words of each confidence are right; beside each what it would be if the confidence were true."""
    if not (sure := score.get("confidence")):
        return []
    rows = [Bar(f"{row['from']:g} to {row['to']:g}", row["right_percent"], mark=100 * row["confidence"],
                said=counted(row["words"], "word")) for row in sure["bins"]]  # fmt: skip
    return [bars("Words that are right, by their confidence, %", rows, "The line across: what the confidence says.")]


def _outside(found: Mapping[str, Any] | None) -> Markup:
    """Words of the references that the lexicon lacks."""
    if not found or not found["words"]:
        return Markup("")
    rows = [[str(count), word] for word, count in found["commonest"][:SHOWN]]
    rest = found["types"] - len(rows)
    return el(
        "div",
        el("h3", "Words that the lexicon lacks"),
        table(["times", "word"], rows),
        note(f"and {rest} more in out_of_lexicon.txt") if rest > 0 else [],
    )
