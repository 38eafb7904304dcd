"""From syllables to text: what is found in LG is what trying everything finds, whole or syllable by syllable."""

import io
import json
import random
import subprocess
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

from egret.base.errors import EgretError, UsageError
from egret.base.files import read_json, read_jsonl, write_json, write_jsonl
from egret.decoding.syllables import BY_ITSELF, SyllableGraph, SyllableSearch, Text, texts_of
from egret.graph import arcs
from egret.graph.grammar import grammar
from egret.graph.syllable_graph import compile_syllable_graph
from egret.lang.lang import Lang
from egret.lang.lexicon import write_lexicon
from exhaustive import Lexicon, Ngram, random_ngram
from folders import PREPARE_LANG, ROOT, step_module

pytestmark = pytest.mark.k2

CHINESE = [
    ("是", ["shi4"]), ("事", ["shi4"]), ("这", ["zhe4"]), ("这是", ["zhe4", "shi4"]), ("中", ["zhong1"]),
    ("中", ["zhong4"]), ("重", ["zhong4"]), ("中国", ["zhong1", "guo2"]), ("国", ["guo2"]), ("国事", ["guo2", "shi4"]),
]  # fmt: skip


@dataclass
class Case:
    """A lexicon, an n-gram model, and the graph of both in `folder`."""

    folder: Path
    lexicon: Lexicon
    ngram: Ngram
    lang: Lang
    graph: SyllableGraph


def make_case(folder: Path, lexicon: Lexicon = CHINESE, order: int = 2, seed: int = 1, silence: str = "") -> Case:
    (folder / "lang").mkdir(parents=True)
    (folder / "dictionary.txt").write_text(write_lexicon(lexicon))
    PREPARE_LANG.run(PREPARE_LANG.Options(kind="syllable", lexicon=folder / "dictionary.txt", silence=silence,
                                          out=folder / "lang"))  # fmt: skip
    lang = Lang.read(folder / "lang")
    ngram = random_ngram(random.Random(seed), list(dict.fromkeys(word for word, _ in lexicon)), order)
    g = grammar(ngram.write(folder / "lm.arpa"), lang.folder / "words.txt", order)
    arcs.save(folder / "LG.safetensors", compile_syllable_graph(lang, g), arcs.identity(lang))
    return Case(folder, lexicon, ngram, lang, SyllableGraph.read(folder, lang))


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    pytest.importorskip("k2")
    return make_case(tmp_path_factory.mktemp("chinese"))


def ways(lexicon: Lexicon, syllables: list[str]) -> list[list[str]]:
    """All rows of words that may sound like the syllables."""
    if not syllables:
        return [[]]
    return [[word, *rest] for word, sounds in lexicon if syllables[: len(sounds)] == sounds
            for rest in ways(lexicon, syllables[len(sounds) :])]  # fmt: skip


def all_texts(case: Case, syllables: list[str]) -> list[tuple[str, float]]:
    """Every text of the syllables with its best score, the likeliest first."""
    best: dict[str, float] = {}
    for words in ways(case.lexicon, syllables):
        text = "".join(words)
        best[text] = max(best.get(text, float("-inf")), case.ngram.score(words))
    return sorted(best.items(), key=lambda row: -row[1])


def assert_exact(case: Case, syllables: list[str], nbest: int = 1) -> None:
    """The texts found have the highest scores, each its own; of texts with equal scores any may come first.

    Those in which a syllable stands by itself come after all others.
    """
    every = all_texts(case, syllables)
    texts = [text for text in texts_of(case.graph, syllables, nbest) if text.score > BY_ITSELF]
    assert [text.score for text in texts] == pytest.approx([score for _, score in every[:nbest]], abs=1e-4)
    assert [text.score for text in texts] == pytest.approx([dict(every)[str(text)] for text in texts], abs=1e-4)
    assert len({str(text) for text in texts}) == len(texts)


