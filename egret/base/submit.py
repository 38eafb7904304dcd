"""Running this very command as a job, or an array of jobs, under a launcher."""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from egret.base.errors import EgretError, UsageError
from egret.base.launch import JOB_NAME
from egret.base.signals import handling

AGAIN = 75  # EX_TEMPFAIL of sysexits.h: a job that was told to stop, has saved, and goes on when run again
TOLD_TO_STOP = (129, 130, 143)  # SIGHUP, SIGINT, SIGTERM; what other signals end leaves no word
LAUNCHED = "EGRET_LAUNCHED"  # set for the jobs that a step submits: work, do not compare or submit again


class Launched(EgretError):
    """A submitted job failed, of which it has left word itself, unless it was killed.

    Attributes:
      wordless: it was killed, or never began.
    """

    def __init__(self, message: str, exit_code: int, wordless: bool) -> None:
        super().__init__(message)
        self.exit_code, self.wordless = exit_code, wordless


def launch(launcher: str, job_log: Path, jobs: int = 0, extra: Sequence[str] = ()) -> None:
    """Submit this very command, less --cmd, with more words behind it, and wait for it.

    Args:
      launcher: a program and its options.
      job_log: of an array with JOB in its name.
      jobs: an array JOB=1:jobs; 0: a single job.

    Raises:
      UsageError: the launcher cannot be run.
      EgretError: a job failed, and the launcher has shown the last lines of its log; or the launcher was killed.
    """
    words = [*shlex.split(launcher), *([f"JOB=1:{jobs}"] if jobs else []), str(job_log)]
    command = [sys.executable, str(Path(sys.argv[0]).absolute()), *without_cmd(sys.argv[1:]), *extra]
    # The launcher keeps the lock of the folder (the only handle that it may inherit) as long as it lives.
    # To stop is its affair, who tells its jobs; this process waits for them.
    try:
        started = subprocess.Popen([*words, *command], env={**os.environ, LAUNCHED: "1"}, close_fds=False)
    except OSError as error:
        raise UsageError(f"--cmd {launcher}: {words[0]} cannot be run ({error.strerror}); give a launcher such as "
                         f"utils/run.py (cmd.sh has others)") from None  # fmt: skip
    with (
        started as process,
        handling(lambda number, _: process.send_signal(number)),
    ):
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.wait()  # it got the signal too and is ending its jobs
            raise
    if code == 0:
        return
    if code < 0:
        raise EgretError(f"the launcher was killed (signal {-code}); see that its jobs have ended, and run it again")
    own = own_code(job_log, jobs)
    if code in TOLD_TO_STOP and own != AGAIN:
        raise KeyboardInterrupt
    where = JOB_NAME.sub("*", str(job_log)) if jobs else job_log
    code = own if own in (UsageError.exit_code, AGAIN) else code
    message = f"the job failed (code {code}); its log: {where}"
    raise Launched(message, code if code in (UsageError.exit_code, AGAIN) else 1, wordless=own is None)


def own_code(job_log: Path, jobs: int) -> int | None:
    """How the jobs that failed ended themselves, where they all ended alike, else 0; None: one of them was killed, or
    never began. A launcher only says: badly."""
    logs = [JOB_NAME.sub(str(job), str(job_log)) for job in range(1, jobs + 1)] or [str(job_log)]
    codes = {_ended(Path(f"{path}.status")) for path in logs} - {0}
    if None in codes:
        return None
    return codes.pop() if len(codes) == 1 else 0


def _ended(status: Path) -> int | None:
    """The code that a job left; None: it was killed, or never began."""
    try:
        code = int(status.read_text())
    except (OSError, ValueError):
        return None
    return None if code > 128 and code not in TOLD_TO_STOP else code


def without_cmd(argv: Sequence[str]) -> list[str]:
    """A command line without its --cmd."""
    kept, skip = [], False
    for word in argv:
        if skip or word.startswith("--cmd="):
            skip = False
        elif word == "--cmd":
            skip = True
        else:
            kept.append(word)
    return kept
