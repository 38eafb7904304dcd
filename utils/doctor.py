#!/usr/bin/env python3
"""Check what Egret stands on, and say how to mend what is missing.

    python3 utils/doctor.py            a table: ok, warning or missing, with the command that mends it
    python3 utils/doctor.py --json     the same for programs

Runs under any Python from 3.8 on with nothing installed; what it examines is the environment that path.sh would
use: $EGRET_VENV, or .venv in the project. Each check of a package runs in a process of its own, so that one that
crashes or hangs is just another line in the table. Exit code 0: all that the installed profile needs is there;
1: something is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(os.environ.get("EGRET_VENV") or ROOT / ".venv")
PYTHON = VENV / "bin" / "python"
TIMEOUT = 120  # seconds; a first import from a slow network disk can take one of the two minutes

OK, WARNING, MISSING = "ok", "warning", "missing"


@dataclass
class Finding:
    """One line of the table; `mend` is a command, or a sentence where no single command does it."""

    name: str
    state: str
    detail: str
    mend: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print a JSON list of findings")
    args = parser.parse_args()

    profile = installed_profile()
    checks = MACHINE
    if PYTHON.exists():
        checks = environment_checks(profile) + MACHINE
    with ThreadPoolExecutor(max_workers=2) as pool:
        findings = [check_interpreter(profile), *pool.map(lambda check: check(), checks)]
    if args.json:
        print(json.dumps({"profile": profile, "findings": [asdict(f) for f in findings]}, indent=2))
    else:
        print_table(findings)
    return 1 if any(finding.state == MISSING for finding in findings) else 0


def installed_profile() -> str:
    """The profile noted by local/install.sh; an environment that someone else made is judged as `no-k2`."""
    try:
        return json.loads((VENV / ".egret.json").read_text())["profile"]
    except (OSError, ValueError, KeyError):
        return "no-k2" if os.environ.get("EGRET_VENV") else "default"


def environment_checks(profile: str) -> list[Callable[[], Finding]]:
    """The checks of what is installed, in the order of the table."""
    install = install_command(profile)
    with_k2 = profile in ("default", "gpu")
    mend_k2 = install if with_k2 else "local/install.sh --profile default   (or gpu)"
    return [
        lambda: check_python("torch", TORCH, needed=True, mend=install),
        lambda: check_cuda(profile),
        lambda: check_python("k2", K2, needed=with_k2, mend=mend_k2),
        lambda: check_python("kaldifeat", KALDIFEAT, needed=profile == "default", mend=mend_k2),
        lambda: check_python("lhotse", LHOTSE, needed=True, mend=install),
        lambda: check_kenlm_tools(install),
        lambda: check_python("KenLM module", KENLM, needed=True, mend=install),
        lambda: check_python("other packages", OTHERS, needed=True, mend=install),
    ]


def install_command(profile: str, force: bool = True) -> str:
    words = ["local/install.sh", "--profile", profile]
    if VENV != ROOT / ".venv":
        words += ["--venv", str(VENV)]
    return " ".join(words + (["--force"] if force else []))


# ------------------------------------------------------------------------------------------- the environment

TORCH = """
import torch
assert torch.ones(2, 2).mm(torch.ones(2, 2)).sum() == 8
print(torch.__version__)
"""

CUDA = """
import torch
if torch.version.cuda is None:
    print("none this torch was built without CUDA")
elif not torch.cuda.is_available():
    print("none no GPU that this torch, built for CUDA", torch.version.cuda, "can use")
else:
    assert torch.ones(2, 2, device="cuda").mm(torch.ones(2, 2, device="cuda")).sum().item() == 8
    names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
    print("found", torch.cuda.device_count(), "x", ", ".join(sorted(names)), "with CUDA", torch.version.cuda)
