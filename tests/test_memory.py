"""The memory of a process: kept for the next tensor, and given back when told so."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from egret.base import memory

PROGRAM = """
import resource, sys, numpy
from egret.base.memory import keep_memory, resident, return_memory
if sys.argv[1] == "keep":
    keep_memory()
for piece in range(20):
    if piece == 2:
        began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    numpy.ones(50_000_000, numpy.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - began)
before = resident("VmRSS")
return_memory()
print(before - resident("VmRSS"))
"""


def faults_and_returned(how: str) -> list[int]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_kept_until_it_is_given_back():
    faults, returned = faults_and_returned("keep")
    assert faults < 1000  # 18 pieces of 12,000 pages, or 24 of those that are of 2 MB
    assert returned > 40_000_000
    assert faults_and_returned("plainly")[1] < 10_000_000


SHAPES = """
import ctypes, torch
from egret.base.memory import keep_memory
keep_memory()
NAMES = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
Mallinfo = type("Mallinfo", (ctypes.Structure,), {"_fields_": [(name, ctypes.c_size_t) for name in NAMES]})
libc = ctypes.CDLL("libc.so.6")
libc.mallinfo2.restype = Mallinfo
convolution = torch.nn.Conv2d(16, 16, 3)
for frames in range(10, 610):
    convolution(torch.zeros(2, 16, frames, 5)).sum().backward()
    if frames == 210:
        before = libc.mallinfo2().uordblks
print(libc.mallinfo2().uordblks - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="glibc's allocator, 2.33 or newer")
def test_batches_of_ever_new_shapes_do_not_fill_the_heap_with_kernels():
    done = subprocess.run([sys.executable, "-c", SHAPES], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1_000_000  # those of 400 shapes would take 5 MB


def test_what_files_are_cached_in_a_control_group_is_free(tmp_path: Path, monkeypatch):
    for name, text in [
        ("memory.max", "1000\n"),
        ("memory.current", "900\n"),
        ("memory.stat", "anon 300\ninactive_file 500\nactive_file 60\n"),
    ]:
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(memory, "CGROUP", [(tmp_path, *memory.CGROUP[0][1:])])
    assert memory.available() == 660
    (tmp_path / "memory.max").write_text("max\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    assert memory.available() is None
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 7 kB\n")
    assert memory.available() == 7 * 1024
