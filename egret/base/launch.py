"""The contract of every launcher: its command line, its logs and how it reports.

    <launcher> [--mem 8G] [--gpu 1] [--num-threads 4] [--time 24:00:00] [--max-jobs-run 10]
               [--pick all|failed] [--retry 0] [--quiet] [JOB=1:N] <log> <command> [args...]

A launcher parses its arguments into a Request, takes its jobs from jobs_of(), runs the script() of each job
wherever its jobs run, and hands those that failed to report(). A job's log begins with its command and ends
with `# Ended (code N)`; N is also the content of <log>.status, which the job writes itself, so that a job
which died on the way is known to have failed.

Standard library only: a launcher starts under any Python from 3.8 on, before anything is installed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LAST_LINES = 10  # of the first failed log, in the report
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
JOB_NAME = re.compile(r"(?<![^\W_])JOB(?![^\W_])")  # JOB where no letter or digit touches it

JOB_SCRIPT = """\
exec >>{log} 2>&1 </dev/null || exit 1
trap : TERM  # a cancelled job still writes how it ended
set -- {command}
printf '%s\\n' {heading}
printf '# Started on %s at %(%F %T)T\\n#\\n' "$HOSTNAME" -1
(exec -- "$@")
code=$?
[ -z "$(tail -c 1 {log})" ] || echo
printf '# Ended (code %d) at %(%F %T)T after %d s\\n' "$code" -1 "$SECONDS"
echo "$code" >{status}
exit "$code"
"""


class UsageError(Exception):
    """The command line breaks the contract; the message says where and how to write it."""


@dataclass(frozen=True)
class Request:
    """What one call of a launcher asks for; None where it does not say."""

    log: str  # with JOB in it, where there are several jobs
    command: list[str]
    numbers: range | None = None  # the values of JOB; None: one job without a number
    mem: int | None = None  # bytes a job
    gpu: int | None = None  # devices a job
    num_threads: int | None = None  # a job
    time: int | None = None  # seconds a job
    max_jobs_run: int | None = None
    pick: str = "all"
    retry: int = 0
    quiet: bool = False


@dataclass(frozen=True)
class Job:
    """One command with its log."""

    number: int | None
    log: Path
    command: list[str]

    @property
    def name(self) -> str:
        return "the job" if self.number is None else f"job {self.number}"

    @property
    def status(self) -> Path:
        """The file that holds the exit code once the job has ended."""
        return self.log.with_name(self.log.name + ".status")

    def exit_code(self) -> int | None:
        """The exit code of the last run; None where it did not end, or never began."""
        try:
            return int(self.status.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def prepare(self) -> None:
        """Clears the traces of an earlier run."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.forget_status()
        if self.log.exists():
            self.log.unlink()

    def forget_status(self) -> None:
        """From here on the job has not ended."""
        if self.status.exists():
            self.status.unlink()

    def script(self) -> str:
        """Bash that runs the command, appends to the log and leaves the exit code in the status file."""
        command = shlex.join(self.command)
        return JOB_SCRIPT.format(
            log=shlex.quote(str(self.log)),
            status=shlex.quote(str(self.status)),
            command=command,
            heading=shlex.quote("# " + command.replace("\n", "\n# ")),
        )

    def note(self, text: str) -> None:
        """Adds a line of the launcher's own to the log."""
        with self.log.open("a") as log:
            log.write(f"# {text}\n")


@dataclass(frozen=True)
class Failure:
    """A job that did not end with code 0."""

    job: Job
    code: int | None  # None: it died without a word
    reason: str = ""  # what the launcher knows beyond the code


def memory_size(text: str) -> int:
    """Bytes in a size such as 8G or 500M."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT])B?", text.upper())
    if not match or float(match[1]) == 0:
        raise ValueError("a size with its unit, such as 8G or 500M")
    return int(float(match[1]) * UNITS[match[2]])


def duration(text: str) -> int:
    """Seconds in hours:minutes:seconds, with days- before it if there are any."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)", text)
    if not match:
        raise ValueError("hours:minutes:seconds, such as 24:00:00 or 3-00:00:00")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def count(text: str) -> int:
    """A number from 0 on."""
    if not re.fullmatch(r"\d+", text):
        raise ValueError("a number")
    return int(text)


def positive(text: str) -> int:
    """A number from 1 on."""
    if not re.fullmatch(r"0*[1-9]\d*", text):
        raise ValueError("a number from 1 on")
    return int(text)


def which_jobs(text: str) -> str:
    """The choice of --pick."""
    if text not in ("all", "failed"):
        raise ValueError("all or failed")
    return text