def rows(case: Case, longest: int = 4) -> list[list[str]]:
    """All rows of syllables that the lexicon has words for."""
    names = sorted({name for _, sounds in case.lexicon for name in sounds})
    every = [list(row) for length in range(longest + 1) for row in product(names, repeat=length)]
    return [row for row in every if ways(case.lexicon, row)]


# The search


@pytest.mark.parametrize("order", [1, 2])
def test_the_best_text_is_the_best_of_all(k2, tmp_path, order):
    case = make_case(tmp_path, order=order)
    for row in rows(case):
        assert_exact(case, row)


def test_the_n_best_texts_are_the_best_of_all_in_their_order(case):
    for row in rows(case):
        assert_exact(case, row, nbest=5)


@pytest.mark.parametrize("seed", range(6))
def test_the_n_best_texts_are_the_best_of_all_in_random_lexicons(k2, tmp_path, seed):
    rng = random.Random(seed)
    words = [rng.choice("甲乙丙丁") * rng.randint(1, 2) for _ in range(7)]
    entries = {(word, tuple(rng.choices(["a1", "b2"], k=rng.randint(1, 3)))) for word in words}
    case = make_case(tmp_path, sorted((word, list(sounds)) for word, sounds in entries), rng.randint(1, 2), seed)
    for row in rows(case):
        assert_exact(case, row, nbest=4)


def test_texts_of_different_words_are_one_text(case):
    texts = [str(text) for text in texts_of(case.graph, ["zhe4", "shi4"], nbest=9)]
    assert sorted(texts) == sorted(["这是", "这事"])


def test_one_syllable_after_the_other_gives_what_the_whole_row_gives(case):
    row = ["zhe4", "shi4", "zhong1", "guo2", "xyz9", "shi4", "zhong4"]
    search = SyllableSearch(case.graph, nbest=3)
    for count, name in enumerate(row, 1):
        search.push(name)
        assert search.best() == texts_of(case.graph, row[:count], nbest=3)


def test_no_syllables_are_the_empty_text(case):
    assert_exact(case, [], nbest=2)


def test_silence_of_the_lang_folder_is_no_part_of_the_graph(k2, tmp_path):
    case = make_case(tmp_path, silence="sil")
    assert_exact(case, ["zhe4", "shi4", "guo2"], nbest=9)


def test_words_in_latin_letters_stand_apart():
    assert str(Text(["这", "是", "OK", "HELLO", "吗", "<xyz9>"], 0.0)) == "这是 OK HELLO 吗<xyz9>"


# Syllables that the graph does not have


def test_an_unknown_syllable_passes_through_marked(case):
    [best] = texts_of(case.graph, ["zhe4", "xyz9", "guo2"])
    assert best.words == ["这", "<xyz9>", "国"]


def test_a_row_of_unknown_syllables_only_passes_through(case):
    assert [str(text) for text in texts_of(case.graph, ["xyz9", "q"], nbest=3)] == ["<xyz9><q>"]


def test_a_syllable_that_the_graph_lacks_is_its_commonest_character(case):
    assert str(texts_of(case.graph, ["zhe4", "shi4", "wo3", "guo2"])[0]).endswith("我国")


def test_a_syllable_that_only_begins_words_may_stand_by_itself_where_none_follows(k2, tmp_path):
    case = make_case(tmp_path, [("我们", ["wo3", "men5"]), ("是", ["shi4"])])
    assert str(texts_of(case.graph, ["shi4", "wo3", "shi4"])[0]) == "是我是"
    assert str(texts_of(case.graph, ["shi4", "wo3", "men5", "shi4"])[0]) == "是我们是"


def test_a_user_s_dictionary_gives_characters_to_syllables(case):
    graph = SyllableGraph.read(case.folder, case.lang, {"𰻝": ["biang2"]})
    assert str(texts_of(graph, ["zhe4", "biang2"])[0]).endswith("𰻝")


