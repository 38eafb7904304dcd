"""Options of a program: how they are written, what they become, and what is said of a mistake."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from egret.base.errors import UsageError
from egret.base.options import (
    REQUIRED,
    StepOptions,
    as_plain,
    group,
    infile,
    of_kind,
    option,
    outdir,
    parse,
    positional,
    runtime,
)

ROOT = Path(__file__).resolve().parents[1]
BOTH = "oov: A\noptim: {lr: 5, warm_up: 7}\n"


@dataclass(kw_only=True)
class Optim:
    """The optimiser."""

    lr: float = option(0.1, "learning rate", above=0)
    warm_up: int = option(3, "steps", minimum=0, maximum=10)
    layers: list[int] = option([1], "sizes")
    heads: int = option(2, "of a layer", minimum=1)

    def __post_init__(self) -> None:
        if 8 % self.heads:
            raise UsageError("8 does not divide")


@dataclass(kw_only=True)
class Options(StepOptions):
    cuts: list[Path] = infile("manifests", "stage 0", default=[])
    epochs: int = option(REQUIRED, "passes over the data")
    oov: str = option("", "a word")
    kind: Literal["phone", "word"] = option("phone", "units")
    scale: list[float] = option([1.0], "scales", minimum=0)
    methods: list[Literal["greedy", "graph"]] = option(["graph"], "how")
    limit: float | None = option(None, "seconds")
    shuffle: bool = option(False, "in random order")
    num_jobs: int = runtime(1, "jobs")
    optim: Optim = group(Optim)
    out: Path = outdir("folder")


@dataclass(kw_only=True)
class Pair:
    first_one: Path = positional("a folder")
    second: Path = positional("another one")
    epochs: int = option(3, "passes over the data")


def read(*words: str) -> Options:
    return parse(Options, ["--epochs", "1", "--out", "x", *words], "tiny.py", "A tiny program.", "tiny.py --epochs 1")


def complaint(*words: str) -> str:
    with pytest.raises(UsageError) as caught:
        read(*words)
    message = str(caught.value)
    assert "\n" not in message and "<class" not in message
    return message


@pytest.fixture
def config(tmp_path):
    def write(text: str | bytes) -> str:
        path = tmp_path / "a.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


class TestCommandLine:
    def test_name_and_value_may_be_two_words_or_one(self):
        assert read("--oov", "A").oov == read("--oov=A").oov == "A"

    def test_a_value_may_contain_an_equals_sign(self):
        assert read("--oov=a=b").oov == "a=b"

    def test_underscores_are_hyphens(self):
        assert read("--num_jobs", "4").num_jobs == read("--num-jobs=4").num_jobs == 4

    def test_nested(self):
        options = read("--optim.lr", "1e-3", "--optim.warm_up=4")
        assert options.optim == Optim(lr=0.001, warm_up=4)

    def test_the_defaults_of_one_parse_are_not_those_of_the_next(self):
        read("--optim.lr", "5").scale.append(9.0)
        assert read().optim.lr == 0.1
        assert read().scale == [1.0]

    def test_lists_take_several_words(self):
        assert read("--cuts", "a", "b", "--scale", "1", "0.5").cuts == [Path("a"), Path("b")]
        assert read("--scale", "1", "0.5").scale == [1.0, 0.5]

    def test_a_list_may_be_one_word_in_brackets(self):
        assert read("--scale=[0.5, 1e-1]").scale == [0.5, 0.1]
        assert read("--cuts=[a,b]").cuts == [Path("a"), Path("b")]
        assert read("--optim.layers=[5,5]").optim.layers == [5, 5]
        assert read("--methods=[greedy]").methods == ["greedy"]

    def test_a_list_in_brackets_may_be_empty(self):
        assert read("--scale=[]", "--oov", "A").scale == []

    def test_text_in_brackets_stays_as_it_was_typed(self):
        assert read("--cuts=[NO, null, 'a, b']").cuts == [Path("NO"), Path("null"), Path("a, b")]

    @pytest.mark.parametrize("words", [["--shuffle"], ["--shuffle", "true"], ["--shuffle=yes"]])
    def test_true(self, words):
        assert read(*words, "--oov", "A").shuffle is True

    def test_false(self):
        assert read("--shuffle", "false").shuffle is False

    @pytest.mark.parametrize("word", ["NO", "null", "1", "1e3", "[x]", "{a: b}", "<UNK>", "a: b", "한국어", ""])
    def test_text_stays_as_it_was_typed(self, word):
        assert read("--oov", word).oov == word

    def test_null_where_there_may_be_none(self):
        assert read("--limit", "null").limit is None
        assert read("--limit", "2").limit == 2.0

    def test_the_last_of_two_counts(self):
        assert read("--oov", "A", "--oov", "B").oov == "B"


class TestConfig:
    def test_yaml_sets_what_the_command_line_does_not(self, config):
        path = config("oov: A\noptim:\n  lr: 1e-3\nscale: [1, 2]\nkind: word\nlimit: null\n")
        options = read("--config", path, "--kind", "phone")
        assert (options.oov, options.optim.lr, options.scale, options.kind) == ("A", 0.001, [1.0, 2.0], "phone")

    def test_the_command_line_wins_on_either_side(self, config):
        path = config("optim:\n  lr: 5\n  warm_up: 7\n")
        for words in (["--optim.lr", "2", "--config", path], [f"--config={path}", "--optim.lr", "2"]):
            assert read(*words).optim == Optim(lr=2.0, warm_up=7)

    def test_hyphens_in_yaml(self, config):
        assert read("--config", config("num-jobs: 5\noptim:\n  warm-up: 4\n")).num_jobs == 5

    def test_a_file_of_comments_sets_nothing(self, config):
        assert read("--config", config("# nothing\n")).oov == ""

    def test_missing(self):
        assert complaint("--config", "gone.yaml").startswith("--config gone.yaml: ")

    @pytest.mark.parametrize("text", ["oov: [", b"\xff\xfe", "a: b: c"])
    def test_not_yaml(self, config, text):
        path = config(text)
        assert complaint("--config", path).startswith(f"--config {path}: cannot be read as YAML")

    @pytest.mark.parametrize("text", ["- a\n- b\n", "oov\n"])
    def test_yaml_without_names(self, config, text):
        assert "name: value" in complaint("--config", config(text))

    def test_an_unknown_name_is_refused_and_the_nearest_suggested(self, config):
        assert "unknown option epoch; did you mean 'epochs'" in complaint("--config", config("epoch: 3"))
        assert "optim.lrr; did you mean 'optim.lr'" in complaint("--config", config("optim: {lrr: 3}"))

    def test_yaml_that_reads_a_word_as_a_truth_value_is_told_to_quote_it(self, config):
        assert "quotes" in complaint("--config", config("oov: NO"))
        assert read("--config", config("oov: 'NO'")).oov == "NO"

    def test_one_value_where_a_list_is_due(self, config):
        assert "scale takes a list, [1]" in complaint("--config", config("scale: 1"))

    def test_a_section_is_taken_out_of_a_file_of_others(self, config):
        path = config("model: {layers: 3}\noptim:\n  lr: 2\n  layers: [5]\n")
        options = read("--optim", path)
        assert (options.optim.lr, options.optim.layers, options.optim.warm_up) == (2, [5], 3)

    def test_a_section_takes_the_place_of_the_configuration_s(self, config, tmp_path):
        section = tmp_path / "preset.yaml"
        section.write_text("optim: {lr: 2}\n")
        for words in (["--config", config(BOTH), f"--optim={section}"], ["--optim", section, "--config", config(BOTH)]):
            options = read(*map(str, words))
            assert (options.oov, options.optim.lr, options.optim.warm_up) == ("A", 2, 3)

    def test_values_mean_in_a_section_what_they_mean_in_a_configuration(self, config, tmp_path):
        section = tmp_path / "preset.yaml"
        section.write_text("optim: {lr: 1e-3, layers: [1, 2]}\n")
        options = read("--config", config("oov: 'NO'\nscale: [1e-2]\noptim.warm_up: 7\n"), "--optim", str(section))
        found = (options.oov, options.scale, options.optim.lr, options.optim.layers, options.optim.warm_up)
        assert found == ("NO", [0.01], 1e-3, [1, 2], 3)

    def test_the_command_line_overrides_a_section(self, config):
        assert read("--optim.lr", "7", "--optim", config(BOTH)).optim.lr == 7

    def test_a_file_without_the_section_changes_nothing(self, config, tmp_path):
        other = tmp_path / "preset.yaml"
        other.write_text("model: {layers: 3}\n")
        assert read("--config", config(BOTH), "--optim", str(other)).optim.warm_up == 7

    def test_mistakes_in_a_section(self, config):
        assert "--optim gone.yaml: cannot be read" in complaint("--optim", "gone.yaml")
        assert "unknown option optim.lrr; did you mean" in complaint("--optim", config("optim: {lrr: 3}"))
        assert "`name: value` below optim" in complaint("--optim", config("optim: 3"))
        assert "--optim: expected a YAML file" in complaint("--optim", "--oov", "A")

    def test_ill_typed(self, config):
        assert "--num-jobs: expected int, got many" in complaint("--config", config("num_jobs: many"))


class TestMistakes:
    def test_an_unknown_option_is_refused_and_the_nearest_suggested(self):
        assert complaint("--epoch", "3").startswith("unknown option --epoch; did you mean '--epochs'?")
        assert "did you mean '--optim.lr'?" in complaint("--optim.lrate=3")

    def test_an_option_is_never_abbreviated(self):
        assert "unknown option --shuf" in complaint("--shuf")

    @pytest.mark.parametrize("word", ["stray", "-x"])
    def test_a_stray_word(self, word):
        assert word in complaint("--kind", "word", word)

    @pytest.mark.parametrize(
        "words",
        [["--num-jobs", "many"], ["--num-jobs", "1.5"], ["--num-jobs="], ["--optim.lr", "x"], ["--shuffle", "maybe"]],
    )
    def test_ill_typed(self, words):
        assert complaint(*words).startswith(words[0].rstrip("=") + ": expected ")

    def test_not_one_of_the_choices(self):
        assert "--kind: expected one of 'phone', 'word', got char" in complaint("--kind", "char")
        assert "--log-level" in complaint("--log-level", "loud")

    @pytest.mark.parametrize("words", [["--oov"], ["--scale"], ["--config"], ["--num-jobs", "--shuffle"]])
    def test_a_missing_value(self, words):
        assert words[0] in complaint(*words)

    @pytest.mark.parametrize("value", ["[1", "[[1]]", "[{a: 1}]", "[1] 2"])
    def test_brackets_that_are_no_list(self, value):
        assert complaint(f"--scale={value}").startswith(f"--scale={value}: expected a list such as [a,b]")

    def test_a_value_in_brackets_of_the_wrong_type(self):
        assert "--optim.layers" in complaint("--optim.layers=[5,five]")
        assert "at least 0" in complaint("--scale=[1,-2]")

    def test_a_missing_option(self):
        with pytest.raises(UsageError, match="required: --epochs"):
            parse(Options, ["--out", "x"], "tiny.py", "")

    @pytest.mark.parametrize(
        ("words", "bound"),
        [
            (["--optim.lr", "0"], "above 0"),
            (["--optim.lr=-1"], "above 0"),
            (["--optim.lr", ".nan"], "above 0"),
            (["--optim.warm-up", "11"], "at most 10"),
            (["--optim.warm-up=-1"], "at least 0"),
            (["--scale", "1", "-2"], "at least 0"),
            (["--optim.heads", "0"], "--optim.heads 0: must be at least 1"),
        ],
    )
    def test_out_of_bounds(self, words, bound):
        assert bound in complaint(*words)

    def test_bounds_are_within(self):
        assert read("--optim.warm-up", "10").optim.warm_up == 10

    def test_bounds_hold_in_yaml_too(self, config):
        assert "--optim.warm-up 11: must be at most 10" in complaint("--config", config("optim: {warm_up: 11}"))


class TestAProgram:
    def run(self, *words):
        return subprocess.run(
            [sys.executable, ROOT / "steps" / "prepare_lang.py", *words],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    @pytest.mark.parametrize("words", [["--lexicom", "a"], [], ["--out", "x", "--silence-probability", "2"]])
    def test_a_mistake_is_exit_code_2_and_one_line_on_standard_error(self, words):
        done = self.run(*words)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith("prepare_lang: error: ") and done.stderr.count("\n") == 1

    def test_help_shows_options_defaults_and_an_example(self):
        done = self.run("--help")
        assert done.returncode == 0
        for text in ("--silence-probability", "default: 0.5", "example:", "--out data/lang_phone"):
            assert text in done.stdout


def test_options_by_kind():
    options = read("--cuts", "a")
    assert of_kind(options, "input") == {"cuts": [Path("a")]}
    assert of_kind(options, "output") == {"out": Path("x")}
    assert of_kind(options, "option")["optim.lr"] == 0.1
    assert set(of_kind(options, "runtime")) == {"cmd", "log", "force", "log_level", "num_jobs"}


def test_plain_values_for_yaml():
    plain = as_plain(read("--cuts", "a"))
    assert plain["cuts"] == ["a"] and plain["optim"] == {"lr": 0.1, "warm_up": 3, "layers": [1], "heads": 2}


class TestPositional:
    @pytest.mark.parametrize(
        "words", [["a", "b", "--epochs", "5"], ["--epochs", "5", "a", "b"], ["a", "--epochs=5", "b"]]
    )
    def test_they_stand_anywhere_among_options(self, words: list[str]):
        assert parse(Pair, words, "pair.py", "") == Pair(first_one=Path("a"), second=Path("b"), epochs=5)

    def test_one_that_is_missing_is_named_without_dashes(self):
        with pytest.raises(UsageError, match="are required: second "):
            parse(Pair, ["a"], "pair.py", "")

    def test_one_too_many_is_refused(self):
        with pytest.raises(UsageError, match="unrecognized arguments: c"):
            parse(Pair, ["a", "b", "c"], "pair.py", "")

    def test_it_has_no_option_of_its_name(self):
        with pytest.raises(UsageError, match="unknown option --second"):
            parse(Pair, ["a", "--second", "b"], "pair.py", "")