OPTIONS: dict[str, Callable[[str], int | str]] = {
    "--mem": memory_size,
    "--gpu": count,
    "--num-threads": positive,
    "--time": duration,
    "--max-jobs-run": positive,
    "--pick": which_jobs,
    "--retry": count,
}


def parse_request(arguments: list[str]) -> Request:
    """Reads a launcher's command line; UsageError says what is wrong with it."""
    words = list(arguments)
    options: dict[str, Any] = {}
    while words and re.match(r"--|JOB=", words[0]):
        name, equals, value = words.pop(0).partition("=")
        if name == "JOB":
            options["numbers"] = job_numbers(value)
        elif name == "--quiet" and not equals:
            options["quiet"] = True
        elif name in OPTIONS:
            if not equals and not words:
                raise UsageError(f"{name} needs a value")
            options[name[2:].replace("-", "_")] = option_value(name, value if equals else words.pop(0))
        else:
            raise UsageError(f"unknown option {name}{suggestion(name)}")
    if len(words) < 2:
        raise UsageError("after the options come a log and a command")
    request = Request(log=words[0], command=words[1:], **options)
    check_log(request)
    return request


def option_value(name: str, text: str) -> int | str:
    """The value of an option, converted as the contract says."""
    try:
        return OPTIONS[name](text)
    except ValueError as error:
        raise UsageError(f"{name} takes {error}, not {text!r}") from None


def job_numbers(text: str) -> range:
    """The values of JOB: 1:4 is four jobs, 3:5 are three, 4 is one."""
    match = re.fullmatch(r"(\d+)(?::(\d+))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last:
        raise UsageError(f"JOB={text}: write JOB=FIRST:LAST, such as JOB=1:4; queues count from 1")
    return range(first, last + 1)


def suggestion(name: str) -> str:
    """The option nearest to a misspelt one, if one is near."""
    from difflib import get_close_matches  # slow to import, and needed only now

    near = get_close_matches(name.replace("_", "-"), [*OPTIONS, "--quiet"], n=1)
    return f"; did you mean {near[0]}?" if near else ""


def check_log(request: Request) -> None:
    """Refuses a log that jobs would share, and one that is clearly no log."""
    log = Path(request.log)
    if len(request.numbers or ()) > 1 and not JOB_NAME.search(request.log):
        raise UsageError(f"{log}: every job needs a log of its own; put JOB into the name, as in x.JOB.log")
    if log.is_dir() or (log.is_file() and log.stat().st_mode & 0o111):
        raise UsageError(f"{log}: is a folder or a program; the log comes before the command")


def jobs_of(request: Request) -> list[Job]:
    """The jobs to run: all of them, or with --pick failed those whose last run failed or never ended."""
    jobs = [job_of(request, number) for number in request.numbers or [None]]
    if request.pick == "failed":
        jobs = [job for job in jobs if job.exit_code() != 0]
    return jobs


def job_of(request: Request, number: int | None) -> Job:
    """One job of a request, its number in the place of JOB."""
    if number is None:
        return Job(None, Path(request.log), request.command)
    log, *command = (JOB_NAME.sub(str(number), word) for word in [request.log, *request.command])
    return Job(number, Path(log), command)


def report(failures: list[Failure], total: int, show_log: bool = True) -> str:
    """What a launcher says in the end about failed jobs: which, the first one's last lines, what to do."""
    first = failures[0]
    lines = [f"{len(failures)} of {total} jobs failed"] if total > 1 else []
    lines += [describe(failure) for failure in failures[:LAST_LINES]]
    if len(failures) > LAST_LINES:
        lines.append(f"... and {len(failures) - LAST_LINES} more")
    if show_log:
        lines += [f"the end of {first.job.log}:", *("  " + line for line in last_lines(first.job.log))]
    if total > 1:
        lines.append("--pick failed runs only these again")
    return "\n".join(lines)


def describe(failure: Failure) -> str:
    """One line about one failure."""
    code = "died without an exit code" if failure.code is None else f"failed with code {failure.code}"
    reason = f"; {failure.reason}" if failure.reason else ""
    return f"{failure.job.name} {code}{reason} (log: {failure.job.log})"


def last_lines(log: Path) -> list[str]:
    """The end of a log; of a progress bar that redraws its line, the last state."""
    if not log.exists():
        return ["(there is no log: it could not be written)"]
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 10_000))
        text = stream.read().decode("utf-8", errors="replace")
    return [line.rsplit("\r", 1)[-1] for line in text.rstrip("\n").split("\n")[-LAST_LINES:]]