"""

# Two transducers of one path from 1 to 1 compose to such a path, whose scores add up.
K2 = """
import importlib.metadata
import torch, k2
half = k2.arc_sort(k2.Fsa.from_str("0 1 1 1 0.5\\n1 2 -1 -1 0\\n2", aux_label_names=["aux_labels"]))
both = k2.connect(k2.compose(half, half))
score = k2.shortest_path(k2.create_fsa_vec([both]), use_double_scores=True).get_tot_scores(True, False)
assert abs(score.item() - 1.0) < 1e-6, score
print(importlib.metadata.version("k2"))
"""

# One second of a 440 Hz sine at 16 kHz has 98 frames, and its energy is not at the top of the spectrum.
KALDIFEAT = """
import math, torch, kaldifeat
options = kaldifeat.FbankOptions()
options.frame_opts.dither = 0
options.mel_opts.num_bins = 80
features = kaldifeat.Fbank(options)(torch.sin(torch.arange(16000) * (2 * math.pi * 440 / 16000)))
assert features.shape == (98, 80), features.shape
assert features.mean(0).argmax() < 20
print(kaldifeat.__version__)
"""

LHOTSE = """
import lhotse
from lhotse.dataset import DynamicBucketingSampler
from lhotse import CutSet, LilcomChunkyWriter
print(lhotse.__version__)
"""

OTHERS = """
import jsonargparse, kaldialign, kaldilm, lilcom, numpy, requests, safetensors, soundfile, tqdm, yaml
import torch.utils.tensorboard
print("jsonargparse, kaldialign, kaldilm, lilcom, safetensors, soundfile, tensorboard and more")
"""

KENLM = """
import importlib.metadata
from kenlm import Model
print(importlib.metadata.version("kenlm"))
"""


def check_interpreter(profile: str) -> Finding:
    install = install_command(profile, force=False)
    if not PYTHON.exists():
        return Finding("interpreter", MISSING, f"{PYTHON} is not there", install)
    answer, version = run_python("import platform; print(platform.python_version())")
    if not answer:
        return Finding("interpreter", MISSING, f"{PYTHON}: {version}", install)
    if not (VENV / ".egret.json").exists():
        if (VENV / ".egret.wanted").exists():
            return Finding("interpreter", MISSING, "the installation was interrupted", install)
        return Finding("interpreter", WARNING, f"Python {version} in {VENV}, not made by local/install.sh")
    return Finding("interpreter", OK, f"Python {version}, profile {profile}, {VENV}")


def check_python(name: str, program: str, needed: bool, mend: str) -> Finding:
    """Run a small program with the environment's Python: what it prints is the version."""
    answer, text = run_python(program)
    if answer:
        return Finding(name, OK, text)
    if not needed and "ModuleNotFoundError" in text:
        return Finding(name, WARNING, "not installed; this profile does without", mend)
    return Finding(name, MISSING if needed else WARNING, text, mend)


def check_cuda(profile: str) -> Finding:
    answer, text = run_python(CUDA)
    if answer and text.startswith("found "):
        return Finding("CUDA", OK, text[len("found ") :])
    has_gpu = shutil.which("nvidia-smi") and run(["nvidia-smi"])[0]
    if has_gpu:
        detail = text[len("none ") :] if answer else text
        return Finding("CUDA", MISSING, f"nvidia-smi shows a GPU, but {detail}", gpu_advice(profile))
    if profile == "gpu":
        return Finding("CUDA", MISSING, "nvidia-smi shows no GPU", "check the NVIDIA driver: nvidia-smi")
    return Finding("CUDA", OK, "no GPU on this machine; the CPU will do the work")


def gpu_advice(profile: str) -> str:
    if profile == "gpu":
        return "local/install.sh --profile gpu --torch VERSION   (a torch for your driver's CUDA; see nvidia-smi)"
    return "local/install.sh --profile gpu"


