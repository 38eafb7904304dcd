"""What every program in steps/ does besides its work: options, stamps, launching, closing line, exit code.

A program is a `Step` and a call of `main`. With `--cmd LAUNCHER` the step is compared with its stamp here and
submitted only when there is something to do; a `ParallelStep` is submitted as an array JOB=1:nj and combined
afterwards. `EGRET_STATUS=FILE` makes it append its state to FILE and do nothing else; `EGRET_FORCE=1` is
`--force` for every step of a recipe.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from egret.base.errors import EgretError, Refused, UsageError
from egret.base.log import Meter, log, set_up_logging
from egret.base.options import StepOptions, as_plain, command_line, defaults, of_kind, outdir, parse, runtime, walk
from egret.base.shares import APPEARS, has_shares, refuse_other_shares
from egret.base.stamps import (
    Request,
    failure_path,
    fingerprint,
    read_stamp,
    stamp_path,
    why_not_current,
    write_failure,
    write_stamp,
)
from egret.base.submit import LAUNCHED, Launched, launch


@dataclass(frozen=True)
class Outcome:
    """What a step leaves: the files that other steps read, and counts for the closing line."""

    outputs: list[Path]
    counts: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class OutOptions(StepOptions):
    """A step that leaves a folder."""

    out: Path = outdir("folder to write")


@dataclass(kw_only=True)
class ParallelOptions(OutOptions):
    """A step whose work is divided over jobs."""

    nj: int = runtime(1, "number of jobs", minimum=1)
    job: int = runtime(0, "do only this job's share, 1 to nj (set by the launcher); 0: all of them", minimum=0)

    @property
    def shares(self) -> Path:
        """The folder of the jobs' shares."""
        return self.out / f"split{self.nj}"


@dataclass(frozen=True)
class Step:
    """A program: a name, a version raised by hand when its output would change, its options and its work.

    `run(options)` does the work and returns an Outcome. `more_inputs(options)` gives fingerprints of what is
    read besides the fields marked `infile`. `again(options)`: it was asked for something that no stamp tells, so it
    runs although its output is up to date. `helps(options)`: it is one of several machines at the same work, and leaves
    the folder to the first of them.
    """

    name: str
    version: int
    options: type
    run: Callable[[Any], Outcome]
    description: str
    example: str = ""
    more_inputs: Callable[[Any], dict[str, str]] | None = None
    again: Callable[[Any], bool] | None = None
    helps: Callable[[Any], bool] | None = None

    def request(self, options: Any) -> Request:
        """What is asked for.

        Raises:
          EgretError: an input is missing; says which step makes it.
        """
        inputs = {}
        for name, item in of_kind(options, "input").items():
            for path in item if isinstance(item, list) else [item]:
                if path is not None:
                    key = f"{name} {path}" if isinstance(item, list) else name
                    inputs[key] = self._fingerprint(options, name, Path(path))
        if self.more_inputs:
            inputs |= self.more_inputs(options)
        settings = json.loads(json.dumps(as_plain(of_kind(options, "option"))))
        return Request(self.name, self.version, settings, inputs)

    def _fingerprint(self, options: Any, name: str, path: Path) -> str:
        try:
            return fingerprint(path)
        except (FileNotFoundError, NotADirectoryError):
            made_by = next(item.metadata["made_by"] for key, item, _ in walk(options) if key == name)
            hint = f"it is made by {made_by}" if made_by else "check the path"
            raise EgretError(f"--{name.replace('_', '-')} {path}: not there; {hint}") from None


# Has every job make its share, and waits for them. Its argument names the round, "" where there is only one; a step
# with several has an option --round, which the jobs get, and sets it itself.
Jobs = Callable[[str], None]


@dataclass(frozen=True)
class ParallelStep(Step):
    """A step divided over jobs: `run` does the share of `options.job`, `combine` joins the shares.

    Each job leaves its share in `share_folder(options)`, with a stamp, so that a job which is done is not
    done again when another one failed.
    """

    combine: Callable[[Any], Outcome] | None = None

    def divided(self, options: Any) -> bool:
        """Whether it is; else `run` does all, as that of any other step."""
        return True

    def share_request(self, options: Any, request: Request) -> Request:
        """What a job is asked for, where `request` is asked of all."""
        return replace(request, options={**request.options, "nj": options.nj})

    def direct(self, options: Any, jobs: Jobs) -> Outcome:
        """Have the jobs make their shares, in one round or more, and join them."""
        assert self.combine is not None
        jobs("")
        return self.combine(options)


def share_folder(options: ParallelOptions, job: int | None = None) -> Path:
    """Where a job leaves its share: `<out>/split<nj>/<job>`."""
    return options.shares / str(options.job if job is None else job)


