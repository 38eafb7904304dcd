"""A program as a user meets it: exit code, what it says, what it leaves; alone, under a launcher, in --status."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from egret.base.errors import EgretError
from egret.base.shares import refuse_other_shares, remove_shares
from egret.base.stamps import Request, write_stamp
from egret.base.submit import own_code

ROOT = Path(__file__).resolve().parents[1]
LAUNCHER = str(ROOT / "utils" / "run.py")

# Two programs: `tiny` copies a text so many times, `spread` divides the lines of a text over jobs.
PROGRAMS = """
import os, sys, time
from dataclasses import dataclass
from pathlib import Path

from egret.base.errors import EgretError, UsageError
from egret.base.files import atomic_open, write_text
from egret.base.options import infile, option, runtime
from egret.base.program import Outcome, OutOptions, ParallelOptions, ParallelStep, Step, main, share_folder


@dataclass(kw_only=True)
class Tiny(OutOptions):
    text: Path = infile("a text", "steps/write.py (stage 0)")
    more: list[Path] = infile("more texts", default=[])
    times: int = option(1, "copies", minimum=1)
    workers: int = runtime(1, "changes nothing")
    act: str = runtime("", "what happens")


def tiny(options):
    if options.act == "fail":
        raise EgretError("the text is no good; write another")
    if options.act == "usage":
        raise UsageError("--times and --text do not go together")
    if options.act == "bug":
        raise ZeroDivisionError("a bug")
    if options.act.isdigit():
        raise OSError(int(options.act), os.strerror(int(options.act)), "some/file")
    with atomic_open(options.out / "a.txt") as out:
        out.write(options.text.read_text() * options.times)
        if options.act == "wait":
            out.flush()
            write_text(options.out / "waiting", "")
            time.sleep(30)
    return Outcome([options.out / "a.txt"], {"copies": options.times})


@dataclass(kw_only=True)
class Spread(ParallelOptions):
    text: Path = infile("a text")
    suffix: str = option("", "what to add to each line")
    fail: list[int] = runtime([], "jobs that fail")
    usage: list[int] = runtime([], "jobs that find wrong usage")
    wait: bool = runtime(False, "do not end")


def spread(options):
    folder = share_folder(options)
    if options.job in options.fail:
        raise EgretError(f"job {options.job} broke; mend it")
    if options.job in options.usage:
        raise UsageError("--text and --suffix do not go together")
    if options.wait:
        write_text(options.out / f"waiting{options.job}", str(os.getpid()))
        time.sleep(30)
    lines = options.text.read_text().split()[options.job - 1 :: options.nj]
    write_text(folder / "part.txt", "".join(line + options.suffix for line in lines))
    with open(options.out / "worked.txt", "a") as out:
        out.write(str(options.job))
    return Outcome([folder / "part.txt"])


def combine(options):
    parts = [(share_folder(options, job) / "part.txt").read_text() for job in range(1, options.nj + 1)]
    write_text(options.out / "all.txt", " ".join(parts))
    return Outcome([options.out / "all.txt"], {"parts": len(parts)})


VERSION = int(os.environ.get("TINY_VERSION", "1"))
STEPS = {
    "tiny": Step("tiny", VERSION, Tiny, tiny, "Copies a text."),
    "spread": ParallelStep("spread", 1, Spread, spread, "Divides a text.", combine=combine),
}

if __name__ == "__main__":
    main(STEPS[Path(sys.argv[0]).stem])
