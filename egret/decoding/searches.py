"""The searches of decoding by name, and what each needs of a model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from egret.base.errors import UsageError, nearest
from egret.base.log import log
from egret.decoding import rescoring
from egret.decoding.attention_beam import attention_search
from egret.decoding.hypotheses import Hypothesis, row_of
from egret.decoding.joint_beam import joint_search
from egret.decoding.lattice import PARTIAL, best_paths
from egret.decoding.neural_rescoring import neural_search
from egret.decoding.options import ALL, AUTO, AUTO_METHODS, METHODS, WITHOUT_GRAPH, DecodeOptions
from egret.decoding.prefix_search import prefix_search
from egret.decoding.search import Context, Encoded, Made
from egret.models.greedy import ctc_greedy
from egret.models.model import JointModel


@dataclass(frozen=True)
class Method:
    """How a search is made, and what it needs.

    Attributes:
      needs: of `ctc`, `decoder` (of the model), `graph` (--graph), `rescore_lm` (--rescore-lm) and `neural_lm`
        (--neural-lm).
      lists: it chooses from n-best lists, which need no graph, but come from lattices where there is one.
    """

    make: Callable[[Context], Made]
    needs: frozenset[str]
    lists: bool = False


def make_search(method: str, context: Context) -> Made:
    """The search of a name, and its settings.

    Raises:
      UsageError: there is no such method, the model lacks what it needs, or the graph was not given.
      EgretError: it needs k2, which is not installed.
    """
    if method not in SEARCHES:
        known = [*METHODS, AUTO, ALL]
        raise UsageError(f"--method {method}: unknown{nearest(method, known)}; there are {', '.join(known)}")
    lacking = SEARCHES[method].needs - there_is(context.options, context.model)
    for part, name in (("ctc", "CTC"), ("decoder", "attention decoder")):
        if part in lacking:
            raise UsageError(f"--method {method}: the model in {context.options.experiment} has no {name}; use "
                             f"{' or '.join(possible(context.options, context.model))}, or train with one "
                             f"(--model.decoder, --model.ctc-weight)")  # fmt: skip
    if GRAPH in lacking:
        raise UsageError(f"--method {method} needs --graph, the folder with HLG.safetensors (stage 3)")
    if RESCORE_LM in lacking:
        raise UsageError(f"--method {method} needs --rescore-lm, G of a larger n-gram (steps/train_ngram.py --order 4)")
    if NEURAL_LM in lacking:
        raise UsageError(f"--method {method} needs --neural-lm, the folder of a language model (steps/train_lm.py)")
    return SEARCHES[method].make(context)


def there_is(options: DecodeOptions, model: JointModel) -> set[str]:
    """What methods may need and have."""
    graph = options.graph is not None and model.head is not None  # in which CTC's output alone is searched
    there = {CTC: model.head is not None, DECODER: model.decoder is not None, GRAPH: graph,
             RESCORE_LM: options.rescore_lm is not None, NEURAL_LM: options.neural_lm is not None}  # fmt: skip
    return {name for name, is_there in there.items() if is_there}


def possible(options: DecodeOptions, model: JointModel, among: list[str] = AUTO_METHODS) -> list[str]:
    """The methods of `among` that the model has outputs for, in a graph if there is one."""
    there = there_is(options, model)
    return [name for name in among if SEARCHES[name].needs <= there]


def methods(options: DecodeOptions, model: JointModel, greedy: bool = True) -> list[str]:
    """Those that were asked for; instead of `all` every one that the model has outputs for, instead of `auto` those of
    them that take little time, without greedy search where it is of no use."""
    without_greedy = [each for each in AUTO_METHODS if each != "ctc_greedy"]
    several = {AUTO: AUTO_METHODS if greedy or not options.graph else without_greedy, ALL: METHODS}
    graph = GRAPH in there_is(options, model)
    without_lattices = options.hlg.searcher != "k2"
    lattices = [each for each in METHODS if without_lattices and needs_lattices(each, graph)]
    chosen = options.method
    for name, among in several.items():
        if options.method == [name]:
            chosen = [each for each in possible(options, model, among) if each not in lattices]
            searcher = f" and --hlg.searcher {options.hlg.searcher}" if without_lattices else ""
            options.refuse_unread(chosen, f"which --method {name} leaves out with this model{searcher}", graph)
        elif name in options.method:
            raise UsageError(f"--method {' '.join(options.method)}: {name} chooses the methods itself; give it alone")
    if asked := [each for each in chosen if each in lattices]:
        raise UsageError(f"--method {' '.join(asked)}: --hlg.searcher {options.hlg.searcher} finds the best path only, "
                         f"that of hlg_1best; the others need k2")  # fmt: skip
    if options.graph and not graph:
        options.refuse_unread(chosen, "and the model has no CTC, by which a graph is searched", graph)
    # A method that needs it says why it cannot have it.
    unread = not graph and not any(GRAPH in SEARCHES[each].needs for each in chosen if each in SEARCHES)
    if options.graph and (unread or WITHOUT_GRAPH.issuperset(chosen)):
        log.warning("--graph %s: not read, --method %s searches in none", options.graph, " ".join(chosen))
    return chosen


def needs_lattices(method: str, graph: bool) -> bool:
    """Whether a method takes lattices, where there is a graph or not."""
    return method != "hlg_1best" and (GRAPH in SEARCHES[method].needs or (graph and SEARCHES[method].lists))


def greedy_search(context: Context) -> Made:
    lang = context.lang

    def search(encoded: Encoded, params: dict[str, Any]) -> list[dict[str, Any]]:
        return [row_of(lang, [Hypothesis(lang.decode(tokens), tokens, score)])
                for tokens, score in ctc_greedy(*encoded.ctc)]  # fmt: skip

    return search, [{}]


def hlg_search(context: Context) -> Made:
    options, lang = context.options, context.lang
    decoder, beams = context.best_path, options.hlg

    def search(encoded: Encoded, params: dict[str, Any]) -> list[dict[str, Any]]:
        if beams.hot_words:
            weights = params["graph_scale"], params["word_score"]
            lattices = context.graph.lattices(*encoded.ctc, beams, *weights)
            return [row_of(lang, rescoring.by_graph(lang, paths, params)) for paths in best_paths(lattices, *weights)]
        return [
            row_of(lang, [Hypothesis([lang.word_names[word] for word in best.words], best.tokens, best.score,
                                     marks=(PARTIAL,) if best.partial else ())])
            for best in decoder.decode(*(encoded.ctc if beams.searcher == "k2" else encoded.ctc_on_cpu), beams,
                                       params["graph_scale"], params["word_score"])
        ]  # fmt: skip

    fixed = {**beams.beams, **({} if beams.searcher == "k2" else {"searcher": beams.searcher})}
    return search, [{**fixed, "graph_scale": scale, "word_score": score}
                    for scale in beams.graph_scale for score in beams.word_score]  # fmt: skip


CTC, DECODER, GRAPH, RESCORE_LM, NEURAL_LM = "ctc", "decoder", "graph", "rescore_lm", "neural_lm"
SEARCHES = {
    "ctc_greedy": Method(greedy_search, frozenset({CTC})),
    "ctc_prefix_beam": Method(prefix_search, frozenset({CTC})),
    "attention_beam": Method(attention_search, frozenset({DECODER})),
    "joint_beam": Method(joint_search, frozenset({CTC, DECODER})),
    "hlg_1best": Method(hlg_search, frozenset({CTC, GRAPH})),
    "hlg_nbest": Method(rescoring.nbest_search, frozenset({CTC, GRAPH})),
    "nbest_oracle": Method(rescoring.oracle_search, frozenset(), lists=True),
    "lattice_rescore": Method(rescoring.lattice_search, frozenset({CTC, GRAPH, RESCORE_LM})),
    "attention_rescore": Method(rescoring.attention_search, frozenset({CTC, DECODER}), lists=True),
    "neural_lm_rescore": Method(neural_search, frozenset({NEURAL_LM}), lists=True),
}
