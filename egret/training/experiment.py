"""An experiment folder is never destroyed by a rerun: it goes on, or training stops and says what differs."""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from operator import attrgetter
from pathlib import Path
from typing import Any

from egret.base.errors import Refused
from egret.base.files import read_json, write_json
from egret.base.log import log
from egret.base.options import as_plain, defaults, of_kind
from egret.base.stamps import fingerprint
from egret.models.files import save_config
from egret.training.denominator import BIGRAM
from egret.training.loop_options import LoopOptions
from egret.training.task import Task
from egret.training.tasks import task_of

BEGUN = ".begun.json"


def begin(options: LoopOptions, version: int) -> dict[str, Any]:
    """Open a new experiment, or an old one to go on with; returns its config. `version` is that of the step.

    Raises:
      EgretError: the folder holds a model trained otherwise, or for more epochs than are asked for now; or files
        that are given are not what the options ask for.
    """
    out, task = options.out, task_of(options)
    task.check()
    for name in without_effect(options):
        log.warning("--%s.*: of no effect, the model has none of it", name.replace("_", "-"))
    asked = {
        "version": version,
        "options": as_plain(of_this_model(options)),
        "inputs": inputs(options, task),
    }
    if (out / BEGUN).exists() and not forced(options):
        found = differences(with_defaults(read_json(out / BEGUN), options), asked)
        if found and holds_a_model(out):
            raise Refused(
                f"{out} holds a model trained otherwise ({'; '.join(found)}); keep both with another --out "
                f"(run.sh: --tag NAME), or train this one anew with --force"
            )
        if found:
            log.info("%s: begun otherwise (%s), but nothing came of it: begun anew", out, "; ".join(found))
            clear(out)
    elif (out / BEGUN).exists():
        log.info("--force: the checkpoints in %s are removed", out)
        clear(out)
    config = task.describe()
    save_config(out / "config.yaml", config)
    task.keep()
    write_json(out / "env.json", environment())
    write_json(out / BEGUN, asked)
    with open(out / "history.jsonl", "a", encoding="utf-8") as history:  # how often it was begun, and went on
        history.write(json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S"), "command": sys.argv}) + "\n")
    return config


def inputs(options: LoopOptions, task: Task) -> dict[str, str]:
    """What the model is made from, by its content: a folder that was copied to another machine goes on there."""
    found = {}
    for name, value in of_kind(options, "input").items():
        if name in options.report_only:
            continue
        paths = [path for path in (value if isinstance(value, list) else [value]) if path]
        for number, path in enumerate(paths, 1):
            found[name if number == 1 else f"{name} {number}"] = fingerprint(path)
    return found | task.more_inputs()


def of_this_model(options: LoopOptions) -> dict[str, Any]:
    """The options that make the model what it is, by dotted name."""
    unused = tuple(f"{name}." for name in options.unused())
    return {name: value for name, value in of_kind(options, "option").items() if not name.startswith(unused)}


def without_effect(options: LoopOptions) -> list[str]:
    """Groups that do not matter, and of which something was set: a file may have those of several models."""
    groups = {name: attrgetter(name)(options) for name in options.unused()}
    return [name for name, group in groups.items() if group != type(group)()]


def forced(options: LoopOptions) -> bool:
    return options.force or os.environ.get("EGRET_FORCE") == "1"


def with_defaults(before: dict[str, Any], options: LoopOptions) -> dict[str, Any]:
    """What an experiment began with; options that there were none of then had what is their default now, and inputs
    that only the report is about do not matter."""
    read = {name: value for name, value in before["inputs"].items() if name.split()[0] not in options.report_only}
    return {**before, "inputs": read, "options": {**as_plain(defaults(type(options), "option")), **before["options"]}}


def clear(out: Path) -> None:
    """Remove what was trained in a folder."""
    for name in ["checkpoints", "tensorboard", BEGUN, "final.safetensors", "skipped.jsonl", BIGRAM]:
        path = out / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def holds_a_model(out: Path) -> bool:
    """Whether anything was trained in a folder; wrong options may have ended it before."""
    return (out / "final.safetensors").exists() or any((out / "checkpoints").glob("[a-z]*-*/state.json"))


def differences(before: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """Going on with the same, or with more epochs, is fine; anything else is another experiment: why it is one."""
    old, new = before["options"], asked["options"]
    found = [f"{name} {old.get(name)} -> {value}" for name, value in sorted(new.items())
             if name != "epochs" and old.get(name) != value]  # fmt: skip
    if new["epochs"] < old["epochs"]:
        found.append(f"epochs {old['epochs']} -> {new['epochs']}")
    read, reads = before["inputs"], asked["inputs"]
    found += [f"--{name.replace('_', '-')} has other content" for name in sorted(read.keys() | reads.keys())
              if read.get(name) != reads.get(name)]  # fmt: skip
    if before["version"] != asked["version"]:
        found.append(f"the step's version {before['version']} -> {asked['version']}")
    return found


def environment() -> dict[str, Any]:
    """What this was trained with: revision, versions, host."""
    from importlib.metadata import PackageNotFoundError, version

    def installed(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    here = Path(__file__).parent
    git = subprocess.run(["git", "-C", here, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return {
        "command": sys.argv,
        "git": git.stdout.strip() or None,
        "python": platform.python_version(),
        "host": platform.node(),
        "cores": os.cpu_count(),
        "packages": {name: installed(name) for name in ["torch", "lhotse", "k2", "kaldifeat", "numpy"]},
    }
