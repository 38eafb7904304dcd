"""Typed options of a program from a dataclass: `--name value`, YAML by `--config`, `--help`, clear errors.

A list is written `--kernels 3 5` or, in one word, `--kernels=[3,5]`. `--optim FILE` takes the section of a group from a
YAML file that may hold others, as a model's preset does, in place of what `--config` says of that group.

A field says what it is, and with that what it means for the stamp (egret.base.stamps):

    @dataclass(kw_only=True)
    class Options(StepOptions):
        cuts: list[Path] = infile("manifests to read", made_by="stage 0")   # its content counts
        out: Path = outdir("folder to write")                               # where the stamp lies
        order: int = option(3, "order of the n-gram")                       # a change means: run again
        workers: int = runtime(2, "processes")                              # changes nothing in the output
        optim: OptimOptions = group(OptimOptions)                           # --optim.lr 1e-3
"""

import re
import sys
from collections.abc import Container, Iterator, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from egret.base.errors import UsageError, nearest

T = TypeVar("T")
REQUIRED: Any = MISSING


def _field(kind: str, default: Any, help: str, **more: Any) -> Any:
    metadata = {"kind": kind, "help": help, **more}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(metadata=metadata) if default is REQUIRED else field(default=default, metadata=metadata)


def option(default: Any, help: str, **limits: Any) -> Any:
    """A value that changes the output. `minimum=`, `above=` and `maximum=` bound a number."""
    return _field("option", default, help, **limits)


def runtime(default: Any, help: str, **limits: Any) -> Any:
    """A value that changes how the work is done, not what comes out: jobs, device, log level."""
    return _field("runtime", default, help, **limits)


def infile(help: str, made_by: str = "", default: Any = REQUIRED) -> Any:
    """A file or folder that is read, or a list of them; `made_by` tells a user what leaves it."""
    return _field("input", default, help, made_by=made_by)


def positional(help: str) -> Any:
    """A file or folder that is read, given by its place on the command line without a name."""
    return _field("input", REQUIRED, help, made_by="", positional=True)


def outdir(help: str) -> Any:
    """The folder (or file) that is written."""
    return _field("output", REQUIRED, help)


def group(options: type) -> Any:
    """A dataclass of options of its own: `--<field>.<name>`."""
    return field(default_factory=options, metadata={"kind": "group", "help": options.__doc__})


@dataclass(kw_only=True)
class StepOptions:
    """What every step takes."""

    cmd: str = runtime("", "launcher to run under, such as 'utils/run.py --mem 8G'; empty: in this process")
    log: Path | None = runtime(None, "log of the launched job; default <out>/log/<step>.log")
    force: bool = runtime(False, "run even when the output is up to date")
    log_level: Literal["debug", "info", "warning", "error"] = runtime("info", "the least that is shown")


def walk(options: Any, prefix: str = "") -> Iterator[tuple[str, Field, Any]]:
    """(dotted name, field, value) of every option in a dataclass instance or class, groups opened."""
    for item in fields(options):
        if item.metadata.get("kind") == "group":
            inner = item.default_factory if isinstance(options, type) else getattr(options, item.name)
            yield from walk(inner, f"{prefix}{item.name}.")
        else:
            yield prefix + item.name, item, None if isinstance(options, type) else getattr(options, item.name)


def of_kind(options: Any, kind: str) -> dict[str, Any]:
    """The options of one kind (`option`, `runtime`, `input`, `output`) by dotted name."""
    return {name: value for name, item, value in walk(options) if item.metadata["kind"] == kind}


def defaults(options: type, kind: str) -> dict[str, Any]:
    """The defaults of the options of one kind by dotted name, those of a group as it makes them of itself; an option
    that has none is left out."""
    found: dict[str, Any] = {}
    for item in fields(options):
        default = item.default if item.default_factory is MISSING else item.default_factory()
        if item.metadata.get("kind") == "group":
            found |= {f"{item.name}.{name}": value for name, value in of_kind(default, kind).items()}
        elif item.metadata["kind"] == kind and default is not MISSING:
            found[item.name] = default
    return found