def check_kenlm_tools(install: str) -> Finding:
    """Estimate a model of one sentence and turn it into KenLM's binary form."""
    lmplz, build_binary = VENV / "bin" / "lmplz", VENV / "bin" / "build_binary"
    with tempfile.TemporaryDirectory() as scratch:
        arpa, binary = Path(scratch) / "test.arpa", Path(scratch) / "test.bin"
        options = ["--order", "2", "--memory", "50M", "--discount_fallback", "--arpa", str(arpa)]
        for command, stdin in ((lmplz, "the model\n"), (build_binary, "")):
            arguments = options if command == lmplz else [str(arpa), str(binary)]
            answer, text = run([str(command), *arguments], stdin)
            if not answer:
                return Finding("KenLM tools", MISSING, f"{command.name}: {text}", install)
    return Finding("KenLM tools", OK, "lmplz and build_binary")


# ---------------------------------------------------------------------------------------------- the machine


def check_launchers() -> Finding:
    found = [name for name in ("sbatch", "qsub") if shutil.which(name)]
    if found:
        return Finding("launchers", OK, f"run.py, and a cluster: {', '.join(found)}")
    return Finding("launchers", OK, "run.py on this machine; neither sbatch (Slurm) nor qsub (SGE) on PATH")


def check_compiler() -> Finding:
    compiler = os.environ.get("CXX") or "c++"
    answer, text = run([compiler, "--version"])
    if answer:
        return Finding("compiler", OK, text.splitlines()[0])
    return Finding(
        "compiler", WARNING, f"{compiler} does not run; only building kaldifeat and KenLM needs it",
        "sudo apt-get install g++   (or your system's C++ compiler)",
    )  # fmt: skip


def check_disk() -> Finding:
    free = shutil.disk_usage(ROOT).free / 1e9
    state = OK if free >= 20 else WARNING
    return Finding(
        "disk", state, f"{free:.0f} GB free at {ROOT}",
        "" if state == OK else "put data/ and exp/ of the recipe on a larger disk (a link will do)",
    )  # fmt: skip


def check_memory() -> Finding:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    state = OK if total >= 7 else WARNING
    return Finding(
        "memory", state, f"{total:.0f} GB",
        "" if state == OK else "run fewer jobs at a time: --nj 1",
    )  # fmt: skip


def check_file_handles() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= 1024:
        return Finding("file handles", OK, f"{soft} (at most {hard})")
    return Finding("file handles", WARNING, f"{soft}; data loaders may want more", f"ulimit -n {min(hard, 4096)}")


MACHINE: list[Callable[[], Finding]] = [
    check_launchers,
    check_compiler,
    check_disk,
    check_memory,
    check_file_handles,
]


# ------------------------------------------------------------------------------------------------- the rest


def run_python(program: str) -> tuple[bool, str]:
    """Run a program with the environment's Python. Returns whether it succeeded, and what it says."""
    return run([str(PYTHON), "-c", program])


def run(command: list[str], stdin: str | None = None) -> tuple[bool, str]:
    """Run a command. Returns success with its output, or failure with its last line (or why it did not run)."""
    try:
        done = subprocess.run(command, input=stdin or "", capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return False, f"no answer in {TIMEOUT} s"
    except OSError as error:
        return False, error.strerror or str(error)
    if done.returncode == 0:
        return True, done.stdout.strip()
    lines = (done.stderr or done.stdout).strip().splitlines()
    if done.returncode < 0:
        return False, f"killed by signal {-done.returncode}"
    return False, lines[-1] if lines else f"exit code {done.returncode}"


def print_table(findings: list[Finding]) -> None:
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        print(f"{finding.name:{width}}  {finding.state:7}  {finding.detail}")
        if finding.mend:
            print(f"{'':{width}}           -> {finding.mend}")
    missing = sum(finding.state == MISSING for finding in findings)
    warnings = sum(finding.state == WARNING for finding in findings)
    print(f"{len(findings)} checks: {missing} missing, {warnings} warnings")


if __name__ == "__main__":
    sys.exit(main())
