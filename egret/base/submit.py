"""Running this very command as a job, or an array of jobs, under a launcher."""

import contextlib
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
LAUNCHED = "EGRET_LAUNCHED"  # set for the jobs that a step submits: work, do not compare or submit again


class Launched(EgretError):
    """A submitted job failed; it has left word of why itself."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def launch(launcher: str, job_log: Path, jobs: int = 0, extra: Sequence[str] = ()) -> None:
    """Submit this very command, less --cmd, with more words behind it, and wait for it.

    Args:
      launcher: a program and its options.
      job_log: of an array with JOB in its name.
      jobs: an array JOB=1:jobs; 0: a single job.

    Raises:
      EgretError: a job failed; the launcher has shown the last lines of its log.
    """
    words = [*shlex.split(launcher), *([f"JOB=1:{jobs}"] if jobs else []), str(job_log)]
    command = [sys.executable, str(Path(sys.argv[0]).absolute()), *without_cmd(sys.argv[1:]), *extra]
    # The launcher keeps the lock of the folder (the only handle that it may inherit) as long as it lives.
    # To stop is its affair, who tells its jobs; this process waits for them.
    with (
        subprocess.Popen([*words, *command], env={**os.environ, LAUNCHED: "1"}, close_fds=False) as process,
        handling(lambda number, _: process.send_signal(number)),
    ):
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.wait()  # it got the signal too and is ending its jobs
            raise
    if code == 0:
        return
    own = own_code(job_log, jobs)
    if code in (129, 130, 143) and own != AGAIN:  # the launcher was told to stop: SIGHUP, SIGINT, SIGTERM
        raise KeyboardInterrupt
    where = JOB_NAME.sub("*", str(job_log)) if jobs else job_log
    code = own if own in (UsageError.exit_code, AGAIN) else code
    raise Launched(f"the job failed (code {code}); its log: {where}", code if code in (2, AGAIN) else 1)


def own_code(job_log: Path, jobs: int) -> int:
    """How the jobs that failed ended themselves, where they all ended alike, else 0; a launcher only says: badly."""
    logs = [JOB_NAME.sub(str(job), str(job_log)) for job in range(1, jobs + 1)] or [str(job_log)]
    codes = set()
    for path in logs:
        with contextlib.suppress(OSError, ValueError):
            codes.add(int(Path(f"{path}.status").read_text()))
    codes.discard(0)
    return codes.pop() if len(codes) == 1 else 0


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