def main(step: Step, argv: Sequence[str] | None = None) -> None:
    """Run a program and end the process: 0 done, 1 failed, 2 wrong usage."""
    argv = sys.argv[1:] if argv is None else list(argv)
    options: Any = None
    threading.excepthook = _thread_failed
    try:
        options = parse(step.options, argv, Path(sys.argv[0]).name, step.description, step.example)
        if os.environ.get("EGRET_CHECK"):  # whether the options can be read was all that was asked
            return
        set_up_logging(options.log_level)
        _run(step, options)
    except EgretError as error:
        _fail(step, options, str(error), error.exit_code)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("egret"):
            raise
        _fail(step, options, f"{error}: the installation is not whole; utils/doctor.py says how to mend it", 1)
    except KeyboardInterrupt:
        _fail(step, options, "interrupted; run it again to go on", 130)
    except OSError as error:
        message = system_message(error, options)
        if message is None:
            _record(step, options, repr(error))
            raise
        _fail(step, options, message, 1)
    except Exception as error:
        _record(step, options, repr(error))
        raise


def _run(step: Step, options: Any) -> None:
    if os.environ.get("EGRET_STATUS"):
        _report_state(step, options, Path(os.environ["EGRET_STATUS"]))
        return
    launched = os.environ.get(LAUNCHED) == "1"
    forced = options.force or os.environ.get("EGRET_FORCE") == "1"
    request = step.request(options)
    if launched:
        _work(step, options, request, forced)
        return
    reasons = why_not_current(options.out, request)
    if not reasons and not forced and not (step.again and step.again(options)):
        log.info("%s: up to date (%s)", step.name, options.out)
        with contextlib.suppress(OSError):  # left by an attempt with other options, since given up
            failure_path(options.out, step.name).unlink(missing_ok=True)
        return
    if step.helps and step.helps(options):
        step.run(options)
        return
    if reasons and reasons != ["not run"]:
        log.info("%s: again, because: %s", step.name, "; ".join(reasons))
    with _alone(step, options.out):
        _make(step, options, request, forced)


def _make(step: Step, options: Any, request: Request, forced: bool) -> None:
    """Do the work, here or under the launcher."""
    if not options.cmd:
        _work(step, options, request, forced)
    elif isinstance(step, ParallelStep) and step.divided(options):
        started = Meter()
        job_log = options.log or options.out / "log" / f"{step.name}.JOB.log"

        def jobs(name: str) -> None:
            named = job_log.with_name(f"{job_log.stem}.{name}{job_log.suffix}") if name else job_log
            launch(options.cmd, named, options.nj, ["--job", "JOB", *(["--round", name] if name else [])])

        _finish(step, options, request, _direct(step, options, request, jobs), started)
    else:
        launch(options.cmd, options.log or options.out / "log" / f"{step.name}.log")


@contextlib.contextmanager
def _alone(step: Step, out: Path) -> Iterator[None]:
    """Keep a second run of the step out of the folder; the lock goes with the process, however it ends. After wrong
    usage no folder stays that was made for it, unless jobs have been at work in it.

    Raises:
      EgretError: another process is at it.
    """
    new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    with open(out / f".lock.{step.name}", "w") as lock:
        os.set_inheritable(lock.fileno(), True)  # by a launcher, which may outlive this process
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"{out}: another {step.name} is at work in it; wait for it to end, or stop it") from None
        try:
            yield
        except EgretError as error:
            useless = error.exit_code == UsageError.exit_code and not isinstance(error, Launched)
            if new and useless and not has_shares(out, step.name):
                shutil.rmtree(out, ignore_errors=True)
            raise


def _work(step: Step, options: Any, request: Request, forced: bool) -> None:
    """Do the work in this process and leave the stamp."""
    log.info("%s", command_line())
    log.info("options: %s, others by default", json.dumps(as_plain(changed(options)), ensure_ascii=False, default=str))
    log.debug("all options: %s", json.dumps(as_plain(options), ensure_ascii=False, default=str))
    started = Meter()
    options.out.mkdir(parents=True, exist_ok=True)  # where word of a failure is left
    if not isinstance(step, ParallelStep) or not step.divided(options):
        _finish(step, options, request, step.run(options), started)
        return
    if options.job > options.nj:
        raise UsageError(f"--job {options.job}: there are only {options.nj} jobs (--nj)")
    if options.job:
        _share(step, options, request, forced)
        return

    def jobs(name: str) -> None:
        for job in range(1, options.nj + 1):
            options.job = job
            _share(step, options, request, forced)
        options.job = 0

    _finish(step, options, request, _direct(step, options, request, jobs), started)


def _direct(step: ParallelStep, options: Any, request: Request, jobs: Jobs) -> Outcome:
    """Have the shares made, see that they are what is asked for, and join them."""

    def seen(name: str) -> None:
        jobs(name)
        folders = [share_folder(options, job) for job in range(1, options.nj + 1)]
        refuse_other_shares(folders, step.share_request(options, request), APPEARS if options.cmd else 0)

    return step.direct(options, seen)


