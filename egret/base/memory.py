"""The memory of this process: how much it holds, and how long the allocator keeps it."""

import contextlib
import ctypes
import os
from pathlib import Path

from egret.base.log import log

# Of a control group: the limit, what is used of it, and the names in memory.stat of the files' cache in that.
CGROUP = [
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", ("inactive_file", "active_file")),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes",
     ("total_inactive_file", "total_active_file")),
]  # fmt: skip

MEMINFO = Path("/proc/meminfo")

# Parameters of mallopt(3)
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
# Kernels kept, instead of 1,024: more than one step makes (the zipformer the most, about a hundred).
KERNELS = "128"


def keep_memory() -> None:
    """Let the allocator keep memory that was freed for the next tensor of its size.

    By itself glibc gives large pieces back to the system as soon as they are free, and the system has to clear every
    page of the next one: a quarter of the time of a training step (docs/speed.md). To be called before the first
    thread is started, for each may get a heap of its own. glibc only; elsewhere nothing happens.

    And let oneDNN, and PyTorch's layer above it, keep fewer of the kernels that they make for each shape: those of a
    step serve its layers, but hardly a batch has the shape of an earlier one, and while the thousandth is made and for
    long after, their pieces spread over the heap and it grows (docs/speed.md). To be called before the first kernel.
    """
    for cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(cache, KERNELS)
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        for parameter, value in [
            (M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 64 << 20)
        ]:  # fmt: skip
            libc.mallopt(parameter, value)


def resident(name: str) -> int:
    """Bytes of a line of /proc/self/status, such as VmRSS; 0 where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    found = [line.split()[1] for line in lines if line.startswith(name + ":")]
    return int(found[0]) * 1024 if found else 0


def forget_peak() -> None:
    """Let VmHWM begin anew (proc(5), clear_refs)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        log.debug("the peak of memory cannot be measured anew here")


def return_memory() -> None:
    """Give the system back what the allocator holds between pieces in use: batches of every length leave gaps, and
    a long training would seem to grow. glibc only; elsewhere nothing happens."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def out_of_memory(error: Exception) -> bool:
    """Whether this is PyTorch's, k2's or Python's error for want of memory, and no other. (k2 takes its memory from
    PyTorch's allocators.)"""
    import torch

    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    words = ("DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory", "out of memory")
    return isinstance(error, RuntimeError) and any(each in str(error) for each in words)


def available() -> int | None:
    """Bytes of memory that this process may still take: the machine's, or what its control group leaves, the cache of
    files not counted as used, for it makes room. None where nothing says it."""
    free = []
    if MEMINFO.exists():
        lines = MEMINFO.read_text().splitlines()
        free += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    for folder, limit, usage, caches in CGROUP:
        if not (folder / limit).exists() or (most := (folder / limit).read_text().strip()) == "max":
            continue
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        used = int((folder / usage).read_text()) - sum(int(stat.get(name, 0)) for name in caches)
        free.append(int(most) - used)
    return max(0, min(free)) if free else None
