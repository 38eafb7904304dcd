"""The launcher contract (egret/base/launch.py), and utils/run.py as a user meets it, on its command line."""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from egret.base import launch

RUN = Path(__file__).parent.parent / "utils" / "run.py"


def run(*words, env=None):
    return subprocess.run(
        [sys.executable, RUN, *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
    )


def command_of(*words):
    """The command that the only job of a request runs."""
    return launch.jobs_of(launch.parse_request([*words]))[0].command


def wait_for(path):
    deadline = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


def processes_with(variable):
    """The processes that have NAME=VALUE in their environment: all descendants of the one that was given it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # ended meanwhile
            if variable.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def wait_until_gone(variable, seconds=2):
    deadline = time.monotonic() + seconds
    while left := processes_with(variable):
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.02)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log" / "x.log"


@pytest.fixture
def logs(tmp_path):
    return tmp_path / "log" / "x.JOB.log"


@pytest.fixture
def local():
    """utils/run.py as a module, for what cannot be provoked from outside."""
    spec = importlib.util.spec_from_file_location("run", RUN)
    module = importlib.util.module_from_spec(spec)
    sys.modules["run"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


class TestCommandLine:
    def test_options_come_before_log_and_command(self):
        line = "--mem 8G --gpu 1 --num-threads 4 --time 24:00:00 --max-jobs-run=10 --pick failed --retry 2"
        request = launch.parse_request([*line.split(), "JOB=1:4", "x.JOB.log", "train", "--mem", "1G"])
        assert request == launch.Request(
            log="x.JOB.log",
            command=["train", "--mem", "1G"],
            numbers=range(1, 5),
            mem=8 * 2**30,
            gpu=1,
            num_threads=4,
            time=24 * 3600,
            max_jobs_run=10,
            pick="failed",
            retry=2,
        )

    @pytest.mark.parametrize(("text", "numbers"), [("1:3", [1, 2, 3]), ("3:5", [3, 4, 5]), ("4", [4])])
    def test_an_array_may_begin_anywhere(self, text, numbers):
        request = launch.parse_request([f"JOB={text}", "x.JOB.log", "true"])
        assert [job.number for job in launch.jobs_of(request)] == numbers

    @pytest.mark.parametrize(("text", "seconds"), [("0:00:05", 5), ("30:10:00", 108_600), ("2-01:00:00", 176_400)])
    def test_time_is_hours_minutes_seconds_with_days_before(self, text, seconds):
        assert launch.duration(text) == seconds

    @pytest.mark.parametrize(
        ("words", "complaint"),
        [
            (["--memm", "8G", "x.log", "true"], "unknown option --memm; did you mean --mem?"),
            (["--max_jobs_run", "8", "x.log", "true"], "did you mean --max-jobs-run?"),
            (["--mem", "8", "x.log", "true"], "--mem takes a size with its unit"),
            (["--gpu", "one", "x.log", "true"], "--gpu takes a number, not 'one'"),
            (["--max-jobs-run", "0", "x.log", "true"], "--max-jobs-run takes a number from 1 on"),
            (["--time", "60", "x.log", "true"], "--time takes hours:minutes:seconds"),
            (["--pick", "some", "x.log", "true"], "--pick takes all or failed"),
            (["--retry"], "--retry needs a value"),
            (["JOB=4:1", "x.JOB.log", "true"], "write JOB=FIRST:LAST"),
            (["JOB=0:3", "x.JOB.log", "true"], "write JOB=FIRST:LAST"),
            (["JOB=1:2", "x.log", "true"], "put JOB into the name"),
            (["x.log"], "come a log and a command"),
            ([sys.executable, "-c", "pass"], "the log comes before the command"),
        ],
    )
    def test_wrong_usage_is_exit_code_2_and_says_what_is_meant(self, words, complaint):
        result = run(*words)
        assert result.returncode == 2
        assert complaint in result.stderr

    def test_help_shows_an_example(self):
        result = run("--help")
        assert result.returncode == 0
        assert "For example: run.py --mem 4G JOB=1:8" in result.stdout


class TestJob:
    @pytest.mark.parametrize("word", ["split8/JOB/cuts", "x.JOB.log", "x_JOB", "--job=JOB", "JOB", "JOB:JOB_2"])
    def test_is_replaced_where_no_letter_or_digit_touches_it(self, word):
        assert command_of("JOB=7", "x.JOB.log", word) == [word.replace("JOB", "7")]

    @pytest.mark.parametrize("word", ["JOBS", "MYJOB", "JOB1", "2JOB", "éJOB"])
    def test_stays_inside_a_longer_word(self, word):
        assert command_of("JOB=7", "x.JOB.log", word) == [word]

    def test_stays_where_no_number_was_asked_for(self):
        assert command_of("x.log", "JOB") == ["JOB"]


class TestLog:
    def test_begins_with_the_command_quoted_for_the_shell(self, log):
        run(log, "echo", "two words", "$HOME")
        assert log.read_text().startswith("# echo 'two words' '$HOME'\n# Started on ")

    def test_holds_both_output_streams(self, log):
        run(log, "bash", "-c", "echo out; echo err >&2")
        assert "\nout\nerr\n" in log.read_text()

    def test_ends_with_the_exit_code(self, log):
        run(log, "bash", "-c", "exit 3")
        assert log.read_text().splitlines()[-1].startswith("# Ended (code 3) at ")

    def test_closing_line_stands_alone_after_output_without_a_newline(self, log):
        run(log, "printf", "99%%")
        assert "\n99%\n# Ended" in log.read_text()

    def test_is_new_at_every_run(self, log):
        run(log, "echo", "first")
        run(log, "echo", "second")
        assert "first" not in log.read_text()

    def test_of_a_single_job_is_shown_as_it_grows(self, log, tmp_path):
        wait = f"echo epoch 1; until [ -e {tmp_path}/seen ]; do sleep 0.02; done; echo epoch 2"
        words = [sys.executable, RUN, log, "bash", "-c", wait]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            while process.stdout.readline() != "epoch 1\n":
                pass
            (tmp_path / "seen").touch()
            assert "epoch 2\n" in process.stdout.read()

    def test_of_a_single_job_is_not_shown_when_quiet(self, log):
        assert run("--quiet", log, "echo", "epoch").stdout == ""

    def test_of_an_array_is_not_shown(self, logs):
        assert run("JOB=1:2", logs, "echo", "epoch").stdout == ""


class TestWords:
    @pytest.mark.parametrize("word", ["$(touch pwned)", "a b", "*", "'", '"', "a\nb", "`id`", ";", "| cat", ""])
    def test_pass_through_untouched(self, log, tmp_path, word):
        copy = tmp_path / "copy"
        run(log, sys.executable, "-c", "import sys; open(sys.argv[1], 'w').write(sys.argv[2])", copy, word)
        assert copy.read_text() == word

    def test_that_mean_something_to_the_shell_are_names_of_programs_here(self, log):
        assert run(log, "exit", "0").returncode == 1
        assert log.with_name("x.log.status").read_text() == "127\n"


class TestExitCode:
    def test_is_0_when_every_job_ended_well(self, logs):
        assert run("JOB=1:3", logs, "true").returncode == 0

    def test_is_1_when_one_job_failed(self, logs):
        assert run("JOB=1:3", logs, "test", "JOB", "!=", "2").returncode == 1

    def test_is_left_beside_the_log(self, log):
        run(log, "bash", "-c", "exit 3")
        assert log.with_name("x.log.status").read_text() == "3\n"

    def test_counts_a_job_that_died_without_a_word_as_failed(self, log):
        run(log, "true")  # an earlier run that ended well must not speak for it
        result = run(log, "bash", "-c", "kill -9 $PPID")
        assert result.returncode == 1
        assert "the job died without an exit code" in result.stderr

    def test_is_1_when_the_log_cannot_be_written(self, tmp_path):
        (tmp_path / "log").write_text("a file, no folder")
        result = run(tmp_path / "log" / "x.log", "true")
        assert result.returncode == 1
        assert "log: File exists" in result.stderr


class TestReport:
    def test_names_the_jobs_that_failed_and_shows_the_first_ones_last_lines(self, logs):
        result = run("JOB=1:4", logs, "bash", "-c", "echo line of JOB; exit $((JOB % 2))")
        assert "2 of 4 jobs failed\njob 1 failed with code 1" in result.stderr
        assert "\njob 3 failed with code 1" in result.stderr
        assert "\n  line of 1\n" in result.stderr

    def test_shows_ten_lines_and_no_more(self, logs):
        result = run("JOB=1", logs, "bash", "-c", "seq 100 120; exit 1")
        shown = [line for line in result.stderr.splitlines() if line.startswith("  ")]
        assert shown[:-1] == [f"  {number}" for number in range(112, 121)]

    def test_says_so_when_the_kernel_killed_a_job_for_memory(self, local, tmp_path, monkeypatch, capsys):
        counter = tmp_path / "vmstat"
        counter.write_text("oom_kill 4\n")
        monkeypatch.setattr(local, "OOM_COUNTERS", [counter])
        monkeypatch.setattr(local, "catch_signals", lambda runner: None)  # they are pytest's
        local.main([str(tmp_path / "x.log"), "bash", "-c", f"echo oom_kill 5 > {counter}; kill -9 $$"])
        report = capsys.readouterr().err
        assert "code 137; the kernel killed it for want of memory: raise --mem" in report

    def test_does_not_blame_memory_for_any_other_failure(self, log):
        assert "want of memory" not in run(log, "false").stderr

    def test_counts_the_jobs_of_an_array_as_they_end(self, logs):
        result = run("--max-jobs-run", 1, "JOB=1:2", logs, "true")
        assert "job 1 ended after" in result.stderr
        assert "(2 of 2)" in result.stderr


class TestPickFailed:
    def test_runs_only_jobs_that_failed_or_never_ended(self, logs, tmp_path):
        run("JOB=1:4", logs, "test", "JOB", "!=", "2")
        (logs.parent / "x.3.log.status").unlink()
        run("--pick", "failed", "JOB=1:4", logs, "touch", tmp_path / "again.JOB")
        assert sorted(path.name for path in tmp_path.glob("again.*")) == ["again.2", "again.3"]

    def test_has_nothing_to_do_when_all_ended_well(self, logs):
        run("JOB=1:2", logs, "true")
        result = run("--pick", "failed", "JOB=1:2", logs, "false")
        assert result.returncode == 0
        assert "nothing to run" in result.stderr


class TestRetry:
    @pytest.fixture
    def works_the_third_time(self, tmp_path):
        return ["bash", "-c", f"echo x >> {tmp_path}/tries; [ $(wc -l < {tmp_path}/tries) = 3 ]"]

    def test_runs_a_failed_job_again_until_it_works(self, log, tmp_path, works_the_third_time):
        assert run("--retry", 5, log, *works_the_third_time).returncode == 0
        assert (tmp_path / "tries").read_text() == "x\n" * 3

    def test_gives_up_after_n(self, log, tmp_path, works_the_third_time):
        assert run("--retry", 1, log, *works_the_third_time).returncode == 1
        assert (tmp_path / "tries").read_text() == "x\n" * 2

    def test_keeps_the_log_of_every_try(self, log):
        run("--retry", 1, log, "false")
        assert log.read_text().count("# Ended (code 1)") == 2


class TestSlots:
    @pytest.fixture(autouse=True)
    def machine(self, local, monkeypatch):
        monkeypatch.setattr(local, "cores", lambda: 8)
        monkeypatch.setattr(local, "machine_memory", lambda: 32 * 2**30)

    @pytest.mark.parametrize(
        ("words", "slots"),
        [
            ("", 8),
            ("--max-jobs-run 20", 20),
            ("--num-threads 3", 2),
            ("--num-threads 16", 1),
            ("--mem 10G", 3),
            ("--mem 64G", 1),
            ("--gpu 2", 2),
            ("--mem 8G --gpu 1 --max-jobs-run 3", 3),
        ],
    )
    def test_are_as_many_as_the_machine_holds(self, local, words, slots):
        request = launch.parse_request([*words.split(), "JOB=1:9", "x.JOB.log", "true"])
        assert local.slots(request, devices=["0", "1", "2", "3"]) == slots

    def test_warn_of_a_job_larger_than_the_machine(self, local, capsys):
        local.slots(launch.parse_request(["--mem", "64G", "x.log", "true"]), devices=[])
        assert "--mem asks for more than this machine's 32.0G" in capsys.readouterr().err

    def test_are_never_exceeded(self, logs, tmp_path):
        alone = f"mkdir {tmp_path}/lock && sleep 0.05 && rmdir {tmp_path}/lock"
        assert run("--max-jobs-run", 1, "JOB=1:4", logs, "bash", "-c", alone).returncode == 0

    def test_let_jobs_run_side_by_side(self, logs, tmp_path):
        both = f"[ -e {tmp_path}/1 -a -e {tmp_path}/2 ]"
        meet = f"touch {tmp_path}/JOB; until {both}; do sleep 0.02; done"
        result = run("--time", "0:00:10", "--max-jobs-run", 2, "JOB=1:2", logs, "bash", "-c", meet)
        assert result.returncode == 0


class TestThreads:
    SHOW = ("bash", "-c", "echo threads=${OMP_NUM_THREADS-unset},${MKL_NUM_THREADS-unset}")
    ENVIRONMENT = {"OMP_NUM_THREADS": "7", "MKL_NUM_THREADS": "7"}

    def test_are_set_for_the_libraries_that_start_them(self, log):
        assert "threads=3,3" in run("--num-threads", 3, log, *self.SHOW, env=self.ENVIRONMENT).stdout

    def test_are_left_as_they_are_unless_asked_for(self, log):
        assert "threads=7,7" in run(log, *self.SHOW, env=self.ENVIRONMENT).stdout


class TestGpus:
    SHOW = ("bash", "-c", "echo devices=${CUDA_VISIBLE_DEVICES-unset}.; sleep 0.2")

    def test_are_handed_to_each_job_apart(self, logs):
        run(
            "--gpu",
            2,
            "--max-jobs-run",
            2,
            "JOB=1:2",
            logs,
            *self.SHOW,
            env={"CUDA_VISIBLE_DEVICES": "4,5,6,7"},
        )
        text = "".join(path.read_text() for path in logs.parent.glob("x.?.log"))
        assert "devices=4,5." in text
        assert "devices=6,7." in text

    def test_are_handed_on_when_a_job_ends(self, logs):
        assert run("--gpu", 1, "JOB=1:2", logs, "true", env={"CUDA_VISIBLE_DEVICES": "4"}).returncode == 0

    def test_are_found_by_nvidia_smi(self, log, tmp_path):
        smi = tmp_path / "nvidia-smi"
        smi.write_text("#!/bin/sh\necho 0; echo 1\n")
        smi.chmod(0o755)
        environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
        environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
        words = [sys.executable, RUN, "--gpu", "2", log, *self.SHOW]
        assert "devices=0,1." in subprocess.run(words, env=environment, capture_output=True, text=True).stdout

    def test_that_are_not_there_are_an_error(self, log):
        result = run("--gpu", 2, log, "true", env={"CUDA_VISIBLE_DEVICES": "0"})
        assert result.returncode == 1
        assert "--gpu 2: CUDA_VISIBLE_DEVICES or nvidia-smi offers 1" in result.stderr
        assert not log.exists()

    def test_are_hidden_from_a_job_that_asks_for_none(self, log):
        assert "devices=.\n" in run("--gpu", 0, log, *self.SHOW, env={"CUDA_VISIBLE_DEVICES": "4"}).stdout

    def test_are_left_as_they_are_unless_spoken_of(self, log):
        assert "devices=4.\n" in run(log, *self.SHOW, env={"CUDA_VISIBLE_DEVICES": "4"}).stdout


class TestTime:
    def test_stops_a_job_that_runs_longer_and_says_so(self, log):
        began = time.monotonic()
        result = run("--time", "0:00:01", log, "sleep", "60")
        assert result.returncode == 1
        assert time.monotonic() - began < 10
        assert "it ran longer than --time allows, 1 s" in result.stderr
        assert "# Stopped: it ran longer than --time allows, 1 s" in log.read_text()


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_cancel_every_job_with_all_its_processes(self, logs, tmp_path, number):
        family = f"sleep 61.5 & echo $! > {tmp_path}/JOB.part; mv {tmp_path}/JOB.part {tmp_path}/JOB.pid; wait"
        words = [sys.executable, RUN, "--max-jobs-run", "2", "JOB=1:3", logs, "bash", "-c", family]
        with subprocess.Popen(words) as launcher:
            wait_for(tmp_path / "1.pid")
            wait_for(tmp_path / "2.pid")
            launcher.send_signal(number)
            assert launcher.wait(10) == 128 + number
        for name in ("1.pid", "2.pid"):
            state = Path("/proc", (tmp_path / name).read_text().strip(), "stat")
            assert not state.exists() or state.read_text().split()[2] == "Z"
        assert not (tmp_path / "3.pid").exists()

    def test_leave_a_cancelled_job_marked_as_failed(self, log, tmp_path):
        words = [sys.executable, RUN, "--quiet", log, "bash", "-c", f"touch {tmp_path}/here; exec sleep 60"]
        with subprocess.Popen(words) as launcher:
            wait_for(tmp_path / "here")
            launcher.send_signal(signal.SIGINT)
        assert log.read_text().splitlines()[-1].startswith("# Ended (code 143)")


class TestDeathOfTheLauncher:
    """SIGKILL, which no program can catch."""

    @pytest.fixture
    def mark(self, tmp_path):
        return f"EGRET_TEST_MARK={tmp_path}"

    def launch(self, mark, *words):
        return subprocess.Popen([sys.executable, RUN, *map(str, words)], env={**os.environ, **dict([mark.split("=")])})

    @pytest.mark.parametrize("ignored", ["", "trap '' TERM HUP INT; "])
    def test_ends_every_process_of_every_job(self, logs, tmp_path, mark, ignored):
        family = f"{ignored}(bash -c 'sleep 61.5; true' & touch {tmp_path}/JOB; wait); true"
        with self.launch(mark, "--max-jobs-run", 2, "JOB=1:2", logs, "bash", "-c", family) as launcher:
            wait_for(tmp_path / "1")
            wait_for(tmp_path / "2")
            assert len(processes_with(mark)) > 2 * 3
            launcher.kill()
        wait_until_gone(mark)

    def test_ends_a_job_that_was_told_to_end_and_is_slow(self, log, tmp_path, mark):
        slow = f"trap 'touch {tmp_path}/told; sleep 61.5' TERM; touch {tmp_path}/here; sleep 61.5 & wait"
        with self.launch(mark, log, "bash", "-c", slow) as launcher:
            wait_for(tmp_path / "here")
            launcher.terminate()
            wait_for(tmp_path / "told")
            launcher.kill()
        wait_until_gone(mark)

    def test_leaves_no_orphan_to_write_an_exit_code_into_a_later_run(self, log, tmp_path, mark):
        with self.launch(mark, log, "bash", "-c", f"touch {tmp_path}/here; sleep 1; exit 3") as launcher:
            wait_for(tmp_path / "here")
            launcher.kill()
        assert run(log, "true").returncode == 0
        wait_until_gone(mark, seconds=4)  # in whatever way
        assert log.with_name("x.log.status").read_text() == "0\n"

    def test_is_not_taken_for_granted_when_a_job_ends_well(self, log, mark):
        with self.launch(mark, log, "bash", "-c", "sleep 1.5 & echo started") as launcher:
            assert launcher.wait(10) == 0
        assert len(processes_with(mark)) == 1  # what the job left running on purpose, and no watcher
        wait_until_gone(mark, seconds=4)
        assert log.read_text().splitlines()[-1].startswith("# Ended (code 0)")


def test_a_job_whose_shell_was_killed_is_not_there_any_more_when_it_is_tried_again(log, tmp_path):
    once = f"if [ -e {tmp_path}/tried ]; then sleep 0.5; [ ! -e {tmp_path}/orphan ]; exit; fi; touch {tmp_path}/tried"
    result = run("--retry", 1, log, "bash", "-c", f"{once}; kill -9 $PPID; sleep 0.3; touch {tmp_path}/orphan")
    assert result.returncode == 0


def test_starts_with_the_standard_library_alone(log):
    assert subprocess.run([sys.executable, "-I", "-S", RUN, log, "true"], capture_output=True).returncode == 0