def test_a_syllable_without_tone_is_any_tone_if_asked(case):
    every = {name for first in ("zhong1", "zhong4") for name, _ in all_texts(case, [first, "guo2"])}
    assert {str(text) for text in texts_of(case.graph, ["zhong", "guo2"], nbest=9, any_tone=True)} == every
    assert str(texts_of(case.graph, ["zhong", "guo2"])[0]) == "<zhong>国"
    assert str(texts_of(case.graph, ["wo", "guo2"], any_tone=True)[0]) == "我国"


def test_other_ways_of_writing_a_syllable_are_understood(case):
    assert texts_of(case.graph, ["ZHE4", "Shi4"]) == texts_of(case.graph, ["zhe4", "shi4"])


# The graph


def test_a_graph_of_another_lang_folder_is_refused(case, tmp_path):
    other = make_case(tmp_path, [("是", ["shi4"])])
    with pytest.raises(EgretError, match="made for other units or words than"):
        SyllableGraph.read(case.folder, other.lang)


def test_a_folder_without_lg_says_how_it_is_made(case, tmp_path):
    with pytest.raises(EgretError, match=r"compile_graph.py leaves it with --lg true"):
        SyllableGraph.read(tmp_path, case.lang)


def test_units_that_spell_words_have_no_lg(tmp_path):
    (tmp_path / "words.txt").write_text("ab\n")
    PREPARE_LANG.run(PREPARE_LANG.Options(kind="char", lexicon=tmp_path / "words.txt", out=tmp_path / "lang"))
    lang = Lang.read(tmp_path / "lang")
    with pytest.raises(UsageError, match="of the kind 'char'"):
        compile_syllable_graph(lang, arcs.load(lang.folder / "L.safetensors"))


def test_compile_graph_leaves_lg_when_asked_and_only_then(k2, case, tmp_path, run_step):
    made = grammar(case.folder / "lm.arpa", case.lang.folder / "words.txt", 2)
    arcs.save(tmp_path / "G.safetensors", made)
    call = ("compile_graph", tmp_path, "--lang", str(case.lang.folder), "--grammar", "G.safetensors", "--out", "graph")
    run_step(*call, "--lg", "true")
    assert texts_of(SyllableGraph.read(tmp_path / "graph", case.lang), ["zhe4"]) == texts_of(case.graph, ["zhe4"])
    run_step(*call)
    assert not (tmp_path / "graph/LG.safetensors").exists()


def test_lg_of_units_that_spell_words_is_refused_before_hlg_is_made(k2, tmp_path, run_step):
    (tmp_path / "words").write_text("AB\n")
    run_step("prepare_lang", tmp_path, "--kind", "char", "--lexicon", "words", "--out", "lang")
    arpa = random_ngram(random.Random(1), ["AB"], 2).write(tmp_path / "lm.arpa")
    arcs.save(tmp_path / "G.safetensors", grammar(arpa, tmp_path / "lang/words.txt", 2))
    call = ("compile_graph", tmp_path, "--lang", "lang", "--grammar", "G.safetensors", "--out", "graph")
    assert "of the kind 'char'" in run_step(*call, "--lg", "true", code=2)
    assert not (tmp_path / "graph/HLG.safetensors").exists()


# The program


@pytest.fixture
def say(case, capsys, monkeypatch):
    """What the program prints, with `given` on standard input."""
    module = step_module("pinyin_to_text")

    def run(*arguments: str, given: str = "", code: int = 0) -> str:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
        ended = module.start(["--lang", str(case.lang.folder), "--graph", str(case.folder), *arguments])
        said = capsys.readouterr()
        assert ended == code, said
        return said.err if code else said.err + said.out

    return run


def best_text(case: Case, row: str) -> str:
    return all_texts(case, row.split())[0][0]


def test_the_program_prints_the_text_of_its_argument(case, say):
    assert say("zhe4 shi4 zhong1") == best_text(case, "zhe4 shi4 zhong1") + "\n"


