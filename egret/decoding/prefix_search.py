"""The method ctc_prefix_beam: its options checked, its language model and hot words read."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from egret.base.errors import EgretError, UsageError
from egret.base.log import log
from egret.decoding.fusion import Fusion, Scorer, Words
from egret.decoding.hot_words import HotWords, read_hot_words
from egret.decoding.hypotheses import Hypothesis, Lists, row_of
from egret.decoding.prefix_beam import Transcript, prefix_beam
from egret.decoding.search import Context, Encoded, Made
from egret.decoding.word_ends import Unit, word_units
from egret.lang.lang import Lang


def prefix_search(context: Context) -> Made:
    """The search, and each scale of the language model with each score of words.

    Raises:
      UsageError: words are to be scored, which cannot be seen in these units.
      EgretError: the language model or the hot words cannot be read, or have nothing to do with these units.
    """
    options, lang, keep = context.options.prefix, context.lang, context.options.nbest.keep
    units = word_units(lang)
    asked = "--prefix.lm" if options.lm else "--prefix.word-score" if any(options.word_score) else ""
    if asked and units is None:
        raise UsageError(f"{asked}: {lang.folder} has units of kind {lang.kind}, which make words only with a lexicon; "
                         f"take an n-gram model in with --graph and --method hlg_1best")  # fmt: skip
    model = read_model(options.lm, words_made(lang, units or [])) if options.lm else None
    hot = read_hot_words(options.hot_words, lang) if options.hot_words else None

    def search(encoded: Encoded, params: dict[str, Any]) -> list[dict[str, Any]]:
        scorers: list[Scorer] = [hot] if isinstance(hot, HotWords) else []
        if units is not None and (model is not None or params["word_score"]):
            scorers.append(Words(units, model, params.get("lm_scale", 0.0), params["word_score"]))
        fusion = Fusion(scorers, len(lang.units)) if scorers else None
        found = transcripts(context, encoded, fusion)
        return [row_of(lang, hypotheses(lang, each, fusion), keep) for each in found]

    scales = [{"lm_scale": scale} for scale in options.lm_scale] if options.lm else [{}]
    return search, [{**fixed(context), **scale, "word_score": score}
                    for scale in scales for score in options.word_score]  # fmt: skip


def prefix_lists(context: Context) -> Lists:
    """What CTC alone finds, to be weighed with each score of words."""
    lang = context.lang

    def make(encoded: Encoded) -> list[list[Hypothesis]]:
        return [list(hypotheses(lang, found)) for found in transcripts(context, encoded)]

    def total(found: Hypothesis, params: dict[str, Any]) -> float:
        return found.parts["ctc"] + params["word_score"] * len(found.words)

    tried = [{"word_score": score} for score in context.options.prefix.word_score]
    return Lists("ctc_prefix_beam", make, total, fixed(context), {"word_score": 0.0}, tried)


def transcripts(context: Context, encoded: Encoded, fusion: Fusion | None = None) -> list[list[Transcript]]:
    """What the search finds; of CTC alone once for all methods and settings."""
    options = context.options.prefix

    def find() -> list[list[Transcript]]:
        return prefix_beam(*encoded.ctc_on_cpu, options.beam, options.tokens, options.token_beam, fusion)

    return find() if fusion else encoded.kept.once("prefix_beam", find)


def hypotheses(lang: Lang, found: Iterable[Transcript], fusion: Fusion | None = None) -> Iterator[Hypothesis]:
    for one in found:
        parts = {"ctc": one.ctc, **({"added": one.added} if fusion else {})}
        yield Hypothesis(lang.decode(one.tokens), one.tokens, one.score, parts)


def fixed(context: Context) -> dict[str, Any]:
    """Of a setting what is the same in all."""
    options = context.options.prefix
    return {"beam": options.beam, "tokens": options.tokens, "token_beam": options.token_beam}


def words_made(lang: Lang, units: list[Unit]) -> list[str]:
    """Words that a transcript may have: of units that are words each of them, else those of the lexicon."""
    return [unit.text for unit in units if unit.ends] or lang.word_names[1:-3]


def read_model(path: Path, words: list[str]) -> Any:
    """An n-gram model by KenLM, ARPA or its binary, for transcripts of these words.

    Raises:
      EgretError: KenLM is not installed or cannot read it; it knows none of the words.
    """
    try:
        import kenlm
    except ImportError as error:
        raise EgretError(f"--prefix.lm needs the Python module kenlm, which cannot be imported ({error}); install it "
                         f"(utils/doctor.py says how) or leave --prefix.lm out") from None  # fmt: skip
    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    try:
        model = kenlm.Model(str(path), config)
    except (OSError, RuntimeError) as error:
        raise EgretError(f"--prefix.lm {path}: KenLM cannot read it ({error}); give the .bin or .arpa.gz that "
                         f"steps/train_ngram.py leaves (stage 3)") from None  # fmt: skip
    lacking = sum(word not in model for word in words)
    if lacking == len(words):
        raise EgretError(f"--prefix.lm {path}: knows none of the {len(words)} words such as {words[0]!r} that "
                         f"transcripts are made of; is it of another language or case, or cut otherwise?")  # fmt: skip
    if lacking > len(words) / 2:
        log.warning("--prefix.lm %s: lacks %d of the %d words that transcripts are made of", path, lacking, len(words))
    return model