def _share(step: ParallelStep, options: Any, request: Request, forced: bool) -> None:
    """Do a job's share and leave its stamp, unless it was done before."""
    started = Meter()
    folder, share = share_folder(options), step.share_request(options, request)
    if forced or why_not_current(folder, share):
        done = step.run(options)
        write_stamp(folder, share, done.outputs, done.counts, started.seconds)
    else:
        log.info("%s: job %d of %d was done before", step.name, options.job, options.nj)


def changed(options: Any) -> dict[str, Any]:
    """The options that differ from their defaults, by dotted name."""
    kinds = ("option", "runtime", "input", "output")
    usual = {name: value for kind in kinds for name, value in defaults(type(options), kind).items()}
    return {name: value for name, _, value in walk(options) if name not in usual or value != usual[name]}


def _finish(step: Step, options: Any, request: Request, done: Outcome, started: Meter) -> None:
    write_stamp(options.out, request, done.outputs, done.counts, started.seconds)
    counts = ", ".join(f"{name} {value}" for name, value in done.counts.items())
    log.info("%s: done in %.1f s: %s", step.name, started.seconds, counts)


def _fail(step: Step, options: Any, message: str, code: int) -> None:
    error = sys.exc_info()[1]
    if not isinstance(error, Launched | UsageError | Refused) or (isinstance(error, Launched) and error.wordless):
        _record(step, options, message)
    if not isinstance(error, Launched):  # of which the job and the launcher have told
        print(f"{step.name}: error: {message}", flush=True, file=sys.stderr)
    sys.exit(code)


def _thread_failed(error: Any) -> None:
    """A library's thread that the machine failed, as on a full disk, says so in a line: the step meets it as well."""
    if isinstance(error.exc_value, OSError):
        log.warning("%s", error.exc_value)
    else:
        threading.__excepthook__(error)


def _record(step: Step, options: Any, message: str) -> None:
    if options is not None and options.out.is_dir() and not os.environ.get("EGRET_STATUS"):
        write_failure(options.out, step.name, message)


def system_message(error: OSError, options: Any) -> str | None:
    """One line for a failure of the machine that a user can mend; None for one that we did not foresee."""
    name = error.filename or getattr(options, "out", "a file")
    advice = {
        errno.ENOSPC: f"{name}: no space left on the disk; free some and run it again",
        errno.EDQUOT: f"{name}: disk quota exceeded; free some and run it again",
        errno.EROFS: f"{name}: the file system is read-only; choose another folder",
        errno.EACCES: f"{name}: permission denied; check the owner and mode of the file and its folder",
        errno.EPERM: f"{name}: not permitted; check the owner and mode of the file and its folder",
        errno.EMFILE: "too few file handles; raise the limit (ulimit -n 4096) and run it again",
        errno.ENFILE: "the machine has no file handles left; close programs and run it again",
        errno.EISDIR: f"{name}: is a folder where a file is expected",
        errno.ENOTDIR: f"{name}: a file stands where a folder is expected",
        errno.EEXIST: f"{name}: a file stands where a folder is expected",
    }
    return advice.get(error.errno or 0)


def _report_state(step: Step, options: Any, report: Path) -> None:
    """Append {stage, step, output, state, why, finished, seconds} to a status file.

    A step is stale when its own stamp differs or when a step before it, whose output it reads, is not done.
    """
    row: dict[str, Any] = {
        "stage": os.environ.get("EGRET_STAGE", ""),
        "step": step.name,
        "output": str(options.out),
        "state": "not run",
        "why": "",
    }
    stamp = read_stamp(options.out, step.name)
    failed = failure_path(options.out, step.name)
    if stamp:
        row |= {"finished": stamp["finished"], "seconds": stamp["seconds"]}
        reasons = [f"{earlier} is not done" for earlier in _unfinished_inputs(step.name, options, report)]
        if not reasons:
            try:
                reasons = why_not_current(options.out, step.request(options))
            except EgretError as error:
                reasons = [str(error)]
        row |= {"state": "stale" if reasons else "done", "why": "; ".join(reasons)}
    elif stamp_path(options.out, step.name).exists():
        row |= {"state": "stale", "why": "its stamp is damaged"}
    if failed.exists():
        try:
            row |= {"state": "failed", "why": json.loads(failed.read_text())["message"]}
        except (ValueError, KeyError):
            row |= {"state": "failed"}
    with open(report, "a", encoding="utf-8") as out:
        out.write(json.dumps(row, ensure_ascii=False) + "\n")


def _unfinished_inputs(step: str, options: Any, report: Path) -> list[str]:
    """Steps in the status file that are not done and whose output this one reads."""
    if not report.exists():
        return []
    rows = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    reads = [
        Path(path).absolute()
        for item in of_kind(options, "input").values()
        for path in (item if isinstance(item, list) else [item])
        if path is not None
    ]
    return [
        row["step"]
        for row in rows
        if row["state"] != "done"
        and (
            any(Path(row["output"]).absolute() in [path, *path.parents][:3] for path in reads)
            # A later step in the same folder builds on what is there, as scores on hypotheses.
            or (Path(row["output"]).absolute() == options.out.absolute() and row["step"] != step)
        )
    ]
