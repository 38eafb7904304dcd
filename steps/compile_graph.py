#!/usr/bin/env python3
"""Compose the decoding graph HLG from a lang folder and an n-gram G, with k2."""

from dataclasses import dataclass
from pathlib import Path

from egret.base.errors import EgretError
from egret.base.files import sha256, write_json
from egret.base.log import log
from egret.base.options import infile, option, runtime
from egret.base.program import Outcome, OutOptions, Step, main
from egret.graph import arcs
from egret.graph.estimate import estimate, refuse_too_large
from egret.graph.syllable_graph import compile_syllable_graph
from egret.graph.topology import Topology, is_modified
from egret.lang.lang import Lang
from egret.lang.symbols import BACKOFF


@dataclass(kw_only=True)
class Options(OutOptions):
    lang: Path = infile("lang folder", "steps/prepare_lang.py (stage 2)")
    grammar: Path = infile("G of an n-gram, G_<n>gram.safetensors", "steps/train_ngram.py (stage 3)")
    topology: Topology = option(
        "auto",
        "of CTC; standard: quadratic in the units; modified: linear, equal neighbours need no blank between them; "
        "auto: modified for more than 500 units",
    )
    check_memory: bool = runtime(True, "refuse what would not fit the memory that is free; false: only warn")
    lg: bool = option(False, "leave LG too, with which steps/pinyin_to_text.py makes text of syllables")


def run(options: Options) -> Outcome:
    try:
        from egret.graph.hlg import compile_hlg
    except ImportError as error:
        raise EgretError(
            f"the graph needs k2, which cannot be imported ({error}); install it (utils/doctor.py says how), or "
            f"decode without a graph: --method ctc_greedy"
        ) from None
    lang = Lang.read(options.lang)
    lexicon = arcs.load(options.lang / "L_disambig.safetensors")
    grammar = arcs.load(options.grammar)
    words = arcs.about(options.grammar).get("words")
    if words is not None and words != arcs.identity(lang)["words"]:
        raise EgretError(f"{options.grammar}: made for other words than {options.lang}/words.txt has; make G again")
    highest = int(grammar.arcs[:, 2].max(initial=0))
    if highest >= len(lang.words):
        raise EgretError(f"{options.grammar}: word id {highest} is not in {options.lang}/words.txt; make G again")
    modified = is_modified(options.topology, len(lang.units))
    expected = estimate(lexicon, grammar, len(lang.units), modified)
    refuse_too_large(expected, modified, go_on=not options.check_memory)
    lg = leave_lg(options, lang, grammar)
    sizes = len(lang.units), lang.first_disambiguation, lang.words[BACKOFF]
    graph, report = compile_hlg(lexicon, grammar, *sizes, options.topology)
    if not graph.num_arcs:
        raise EgretError(f"{options.grammar}: no sentence passes through both L and G; is the LM of another lexicon?")
    made_of = {**arcs.identity(lang), "grammar": sha256(options.grammar)}
    arcs.save(options.out / "HLG.safetensors", graph, made_of)
    sizes_of = {name: {"states": table.num_states, "arcs": table.num_arcs}
                for name, table in [("lexicon", lexicon), ("grammar", grammar)]}  # fmt: skip
    about = {"units": len(lang.units), "topology": "modified" if modified else "standard", **sizes_of}
    foreseen = {"estimated_arcs": expected.arcs, "estimated_memory_mib": round(expected.memory / 2**20)}
    write_json(options.out / "report.json", {**report, **foreseen, **about})
    log.info("HLG: %(states)d states, %(arcs)d arcs, %(seconds).1f s, peak memory %(peak_memory_mib)d MiB", report)
    return Outcome([options.out / "HLG.safetensors", *lg], report)


def leave_lg(options: Options, lang: Lang, grammar: arcs.ArcTable) -> list[Path]:
    """Write LG where it is asked for; one of an earlier run does not stay."""
    path = options.out / "LG.safetensors"
    if not options.lg:
        path.unlink(missing_ok=True)
        return []
    graph = compile_syllable_graph(lang, grammar)
    if not graph.num_arcs:
        raise EgretError(f"{options.grammar}: no sentence passes through both L and G; is the LM of another lexicon?")
    arcs.save(path, graph, arcs.identity(lang))
    return [path]


STEP = Step(
    name="compile_graph",
    version=2,
    options=Options,
    run=run,
    description=__doc__ or "",
    example="steps/compile_graph.py --lang data/lang_phone --grammar data/lm/G_3gram.safetensors "
    "--out data/graph_phone_3gram",
)

if __name__ == "__main__":
    main(STEP)