def test_the_argument_may_follow_a_flag_or_have_a_name(case, say):
    assert say("--any-tone", "zhe4") == say("zhe4", "--any-tone", "true") == say("--syllables=zhe4") == "这\n"


def test_syllables_without_quotes_are_one_row(case, say):
    assert say("zhe4", "shi4", "--any-tone", "zhong1", "guo2").strip() == best_text(case, "zhe4 shi4 zhong1 guo2")


def test_the_program_reads_lines_of_standard_input_or_of_a_file(case, say, tmp_path):
    (tmp_path / "rows.txt").write_text("\ufeffzhe4\n\nguo2 shi4\n")
    expected = ["这", "", best_text(case, "guo2 shi4")]
    assert say("--file", str(tmp_path / "rows.txt")).split("\n") == [*expected, ""]
    assert say(given="zhe4\r\n\r\nguo2 shi4").split("\n") == [*expected, ""]


def test_a_dash_is_standard_input(case, say):
    assert say("--file", "-", given="zhe4\nguo2 shi4\n") == f"这\n{best_text(case, 'guo2 shi4')}\n"


def test_an_empty_argument_is_no_request_for_standard_input(case, say):
    assert say("", given="zhe4\n") == "\n"


@pytest.mark.parametrize(
    ("given", "says"), [("shi zhong", "they have no tones: give --any-tone"), ("xyz9 q8", "write toned pinyin")]
)
def test_rows_of_unknown_syllables_only_are_told_of_once(say, given, says):
    said = say(given=f"zhe4 {given}\n{given}\n{given}\n").split("\n")
    assert [line for line in said if "none of these is a known syllable" in line and says in line] == [said[0]]


def test_unknown_syllables_among_others_are_not_told_of(say):
    assert say("zhe4 xyz9") == "这<xyz9>\n"


def test_help_names_the_options_for_a_decoding(say, capsys):
    with pytest.raises(SystemExit):
        say("--help")
    assert "`pinyin_to_text.py --decode x --help`" in " ".join(capsys.readouterr().out.split())


def test_the_program_prints_scores_with_several_texts(case, say):
    texts = texts_of(case.graph, ["zhong4", "guo2"], nbest=3)
    lines = "".join(f"{text.score:.4f}\t{text}\n" for text in texts)
    assert say("--nbest", "3", "zhong4 guo2") == lines + "\n"


def test_the_program_prints_the_text_so_far_after_each_syllable(case, say):
    first, second = ["zhe4", "zhe4 shi4", "zhe4 shi4 guo2"], ["zhong1"]
    said = say("--incremental", given="zhe4 shi4\nguo2\n\nzhong1")
    assert said.split("\n")[:-1] == [best_text(case, row) for row in [*first, *second]]


def test_a_syllable_is_answered_before_the_next_one_is_there(case):
    command = [sys.executable, str(ROOT / "steps/pinyin_to_text.py"), "--incremental", "--lang", str(case.lang.folder),
               "--graph", str(case.folder)]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b"zhe4 ")
        process.stdin.flush()
        assert process.stdout.readline().decode() == "这\n"
        process.stdin.close()
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--nbset", "2"], 2, "did you mean '--nbest'?"),
        (["--nbest", "0", "zhe4"], 2, "--nbest 0: must be at least 1"),
        (["--incremental", "--nbest", "2"], 2, "--incremental reads standard input"),
        (["zhe4", "--file", "x"], 2, "syllables or --file, not both"),
        (["--file", "none"], 1, "--file none: cannot be read (No such file or directory)"),
        (["--graph", "none", "zhe4"], 1, "none/LG.safetensors: not there"),
        (["--dictionary", "none", "zhe4"], 1, "--dictionary none: no such file"),
    ],
)
def test_wrong_calls_say_what_to_do(say, arguments, code, says):
    assert says in say(*arguments, code=code)


