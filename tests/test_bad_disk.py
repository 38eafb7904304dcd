"""A full disk, a read-only folder, too few file handles: every step says so in a line, and run again it ends well."""

import importlib.util
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from program import ROOT, program
from small_an4 import make_corpus

SHARES = 13  # of the features: with two parts more archives than file handles in the tests below
HANDLES = 24
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
TINY = ["--model.tdnn.dim", "8", "--model.tdnn.kernels=[3,3]", "--model.tdnn.dilations=[1,1]",
        "--model.tdnn.strides=[1,3]", "--epochs", "2", "--threads", "1"]  # fmt: skip

# For each step the program and its command line below the folder of the project; OUT is where it writes.
STEPS: dict[str, list[str]] = {
    "prepare": ["egs/an4/local/prepare.py", "--corpus", "corpus", "--out", "OUT"],
    "features": ["steps/extract_features.py", "--cuts", "prepare/train.jsonl", "prepare/test.jsonl",
                 "--nj", str(SHARES), "--features.extractor", "lhotse", "--out", "OUT"],
    "float16": ["steps/extract_features.py", "--cuts", "prepare/train.jsonl", "--storage", "float16",
                "--features.extractor", "lhotse", "--out", "OUT"],
    "lang": ["steps/prepare_lang.py", "--lexicon", "prepare/an4.dic", "--cuts", "prepare/train.jsonl", "--out", "OUT"],
    "lm": ["steps/train_ngram.py", "--order", "3", "--lang", "lang", "--cuts", "prepare/train.jsonl", "--out", "OUT"],
    "graph": ["steps/compile_graph.py", "--lang", "lang", "--grammar", "lm/G_3gram.safetensors", "--out", "OUT"],
    "train": ["steps/train.py", "--cuts", "features/train.jsonl", "--stats", "features/train.stats.safetensors",
              "--lang", "lang", *TINY, "--out", "OUT"],
    "decode": ["steps/decode.py", "--experiment", "train", "--lang", "lang", "--test-cuts", "features/test.jsonl",
               "--method", "ctc_greedy", "--out", "OUT"],
    "score": ["steps/score.py", "--decode", "OUT", "--cuts", "prepare/test.jsonl", "--main-method", "ctc_greedy"],
}  # fmt: skip
KENLM = shutil.which("lmplz") is not None
K2 = importlib.util.find_spec("k2") is not None
LACKING = {step for step, there in {"lm": KENLM, "graph": KENLM and K2}.items() if not there}
MARKS = {step: [pytest.mark.skip("KenLM or k2 is not installed")] for step in LACKING}
MARKS["graph"] = [pytest.mark.k2, *MARKS.get("graph", [])]
EVERY_STEP = pytest.mark.parametrize("step", [pytest.param(step, marks=MARKS.get(step, [])) for step in STEPS])
# Files that say neither when nor where they were made.
SAME_EVERY_TIME = {".safetensors", ".lca", ".h5", ".txt", ".gz", ".bin", ".dic"}


def arguments(step: str, out: Path) -> list[str]:
    return [str(out) if word == "OUT" else word for word in STEPS[step]]


def run(step: str, out: Path, code: int = 0) -> str:
    """What a step says, its exit code checked."""
    ended, said = program(*arguments(step, out))
    assert ended == code, said
    return said


def error_of(said: str) -> str:
    """The message of a failed step, which is its last line."""
    last = said.rstrip("\n").split("\n")[-1]
    assert ": error: " in last, said
    return last


def begin(step: str, out: Path) -> None:
    """What must be there before a step can run: scores are written beside hypotheses."""
    if step == "score":
        shutil.copytree("decode", out, ignore=shutil.ignore_patterns(".*"))


