#!/usr/bin/env python3
"""Runs jobs on this machine: the launcher that cmd.sh names unless told otherwise.

Usage: run.py [options] [JOB=FIRST:LAST] LOG COMMAND [ARGUMENTS...]
For example: run.py --mem 4G JOB=1:8 data/log/pack.JOB.log gzip -k data/split8/JOB/text

JOB in the log and the command becomes the number of the job, where no letter or digit touches it.

  --mem 8G           memory of a job; only as many run at once as fit the machine together
  --gpu 1            GPUs of a job, given to it through CUDA_VISIBLE_DEVICES; 0 hides them all
  --num-threads 4    threads of a job (OMP_NUM_THREADS, MKL_NUM_THREADS); fewer jobs then run at once
  --time 24:00:00    a job that runs longer is stopped and has failed
  --max-jobs-run 10  most jobs at once (default: the number of cores)
  --pick failed      run only the jobs whose last run failed or never ended (default: all)
  --retry 2          run a failed job again, this often (default: 0)
  --quiet            do not show the log of a single job, nor a line for each job of an array

The exit code is 0 when every job ended with 0, 1 when one failed, 75 when those that failed ended with 75 (they saved
what they had, and go on when run again), 2 for wrong usage, 130 after Ctrl-C. SIGUSR1, a scheduler's warning, ends the
jobs with SIGTERM.
Jobs do not outlive this program: they are killed when it is, even by SIGKILL.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from egret.base import launch

POLL = 0.03  # seconds between two looks at the running jobs
GRACE = 15.0  # seconds that a job has to end when told to, before it is killed
AGAIN = 75  # EX_TEMPFAIL: a job that was told to stop, saved, and can go on
KILLED = 137  # the shell's exit code for a command that SIGKILL ended
OOM_COUNTERS = [  # files with a line `oom_kill N`: the machine's, and those of control groups
    Path("/proc/vmstat"),
    Path("/sys/fs/cgroup/memory.events"),
    Path("/sys/fs/cgroup/memory/memory.oom_control"),
]
# Goes before a job's script, whose standard input is a pipe that only this launcher could write to, and never does.
# When it closes, the launcher is dead, and this kills the job's process group; when the job ends, it goes too.
DIE_WITH_LAUNCHER = """\
(trap '' TERM; read -r; kill -KILL 0) <&0 &>/dev/null &
watcher=$!
trap 'kill -KILL "$watcher"' EXIT
disown  # lest bash remarks in the log that it was killed
"""
MEMORY_LIMITS = [Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")]


def say(text: str) -> None:
    """A message of the launcher itself."""
    print(f"run.py: {text}", file=sys.stderr, flush=True)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def machine_memory() -> int:
    """Bytes of memory that jobs may share: the machine's, or less in a container."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in MEMORY_LIMITS:
        text = path.read_text().strip() if path.exists() else "max"
        sizes += [int(text)] if text.isdigit() else []
    return min(sizes)


def gpu_devices() -> list[str]:
    """The devices that jobs may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    try:
        query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        listing = subprocess.run(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    except FileNotFoundError:
        return []
    return listing.stdout.decode().split() if listing.returncode == 0 else []


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory so far."""
    total = 0
    for path in OOM_COUNTERS:
        for line in path.read_text().splitlines() if path.exists() else []:
            if line.startswith("oom_kill "):
                total += int(line.split()[1])
    return total