def test_importing_the_search_needs_no_heavy_modules(case):
    code = "import sys, egret.decoding.syllables; print(*sorted({'torch', 'k2', 'pypinyin'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# A decoding


@pytest.fixture
def two_step(case, tmp_path, run_step):
    """Make text of a decoding; returns what was said."""
    folder = tmp_path / "decode/dev_ctc_greedy"
    folder.mkdir(parents=True)
    write_jsonl(folder / "hyp.jsonl", [
        {"id": "a", "words": ["国事"], "tokens": ["zhe4", "shi4", "guo2"], "score": {"total": -1.0}},
        {"id": "b", "words": [], "tokens": [], "score": {"total": None}},
    ])  # fmt: skip
    rtf = {"encoder": 0.5, "search": 0.25, "audio_seconds": 4.0}
    about = {"part": "dev", "method": "ctc_greedy", "params": {}, "chosen_on": "fixed", "rtf": rtf}
    write_json(folder / "params.json", about)

    def run(*arguments: str, code: int = 0) -> str:
        call = ["--lang", str(case.lang.folder), "--graph", str(case.folder), "--decode", "decode/dev_ctc_greedy"]
        return run_step("pinyin_to_text", tmp_path, *call, "--out", "decode/dev_two_step", *arguments, code=code)

    return run


def test_a_decoding_becomes_one_of_two_steps(case, two_step, tmp_path):
    two_step()
    first, second = read_jsonl(tmp_path / "decode/dev_two_step/hyp.jsonl")
    assert "".join(first["words"]) == best_text(case, "zhe4 shi4 guo2")
    assert (first["tokens"], second["words"]) == (["zhe4", "shi4", "guo2"], [])
    about = read_json(tmp_path / "decode/dev_two_step/params.json")
    assert (about["part"], about["method"], about["params"]["of"]) == ("dev", "two_step", "ctc_greedy")
    assert about["rtf"]["encoder"] == 0.5 and about["rtf"]["search"] >= 0.25


def test_it_is_made_again_only_when_the_decoding_has_changed(two_step, tmp_path):
    two_step()
    assert "up to date" in two_step()
    hyp = tmp_path / "decode/dev_ctc_greedy/hyp.jsonl"
    hyp.write_text(json.dumps({"id": "a", "words": [], "tokens": ["zhe4"]}) + "\n")
    assert "input decode changed" in two_step()


def test_a_decoding_of_two_steps_is_scored_beside_the_others(two_step, tmp_path, run_step):
    two_step()
    cuts = [{"id": name, "start": 0, "duration": 1, "supervisions": [{"id": name, "start": 0, "text": text}]}
            for name, text in (("a", "这 是 国"), ("b", "国"))]  # fmt: skip
    write_jsonl(tmp_path / "dev.jsonl", cuts)
    said = run_step("score", tmp_path, "--decode", "decode", "--cuts", "dev.jsonl", "--dev-part", "dev")
    assert "two_step" in said and (tmp_path / "decode/dev_two_step/score.json").exists()


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"id": "a", "words": []}, "a row without id or tokens; decode again"),
        ({"id": "a", "words": [], "tokens": ["AA"]}, "a: AA not in"),
    ],
)
def test_a_decoding_in_other_units_is_refused(two_step, tmp_path, row, says):
    (tmp_path / "decode/dev_ctc_greedy/hyp.jsonl").write_text(json.dumps(row) + "\n")
    assert says in two_step(code=1)


def test_the_program_ends_with_the_code_that_recipes_rely_on(case, two_step, tmp_path):
    two_step()
    command = [sys.executable, str(ROOT / "steps/pinyin_to_text.py"), "--lang", str(case.lang.folder), "--graph",
               str(case.folder), "--decode", "decode/dev_ctc_greedy", "--out", "decode/dev_two_step"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_decoding_does_not_take_its_own_place(two_step):
    assert "is the folder of --decode" in two_step("--out", "decode/dev_ctc_greedy", code=2)