def content(folder: Path) -> dict[str, bytes]:
    """The visible files that are the same every time."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix in SAME_EVERY_TIME]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if not path.name.startswith(".")}


def mount(*words: object) -> None:
    done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting a small disk takes root and a system that allows it ({done.stderr.strip()})")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every step has been run, each in a subfolder of its name."""
    folder = tmp_path_factory.mktemp("project")
    make_corpus(folder / "corpus")
    before = Path.cwd()
    os.chdir(folder)
    try:
        for step in STEPS:
            if step not in LACKING:
                begin(step, Path(step))
                run(step, Path(step))
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def project(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """`disk(KIB)` gives a folder on an empty disk of that size."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def unmount() -> None:
        while os.path.ismount(folder):
            subprocess.run(["umount", folder], check=True)

    def make(kib: int) -> Path:
        unmount()
        mount("-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", folder)
        return folder

    yield make
    unmount()


@EVERY_STEP
def test_a_full_disk_leaves_nothing_half_written_and_with_space_the_step_goes_on(
    step: str, project: Path, disk: Callable[[int], Path]
) -> None:
    whole = content(project / step)
    failed = 0
    size = 8 if step != "score" else 16  # the hypotheses are there already
    while True:
        out = disk(size) / "out"
        begin(step, out)
        code, said = program(*arguments(step, out))
        if code == 0:
            break
        message = error_of(said)
        assert code == 1 and "no space left on the disk; free some and run it again" in message
        assert str(out.parent) in message and ".tmp" not in message
        left = content(out)
        assert {name: whole[name] for name in left} == left
        assert not [path for path in out.rglob("*") if path.name.endswith(".tmp")]
        mount("-o", "remount,size=16m", out.parent)
        run(step, out)
        assert content(out) == whole
        failed, size = failed + 1, size * 4 // 3 // 4 * 4 + 4
    assert failed and content(out) == whole


@EVERY_STEP
def test_a_read_only_folder_is_named(step: str, project: Path, disk: Callable[[int], Path]) -> None:
    out = disk(1024) / "out"
    begin(step, out)
    out.mkdir(exist_ok=True)
    mount("-o", "remount,ro", out.parent)
    message = error_of(run(step, out, code=1))
    assert str(out) in message and "the file system is read-only; choose another folder" in message


@EVERY_STEP
def test_what_is_up_to_date_on_a_read_only_disk_is_left_alone(step: str, project: Path, tmp_path: Path) -> None:
    mount("--bind", project, project)
    try:
        mount("-o", "remount,ro,bind", project)
        os.chdir(project)  # what was entered before is the disk below
        assert "up to date" in run(step, Path(step))
        if step != "score":
            run(step, tmp_path / "out")
            assert content(tmp_path / "out") == content(project / step)
    finally:
        os.chdir(tmp_path)
        subprocess.run(["umount", project], check=True)


def test_a_folder_of_somebody_else_is_named(project: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o555)
    # Root may write everywhere, unless it has laid down its capabilities.
    weak = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    if weak and not shutil.which("setpriv"):
        pytest.skip("root may write everywhere, and there is no setpriv to change that")
    path, *rest = arguments("lang", tmp_path / "out")
    done = subprocess.run(
        [*weak, sys.executable, str(ROOT / path), *rest], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "permission denied; check the owner and mode of the file and its folder" in error_of(done.stderr)


def test_a_job_that_cannot_write_its_exit_code_asks_whether_the_disk_is_full(
    project: Path, disk: Callable[[int], Path]
) -> None:
    out = disk(16) / "out"
    path, *rest = arguments("lang", out)
    command = [sys.executable, str(ROOT / path), "--cmd", f"{sys.executable} {ROOT / 'utils/run.py'}", *rest]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "no space left on the disk" in said and "is the disk full?" in said


@pytest.mark.parametrize("step", [step for step in STEPS if step not in ("lm", "graph")])
def test_few_file_handles_are_enough_for_many_recordings_and_archives(step: str, project: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    begin(step, out)
    done = run_with_handles(step, out, HANDLES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert content(out) == content(project / step)


@pytest.mark.skipif(not KENLM, reason="lmplz is not on PATH (local/install.sh)")
def test_too_few_file_handles_for_lmplz_are_told_of(project: Path, tmp_path: Path) -> None:
    # lmplz itself would wait for ever.
    done = run_with_handles("lm", tmp_path / "out", HANDLES)
    assert (done.returncode, error_of(done.stderr)) == (
        1,
        "train_ngram: error: too few file handles; raise the limit (ulimit -n 4096) and run it again",
    )


@pytest.mark.parametrize("step", ["prepare", "train"])
def test_too_few_file_handles_for_anything_are_told_of(step: str, project: Path, tmp_path: Path) -> None:
    done = run_with_handles(step, tmp_path / "out", 5)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "too few file handles; raise the limit (ulimit -n 4096) and run it again" in error_of(done.stderr)
    run(step, tmp_path / "out")
    assert content(tmp_path / "out") == content(project / step)


def run_with_handles(step: str, out: Path, number: int) -> subprocess.CompletedProcess[str]:
    """Run a step in a process that may have so many files open."""
    path, *rest = arguments(step, out)
    return subprocess.run(
        [sys.executable, str(ROOT / path), *rest],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (number, number)),
    )