def slots(request: launch.Request, devices: list[str]) -> int:
    """How many jobs may run at once."""
    limits = [request.max_jobs_run or cores()]
    if request.num_threads:
        limits.append(cores() // request.num_threads)
    if request.mem:
        limits.append(machine_memory() // request.mem)
        if request.mem > machine_memory():
            say(f"--mem asks for more than this machine's {machine_memory() / 2**30:.1f}G; one job at a time")
    if request.gpu:
        limits.append(len(devices) // request.gpu)
    return max(1, min(limits))


@dataclass
class Running:
    """A job on its way."""

    job: launch.Job
    process: subprocess.Popen[bytes]
    devices: list[str]
    attempt: int
    began: float
    oom_kills: int  # of the machine, when it began
    stopped: float | None = None  # when it was told to end, for it took longer than --time

    def seconds(self) -> float:
        return time.monotonic() - self.began

    def signal(self, number: int) -> None:
        """Reaches every process of the job."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class Runner:
    """Runs jobs side by side, as many as there are slots for."""

    def __init__(self, request: launch.Request, jobs: list[launch.Job], devices: list[str]) -> None:
        self.request = request
        self.slots = slots(request, devices)
        self.free_devices = list(devices)
        self.waiting = deque((job, 0) for job in jobs)
        self.running: list[Running] = []
        self.failures: list[launch.Failure] = []
        self.ended = 0
        self.total = len(jobs)
        self.follows_log = request.numbers is None and not request.quiet
        self.shown = 0  # bytes of the log
        self.caught: int | None = None  # the signal that told this launcher to stop
        self.lifeline, self.held = os.pipe()  # jobs read; what we hold closes when this process ends, however

    def run(self) -> None:
        """Returns when all jobs have ended, or have been cancelled because of a signal."""
        try:
            while (self.waiting or self.running) and self.caught is None:
                while self.waiting and len(self.running) < self.slots:
                    self.start(*self.waiting.popleft())
                time.sleep(POLL)
                self.stop_overdue()
                self.follow()
                self.collect()
        finally:
            self.cancel()
            self.follow()

    def start(self, job: launch.Job, attempt: int) -> None:
        if attempt == 0:
            job.prepare()
        else:
            job.forget_status()
            job.note(f"Retry {attempt} of {self.request.retry}")
        devices = [self.free_devices.pop(0) for _ in range(self.request.gpu or 0)]
        kills, began = oom_kills(), time.monotonic()
        process = subprocess.Popen(
            ["bash", "-c", DIE_WITH_LAUNCHER + job.script()],
            stdin=self.lifeline,
            env=self.environment(devices),
            start_new_session=True,  # and so a process group of its own
        )
        self.running.append(Running(job, process, devices, attempt, began, kills))

    def environment(self, devices: list[str]) -> dict[str, str]:
        environment = dict(os.environ)
        if self.request.num_threads:
            environment["OMP_NUM_THREADS"] = environment["MKL_NUM_THREADS"] = str(self.request.num_threads)
        if self.request.gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
        return environment

    def stop_overdue(self) -> None:
        for running in self.running:
            if running.stopped is not None and time.monotonic() - running.stopped > GRACE:
                running.signal(signal.SIGKILL)
            elif running.stopped is None and self.request.time and running.seconds() > self.request.time:
                running.stopped = time.monotonic()
                running.job.note(f"Stopped: it ran longer than --time allows, {self.request.time} s")
                running.signal(signal.SIGTERM)

    def collect(self) -> None:
        for running in [running for running in self.running if running.process.poll() is not None]:
            self.running.remove(running)
            self.free_devices += running.devices
            code = running.job.exit_code()
            if code is None:  # only its shell died: what it ran must not meet another attempt
                running.signal(signal.SIGKILL)
            if code != 0 and running.attempt < self.request.retry:
                say(f"{running.job.name} failed; trying again")
                self.waiting.append((running.job, running.attempt + 1))
            else:
                self.conclude(running, code)

    def conclude(self, running: Running, code: int | None) -> None:
        self.ended += 1
        if code != 0:
            self.failures.append(launch.Failure(running.job, code, self.reason(running, code)))
        if self.request.numbers is not None and not self.request.quiet:
            outcome = "ended" if code == 0 else "failed"
            progress = f"{self.ended} of {self.total}"
            say(f"{running.job.name} {outcome} after {running.seconds():.1f} s ({progress})")

    def reason(self, running: Running, code: int | None) -> str:
        killed = code in (KILLED, None)
        if running.stopped is not None:
            return f"it ran longer than --time allows, {self.request.time} s"
        if oom_kills() > running.oom_kills:
            victim = "it" if killed else "a process"
            return f"the kernel killed {victim} for want of memory: raise --mem, or run fewer jobs at once"
        if code is None and running.job.status.exists():
            return "the file for its exit code is empty: is the disk full?"
        return "something killed it; if memory was short, raise --mem" if killed else ""

    def follow(self) -> None:
        """Shows what is new in the log of a single job."""
        log = Path(self.request.log)
        if not self.follows_log or not log.exists():
            return
        with log.open("rb") as stream:
            stream.seek(self.shown)
            new = stream.read()
        self.shown += len(new)
        try:
            sys.stdout.buffer.write(new)
            sys.stdout.buffer.flush()
        except BrokenPipeError:  # nobody looks any more; the job goes on
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def cancel(self) -> None:
        """Ends what still runs, and waits for it."""
        for running in self.running:
            running.signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline and any(running.process.poll() is None for running in self.running):
            time.sleep(POLL)
        for running in self.running:  # also what the job itself left behind
            running.signal(signal.SIGKILL)
            running.process.wait()

    def catch(self, number: int, _frame: object) -> None:
        self.caught = number


def catch_signals(runner: Runner) -> None:
    """Ctrl-C and the like cancel the jobs; a signal that the caller ignores (nohup) stays ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, runner.catch)


def main(arguments: list[str]) -> int:
    if arguments in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    try:
        request = launch.parse_request(arguments)
    except launch.UsageError as error:
        say(f"{error} (--help shows how to call it)")
        return 2
    devices = gpu_devices() if request.gpu else []
    if request.gpu and len(devices) < request.gpu:
        say(f"--gpu {request.gpu}: CUDA_VISIBLE_DEVICES or nvidia-smi offers {len(devices)}")
        return 1
    jobs = launch.jobs_of(request)
    if not jobs:
        say("--pick failed: every job has ended well before; nothing to run")
        return 0
    runner = Runner(request, jobs, devices)
    catch_signals(runner)
    try:
        runner.run()
    except OSError as error:
        say(f"{error.filename}: {error.strerror}")
        return 1
    if runner.caught is not None:
        say(f"cancelled by {signal.Signals(runner.caught).name}")
        return AGAIN if runner.caught == signal.SIGUSR1 else 128 + runner.caught
    if runner.failures:
        say(launch.report(runner.failures, runner.total, show_log=not runner.follows_log))
        return AGAIN if {failure.code for failure in runner.failures} == {AGAIN} else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