"""


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    return Bench(tmp_path, monkeypatch, capsys)


class Bench:
    """A folder with the two programs, a text, and ways to run them."""

    def __init__(self, folder, monkeypatch, capsys):
        self.capsys = capsys
        self.folder, self.out, self.report = folder, folder / "out", folder / "status.jsonl"
        monkeypatch.chdir(folder)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        for name in ("tiny", "spread"):
            (folder / f"{name}.py").write_text(PROGRAMS)
        (folder / "text").write_text("a b c d e")

    def command(self, name, *words):
        return [sys.executable, f"{name}.py", "--text", "text", "--out", "out", *map(str, words)]

    def run(self, name, *words, code=0, **environment):
        """All that a program says. It runs in this process, which is quicker; under a launcher in one of its own."""
        ended = self.launched(name, *words) if "--cmd" in words else self.inside(name, *words, **environment)
        returned, stdout, stderr = ended
        assert returned == code, stdout + stderr
        assert "Traceback" not in stdout + stderr
        if code and "--cmd" not in words:
            assert stderr.startswith(f"{name}: error: ") and stderr.count("\n") == 1, stderr
        return stdout + stderr

    def launched(self, name, *words):
        done = subprocess.run(self.command(name, *words), capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    def inside(self, name, *words, **environment):
        with pytest.MonkeyPatch.context() as patch:
            for variable, value in environment.items():
                patch.setenv(variable, value)
            module = types.ModuleType("programs")
            patch.setitem(sys.modules, "programs", module)  # dataclasses look their module up
            exec(PROGRAMS, module.__dict__)
            patch.setattr(sys, "argv", self.command(name, *words)[1:])
            self.capsys.readouterr()
            ended = 0
            try:
                module.main(module.STEPS[name])
            except SystemExit as error:
                ended = error.code
        return ended, *self.capsys.readouterr()

    def start(self, name, *words):
        """A program in a process group of its own, as a terminal runs it."""
        return subprocess.Popen(
            self.command(name, *words),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def status(self, name, *words):
        """The row that EGRET_STATUS adds."""
        self.run(name, *words, EGRET_STATUS=str(self.report), EGRET_STAGE="3")
        return json.loads(self.report.read_text().splitlines()[-1])

    def wait_for(self, name):
        deadline = time.monotonic() + 10
        while not (self.out / name).exists():
            assert time.monotonic() < deadline, f"{name} never came"
            time.sleep(0.02)


class TestStamps:
    def test_the_second_run_is_up_to_date(self, bench):
        first = bench.run("tiny")
        assert "options: {" in first and "tiny: done in" in first and "copies 1" in first
        second = bench.run("tiny")
        assert "tiny: up to date (out)" in second and "done in" not in second

    def test_options_of_the_run_do_not_count(self, bench):
        bench.run("tiny")
        assert "up to date" in bench.run("tiny", "--workers", 7, "--log-level", "debug")

    def test_a_changed_option(self, bench):
        bench.run("tiny")
        assert "again, because: times 1 -> 2" in bench.run("tiny", "--times", 2)
        assert (bench.out / "a.txt").read_text() == "a b c d ea b c d e"

    def test_a_changed_input(self, bench):
        bench.run("tiny")
        (bench.folder / "text").write_text("x")
        assert "again, because: input text changed" in bench.run("tiny")
        assert (bench.out / "a.txt").read_text() == "x"

    def test_touching_an_input_changes_nothing(self, bench):
        bench.run("tiny")
        os.utime(bench.folder / "text", (1, 1))
        assert "up to date" in bench.run("tiny")

    def test_a_changed_version(self, bench):
        bench.run("tiny")
        assert "again, because: the step's version 1 -> 2" in bench.run("tiny", TINY_VERSION="2")

    def test_a_deleted_output(self, bench):
        bench.run("tiny")
        (bench.out / "a.txt").unlink()
        assert "again, because: output a.txt is gone" in bench.run("tiny")
        assert (bench.out / "a.txt").exists()

    def test_an_edited_output(self, bench):
        bench.run("tiny")
        (bench.out / "a.txt").write_text("mine")
        assert "again, because: output a.txt changed" in bench.run("tiny")

    def test_force(self, bench):
        bench.run("tiny")
        assert "done in" in bench.run("tiny", "--force")
        assert "done in" in bench.run("tiny", EGRET_FORCE="1")

    def test_killed_in_the_middle_it_leaves_no_stamp_and_no_half_file(self, bench):
        with bench.start("tiny", "--act", "wait") as process:
            bench.wait_for("waiting")
            process.kill()
        assert not (bench.out / "a.txt").exists() and not (bench.out / ".stamp.tiny.json").exists()
        assert "done in" in bench.run("tiny")
        left = {path.name for path in bench.out.iterdir()}
        assert left == {"a.txt", "waiting", ".stamp.tiny.json", ".lock.tiny"}


class TestFailures:
    def test_a_failure_is_one_line_and_exit_code_1(self, bench):
        assert "tiny: error: the text is no good; write another" in bench.run("tiny", "--act", "fail", code=1)

    def test_wrong_usage_found_while_working_is_exit_code_2(self, bench):
        assert "do not go together" in bench.run("tiny", "--act", "usage", code=2)

    def test_after_wrong_usage_no_folder_stays_that_was_not_there(self, bench):
        bench.run("tiny", "--act", "usage", code=2)
        assert not bench.out.exists()

    @pytest.mark.parametrize(("name", "words"), [("tiny", ["--act", "usage"]), ("spread", ["--usage", 1, 2])])
    def test_where_jobs_were_launched_their_logs_stay_even_so(self, bench, name, words):
        bench.run(name, "--cmd", LAUNCHER, *words, *(["--nj", 2] if name == "spread" else []), code=2)
        assert (bench.out / "log").is_dir()

    def test_shares_that_are_done_stay_where_another_job_ended_with_wrong_usage(self, bench):
        bench.run("spread", "--nj", 2, "--usage", 2, code=2)
        assert (bench.out / "split2/1/part.txt").exists()

    def test_wrong_usage_takes_nothing_away_that_was_there(self, bench):
        bench.run("tiny")
        bench.run("tiny", "--times", 2, "--act", "usage", code=2)
        assert (bench.out / "a.txt").exists()

    def test_options_may_be_looked_at_alone(self, bench):
        assert bench.run("tiny", "--times", 2, EGRET_CHECK="1") == ""
        assert "--times" in bench.run("tiny", "--times", 0, EGRET_CHECK="1", code=2) and not bench.out.exists()

    def test_options_that_differ_from_their_defaults_are_shown(self, bench):
        said = bench.run("tiny", "--times", 2, "--workers", 1)
        assert 'options: {"out": "out", "text": "text", "times": 2}, others by default' in said

    def test_a_missing_input_says_which_step_makes_it(self, bench):
        (bench.folder / "text").unlink()
        assert "--text text: not there; it is made by steps/write.py (stage 0)" in bench.run("tiny", code=1)

    def test_a_missing_input_of_several(self, bench):
        assert "--more gone: not there; check the path" in bench.run("tiny", "--more", "text", "gone", code=1)

    @pytest.mark.parametrize(
        ("number", "advice"),
        [
            (errno.ENOSPC, "some/file: no space left on the disk; free some and run it again"),
            (errno.EROFS, "some/file: the file system is read-only"),
            (errno.EACCES, "some/file: permission denied"),
            (errno.EMFILE, "ulimit -n"),
        ],
    )
    def test_a_failure_of_the_machine_is_one_line(self, bench, number, advice):
        assert advice in bench.run("tiny", "--act", number, code=1)

    def test_a_folder_that_cannot_be_written(self, bench):
        bench.out.write_text("a file")
        assert "out: a file stands where a folder is expected" in bench.run("tiny", code=1)

    def test_a_full_disk_names_the_file(self, bench):
        bench.out.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", bench.out], capture_output=True)
        if mounted.returncode:
            pytest.skip("mounting a small disk takes root")
        try:
            assert "out/a.txt: no space left on the disk" in bench.run("tiny", "--times", 100_000, code=1)
            assert not (bench.out / "a.txt").exists()
        finally:
            subprocess.run(["umount", bench.out], check=True)

    def test_a_read_only_disk(self, bench):
        bench.out.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", bench.out], capture_output=True)
        if mounted.returncode:
            pytest.skip("mounting a read-only disk takes root")
        try:
            assert "file system is read-only; choose another folder" in bench.run("tiny", code=1)
        finally:
            subprocess.run(["umount", bench.out], check=True)

    def test_a_bug_keeps_its_traceback(self, bench):
        done = subprocess.run(bench.command("tiny", "--act", "bug"), capture_output=True, text=True)
        assert done.returncode == 1 and "Traceback" in done.stderr and "ZeroDivisionError" in done.stderr
        assert "ZeroDivisionError" in bench.status("tiny")["why"]

    def test_ctrl_c_is_exit_code_130(self, bench):
        with bench.start("tiny", "--act", "wait") as process:
            bench.wait_for("waiting")
            os.killpg(process.pid, signal.SIGINT)
            said = process.communicate(timeout=10)[0]
        assert process.returncode == 130
        assert "tiny: error: interrupted; run it again to go on" in said and "Traceback" not in said
        assert not (bench.out / "a.txt").exists()


class TestStatus:
    def test_not_run(self, bench):
        row = bench.status("tiny")
        assert row == {"stage": "3", "step": "tiny", "output": "out", "state": "not run", "why": ""}
        assert not bench.out.exists()

    def test_done(self, bench):
        bench.run("tiny")
        row = bench.status("tiny")
        assert (row["state"], row["why"]) == ("done", "")
        assert row["seconds"] >= 0 and row["finished"].startswith("20")

    def test_stale_and_why(self, bench):
        bench.run("tiny")
        row = bench.status("tiny", "--times", 2)
        assert (row["state"], row["why"]) == ("stale", "times 1 -> 2")
        assert (bench.out / "a.txt").read_text() == "a b c d e"

    def test_stale_because_an_input_is_gone(self, bench):
        bench.run("tiny")
        (bench.folder / "text").unlink()
        row = bench.status("tiny")
        assert row["state"] == "stale" and "not there" in row["why"]

    def test_stale_because_a_step_before_it_is_not_done(self, bench):
        bench.run("tiny")
        bench.run("spread", "--text", "out/a.txt", "--out", "next")
        assert bench.status("tiny", "--times", 3)["state"] == "stale"
        row = bench.status("spread", "--text", "out/a.txt", "--out", "next")
        assert (row["state"], row["why"]) == ("stale", "tiny is not done")

    def test_an_unrelated_step_that_is_not_done_does_not_matter(self, bench):
        bench.run("tiny")
        bench.status("spread", "--out", "elsewhere")
        assert bench.status("tiny")["state"] == "done"

    def test_failed_and_why(self, bench):
        bench.run("tiny", "--act", "fail", code=1)
        row = bench.status("tiny")
        assert (row["state"], row["why"]) == ("failed", "the text is no good; write another")

    def test_success_after_a_failure_is_done(self, bench):
        bench.run("tiny", "--act", "fail", code=1)
        bench.run("tiny")
        assert bench.status("tiny")["state"] == "done"

    def test_a_failed_attempt_with_other_options_is_forgotten_with_the_old_ones(self, bench):
        bench.run("tiny")
        bench.run("tiny", "--times", 2, "--act", "fail", code=1)
        assert bench.status("tiny")["state"] == "failed"
        assert "up to date" in bench.run("tiny")
        assert bench.status("tiny")["state"] == "done"

    @pytest.mark.parametrize("text", ["{", "{}"])
    def test_a_damaged_stamp(self, bench, text):
        bench.run("tiny")
        (bench.out / ".stamp.tiny.json").write_text(text)
        row = bench.status("tiny")
        assert (row["state"], row["why"]) == ("stale", "its stamp is damaged")


class TestUnderALauncher:
    def test_the_job_does_the_work_and_its_log_tells(self, bench):
        said = bench.run("tiny", "--cmd", LAUNCHER)
        log = (bench.out / "log" / "tiny.log").read_text()
        assert "tiny: done in" in log and "# Ended (code 0)" in log and "--cmd" not in log.splitlines()[0]
        assert "tiny: done in" in said  # run.py shows the log of a single job
        assert "up to date" in bench.run("tiny", "--cmd", LAUNCHER)

    def test_the_log_may_be_elsewhere(self, bench):
        bench.run("tiny", "--cmd", f"{LAUNCHER} --quiet", "--log", "my.log")
        assert "tiny: done in" in (bench.folder / "my.log").read_text()

    def test_options_of_the_launcher(self, bench):
        bench.run("tiny", "--cmd", f"{LAUNCHER} --num-threads 3 --quiet", "--workers", 2)
        assert "--workers 2" in (bench.out / "log" / "tiny.log").read_text()

    def test_a_job_that_fails_leaves_word_of_why(self, bench):
        said = bench.run("tiny", "--cmd", LAUNCHER, "--act", "fail", code=1)
        assert said.count("the job failed") == 1 and "the job failed with code 1 (log: out/log/tiny.log)" in said
        assert bench.status("tiny")["why"] == "the text is no good; write another"

    @pytest.mark.parametrize("code", [129, 130, 143])
    def test_a_launcher_that_was_told_to_stop_is_no_failure_of_the_job(self, bench, code):
        launcher = bench.folder / "launcher"
        launcher.write_text(f"#!/bin/sh\nexit {code}\n")
        launcher.chmod(0o755)
        said = bench.run("tiny", "--cmd", launcher, code=130)
        assert "interrupted; run it again to go on" in said and "the job failed" not in said

    def test_a_job_that_saved_when_all_were_told_to_stop_is_to_be_run_again(self, bench):
        launcher = bench.folder / "launcher"  # called with the log and the command
        launcher.write_text("#!/bin/sh\nmkdir -p out/log\necho 75 >$1.status\nexit 143\n")
        launcher.chmod(0o755)
        bench.run("tiny", "--cmd", launcher, code=75)

    def test_a_launcher_that_is_not_there_is_wrong_usage(self, bench):
        said = bench.run("tiny", "--cmd", "nosuch --mem 2G", code=2)
        assert "--cmd nosuch --mem 2G: nosuch cannot be run (No such file or directory)" in said

    @pytest.mark.parametrize(
        ("killed", "why"), [("kill -9 $$", "the launcher was killed (signal 9)"), ("exit 1", "the job failed (code 1)")]
    )
    def test_who_was_killed_leaves_no_word_but_the_step_does(self, bench, killed, why):
        launcher = bench.folder / "launcher"  # whose job leaves no code
        launcher.write_text(f"#!/bin/sh\n{killed}\n")
        launcher.chmod(0o755)
        bench.run("tiny", "--cmd", launcher, code=1)
        assert bench.status("tiny")["why"].startswith(why)

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 130), (signal.SIGUSR1, 75)])
    def test_what_the_step_is_told_its_job_is_told(self, bench, number, code):
        with bench.start("spread", "--cmd", LAUNCHER, "--nj", 1, "--wait") as process:
            bench.wait_for("waiting1")
            job = int((bench.out / "waiting1").read_text())
            process.send_signal(number)
            said = process.communicate(timeout=20)[0]
        assert process.returncode == code and "Traceback" not in said, said
        with pytest.raises(ProcessLookupError):
            os.kill(job, 0)

    def test_while_a_job_works_on_no_second_one_begins_where_the_step_was_killed(self, bench):
        with bench.start("spread", "--cmd", LAUNCHER, "--nj", 1, "--wait") as process:
            bench.wait_for("waiting1")
            job = int((bench.out / "waiting1").read_text())
            process.kill()
            process.wait()
            try:
                assert "another spread is at work" in bench.run("spread", code=1)
                assert not (bench.out / ".stamp.spread.failed.json").exists()  # for that one did not fail
            finally:
                os.kill(job, signal.SIGKILL)

    def test_ctrl_c_cancels_the_job(self, bench):
        with bench.start("spread", "--cmd", LAUNCHER, "--nj", 2, "--wait") as process:
            for number in (1, 2):
                bench.wait_for(f"waiting{number}")
            jobs = [int((bench.out / f"waiting{number}").read_text()) for number in (1, 2)]
            os.killpg(process.pid, signal.SIGINT)
            said = process.communicate(timeout=10)[0]
        assert process.returncode == 130, said
        assert "Traceback" not in said and "interrupted" in said
        for job in jobs:
            with pytest.raises(ProcessLookupError):
                os.kill(job, 0)


class TestJobs:
    def worked(self, bench):
        return "".join(sorted((bench.out / "worked.txt").read_text()))

    @pytest.mark.parametrize("launcher", [[], ["--cmd", LAUNCHER]])
    def test_the_shares_are_joined(self, bench, launcher):
        bench.run("spread", "--nj", 3, *launcher)
        assert (bench.out / "all.txt").read_text() == "ad be c"
        assert self.worked(bench) == "123"
        assert "up to date" in bench.run("spread", "--nj", 3, *launcher)

    def test_an_array_has_a_log_for_each_job(self, bench):
        bench.run("spread", "--nj", 2, "--cmd", LAUNCHER)
        assert {path.name for path in (bench.out / "log").glob("*.log")} == {"spread.1.log", "spread.2.log"}

    @pytest.mark.parametrize("launcher", [[], ["--cmd", LAUNCHER]])
    def test_a_job_that_is_done_is_not_done_again_when_another_one_failed(self, bench, launcher):
        bench.run("spread", "--nj", 3, "--fail", 2, *launcher, code=1)
        done_before = self.worked(bench)
        assert "2" not in done_before and not (bench.out / "all.txt").exists()
        assert bench.status("spread", "--nj", 3)["why"] == "job 2 broke; mend it"
        bench.run("spread", "--nj", 3, *launcher)
        assert self.worked(bench) == "123"
        assert bench.status("spread", "--nj", 3)["state"] == "done"

    @pytest.mark.parametrize(
        ("change", "what"),
        [("echo suffix: y >config.yaml", "suffix x -> y"), ("echo x y >text", "input text changed")],
    )
    def test_what_changes_before_the_jobs_read_it_is_refused(self, bench, change, what):
        """What they leave is not what the step is stamped with."""
        (bench.folder / "config.yaml").write_text("suffix: x\n")
        launcher = bench.folder / "launcher"
        launcher.write_text(f'#!/bin/sh\n{change}\nexec {LAUNCHER} "$@"\n')
        launcher.chmod(0o755)
        words = ["--config", "config.yaml", "--nj", 2, "--cmd", launcher]
        said = bench.run("spread", *words, code=1)
        assert f"out/split2/1: options or inputs changed while it ran ({what}); run it again" in said
        assert not (bench.out / "all.txt").exists()

    def test_a_share_may_be_late_to_be_seen(self, tmp_path, monkeypatch):
        """As those of other hosts on a network file system."""
        wanted = Request("spread", 1, {}, {})
        monkeypatch.setattr(time, "sleep", lambda seconds: write_stamp(tmp_path / "1", wanted, [], {}, 0))
        refuse_other_shares([tmp_path / "1"], wanted, appears=9)

    def test_a_job_that_left_nothing_is_told_of(self, tmp_path):
        with pytest.raises(EgretError, match="1: job 1 has ended and left nothing here; run it again"):
            refuse_other_shares([tmp_path / "1"], Request("spread", 1, {}, {}), appears=0)

    def test_only_shares_of_the_step_itself_are_removed(self, tmp_path):
        for share, step in [("split2/1", "a"), ("split3/dev/1", "a"), ("split4/1", "b"), ("split5/1", "a"),
                            ("split5/2", "b"), ("splits/1", "a")]:  # fmt: skip
            write_stamp(tmp_path / share, Request(step, 1, {}, {}), [], {}, 0)
        (tmp_path / "split6").mkdir()
        remove_shares(tmp_path, "a")
        assert {path.name for path in tmp_path.iterdir()} == {"split4", "split5", "split6", "splits"}

    def test_force_does_every_job_again(self, bench):
        bench.run("spread", "--nj", 2)
        bench.run("spread", "--nj", 2, "--force")
        bench.run("spread", "--nj", 2, "--cmd", LAUNCHER, "--force")
        assert self.worked(bench) == "111222"

    def test_a_changed_option_does_every_job_again(self, bench):
        bench.run("spread", "--nj", 2)
        bench.run("spread", "--nj", 2, "--suffix", "!")
        assert (bench.out / "all.txt").read_text() == "a!c!e! b!d!"

    def test_another_number_of_jobs_is_no_reason_to_run(self, bench):
        bench.run("spread", "--nj", 2)
        assert "up to date" in bench.run("spread", "--nj", 3)

    @pytest.mark.parametrize(("codes", "own"), [({1: 0, 2: 2, 3: 2}, 2), ({1: 1, 2: 2, 3: 0}, 0),
                                                 ({1: 0, 2: 75, 3: 0}, 75), ({2: 75}, None), ({}, None),
                                                 ({1: 0, 2: 137, 3: 0}, None)])  # fmt: skip
    def test_jobs_that_ended_alike_say_how_the_step_ends(self, tmp_path, codes, own):
        for job, code in codes.items():
            (tmp_path / f"x.{job}.log.status").write_text(str(code))
        assert own_code(tmp_path / "x.JOB.log", 3) == own

    def test_a_job_beyond_the_last(self, bench):
        assert "--job 3: there are only 2 jobs" in bench.run("spread", "--nj", 2, "--job", 3, code=2)