def parse(options: type[T], argv: Sequence[str], prog: str, description: str, example: str = "") -> T:
    """Options from a command line.

    Raises:
      UsageError: an unknown name (the nearest is suggested), a missing or ill-typed value.
    """
    import jsonargparse

    class Parser(jsonargparse.ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            raise UsageError(message)

    parser = Parser(
        prog=prog,
        description=description,
        epilog=f"example:\n  {example}" if example else None,
        formatter_class=_HelpFormatter,  # type: ignore[arg-type]
        exit_on_error=True,
        allow_abbrev=False,
    )
    hints = dict(_hints(options))
    groups = _groups(hints)
    about = "YAML file of options; the command line overrides it"
    if groups:
        about += f"; --{groups[-1]} FILE and the like: the section of that name of FILE, in its place"
    parser.add_argument("--config", action="config", help=about)
    for name, item, _ in walk(options):
        kind = hints[name]
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        text = item.metadata["help"]
        settings: dict[str, Any] = {"help": text.replace("%", "%%"), "type": kind}
        if item.metadata.get("positional"):
            parser.add_argument(name, **settings)
            del hints[name]  # it is no name for the command line
            continue
        if get_origin(kind) in (list, tuple):
            settings |= {"type": get_args(kind)[0], "nargs": "*"}
        if default is MISSING:
            settings["required"] = True
        else:
            settings["default"] = default
        parser.add_argument("--" + name.replace("_", "-"), **settings)
    try:
        values = parser.parse_args(_check_configs(_spell(argv, hints), hints))
    except UsageError as error:
        raise UsageError(f"{_explain(str(error), hints)} (see {prog} --help)") from None
    return _build(options, values)


def _HelpFormatter(prog: str) -> Any:
    import jsonargparse

    return jsonargparse.DefaultHelpFormatter(prog, max_help_position=32, width=110)


def _hints(options: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(options)
    for item in fields(options):
        if item.metadata.get("kind") == "group":
            yield from _hints(item.default_factory, f"{prefix}{item.name}.")  # type: ignore[arg-type]
        else:
            yield prefix + item.name, hints[item.name]


def _groups(hints: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(name.partition(".")[0] for name in hints if "." in name))


def _spell(argv: Sequence[str], hints: dict[str, Any]) -> list[str]:
    """`--num_jobs` as `--num-jobs`, a bare `--force` as `--force true`, `--scale=[1,2]` as `--scale 1 2`.

    Raises:
      UsageError: an unknown name, or a list without a value.
    """
    known = ["--" + name.replace("_", "-") for name in [*hints, *_groups(hints)]] + ["--config", "--help"]
    words: list[str] = []
    for place, word in enumerate(argv):
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word.partition("=")
            name = name.replace("_", "-")
            if name not in known:
                raise UsageError(f"unknown option {name}{nearest(name, known)}")
            word = name + equals + value
            kind = hints.get(name[2:].replace("-", "_"))
            bare = not equals and (place + 1 == len(argv) or argv[place + 1].startswith("--"))
            if bare and kind is bool:
                word = f"{name}=true"
            if get_origin(kind) in (list, tuple):
                if bare:
                    raise UsageError(f"{name}: expected at least one value")
                if value.startswith("["):
                    words += [name, *_bracketed(name, value)]
                    continue
        words.append(word)
    return words


def _bracketed(name: str, text: str) -> list[str]:
    """The values of a list in YAML's brackets, as they were typed."""
    import yaml

    try:
        values = yaml.load(text, Loader=yaml.BaseLoader)  # which leaves text as it is: NO is no truth value
    except yaml.YAMLError:
        values = None
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise UsageError(f"{name}={text}: expected a list such as [a,b]")
    return values


def _check_configs(words: list[str], hints: dict[str, Any]) -> list[str]:
    """Look at the file of each --config, for the parser's own messages do not name it, and move it to the front:
    the command line overrides it wherever it stands. An empty one is left out. The section GROUP of the file of --GROUP
    takes the place of what they say of it; a file without it changes nothing."""
    import json

    named = {"--config": "", **{"--" + name.replace("_", "-"): name for name in _groups(hints)}}
    contents: list[tuple[str, dict]] = []
    sections: dict[str, dict] = {}
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        option_name, equals, value = word.partition("=")
        if option_name not in named:
            kept.append(word)
            continue
        path = value if equals else next(rest, "")
        if not path or path.startswith("--"):
            raise UsageError(f"{option_name}: expected a YAML file")
        section = named[option_name]
        content = _read_config(option_name, Path(path), hints, section)
        if not section:
            contents.append((path, content))
        elif content:
            sections[section] = content
    configs: list[str] = []
    for path, content in contents:
        left = {name: value for name, value in content.items()
                if str(name).replace("-", "_").partition(".")[0] not in sections}  # fmt: skip
        if left:
            configs += ["--config", path if left.keys() == content.keys() else json.dumps(left, default=str)]
    if sections:
        configs += ["--config", json.dumps(sections, default=str)]
    return configs + kept


def _read_config(option_name: str, path: Path, hints: dict[str, Any], section: str = "") -> dict:
    """The content of a YAML file, or what its section holds.

    Raises:
      UsageError: no such file, not YAML, a name that is not known, one value where a list is due.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{option_name} {path}: cannot be read as YAML: {why}") from None
    if isinstance(content, dict) and section:
        content = content.get(section, content.get(section.replace("_", "-")))
    if not isinstance(content, dict | None):
        where = f" below {section}" if section else ""
        raise UsageError(f"{option_name} {path}: expected lines of `name: value`{where}")
    values = dict(_dotted(content or {}, hints, f"{section}." if section else ""))
    for name, value in values.items():
        if name not in hints:
            raise UsageError(f"{option_name} {path}: unknown option {name}{nearest(name, hints)}")
        if get_origin(hints[name]) in (list, tuple) and not isinstance(value, list):
            raise UsageError(f"{option_name} {path}: {name} takes a list, [{value}]")
    return content if values and content else {}


def _dotted(content: dict, hints: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        name = prefix + str(key).replace("-", "_")
        if isinstance(value, dict) and name not in hints:
            yield from _dotted(value, hints, name + ".")
        else:
            yield name, value


def _explain(message: str, named: Container[str]) -> str:
    """A parser's message on one line, in the words of the command line; options not `named` are positional."""
    message = " ".join(message.split())
    message = re.sub(r'^Parser key "([^"]*)"', lambda found: "--" + found[1].replace("_", "-"), message)
    message = re.sub(r"Expected an? <class '(\w+)'>\. Got value:", r"expected \1, got", message)
    message = re.sub(r"Expected an? typing\.Literal\[(.*?)\]\. Got value:", r"expected one of \1, got", message)
    if "expected str, got" in message:
        message += "; in YAML, put it in quotes"

    def required(found: re.Match) -> str:
        return found[1] + ", ".join(_dashed(name) if name in named else name for name in found[2].split(", "))

    return re.sub(r"(arguments are required: )(.*)", required, message)


def _dashed(name: str) -> str:
    return "--" + name.replace("_", "-")


def _build(options: type[T], values: Any, prefix: str = "") -> T:
    made = {}
    for item in fields(options):  # type: ignore[arg-type]
        value = getattr(values, item.name)
        if item.metadata.get("kind") == "group":
            value = _build(item.default_factory, value, f"{prefix}{item.name}.")  # type: ignore[arg-type]
        else:  # before the class sees it, which may divide by it
            _check_limits(_dashed(prefix + item.name), item, value)
        made[item.name] = value
    return options(**made)


def _check_limits(name: str, item: Field, value: Any) -> None:
    at = item.metadata
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, int | float) or isinstance(each, bool):
            continue
        if "minimum" in at and not each >= at["minimum"]:  # so written that NaN is refused
            raise UsageError(f"{name} {each}: must be at least {at['minimum']}")
        if "maximum" in at and not each <= at["maximum"]:
            raise UsageError(f"{name} {each}: must be at most {at['maximum']}")
        if "above" in at and not each > at["above"]:
            raise UsageError(f"{name} {each}: must be above {at['above']}")


def as_plain(options: Any) -> dict[str, Any]:
    """A dataclass of options as nested dictionaries of plain values (paths as text), for YAML and JSON."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [plain(inner) for inner in value]
        return str(value) if isinstance(value, Path) else value

    return plain(asdict(options)) if is_dataclass(options) else plain(options)  # type: ignore[arg-type]


def command_line(argv: Sequence[str] | None = None) -> str:
    """The command as one could type it again."""
    import shlex

    return shlex.join(sys.argv if argv is None else argv)
