"""Several processes that train one model, each on batches of its own: started by torchrun, on one machine or more.

Every process computes the gradients of its batches; then they are added up, and every process makes the same step.
This is what PyTorch's DistributedDataParallel does, but for one thing: gradients are added up when all of a step's
batches are through, not while the last one is on its way back. So a process that runs out of memory can divide its
batch while the others wait, and one that has no batch left in an epoch adds nothing.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from egret.base.device import choose_device
from egret.base.errors import EgretError, UsageError
from egret.base.files import read_json
from egret.base.signals import handling
from egret.base.submit import AGAIN
from egret.models.model import STATISTICS
from egret.training.loop_options import LoopOptions
from egret.training.signals import Interrupted

T = TypeVar("T")
# What the processes leave for the one that started them, in the experiment's folder.
RESULT = ".result.{node}.json"
STOP = ".stop"
PATIENCE = timedelta(minutes=30)  # the first process may have to read a large manifest


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this one is; `local` counts those of this machine."""

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def main(self) -> bool:
        """Whether it is the one that writes files and talks."""
        return self.rank == 0

    def sum(self, values: Iterable[float], device: torch.device) -> list[float]:
        """Numbers added up over the processes, in double precision."""
        total = torch.tensor(list(values), dtype=torch.float64, device=device)
        if self.size > 1:
            distributed.all_reduce(total)
        return total.tolist()

    def sum_gradients(self, parameters: list[torch.nn.Parameter]) -> None:
        """Add up the gradients of all processes; where a process has none for a parameter, they are zeros."""
        if self.size == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self._in_one_piece([parameter.grad for parameter in parameters if parameter.grad is not None])

    def mean_buffers(self, model: torch.nn.Module) -> None:
        """Running statistics, which every process takes of its own batches, become their mean."""
        if self.size == 1:
            return
        buffers = [
            buffer for name, buffer in model.named_buffers() if name not in STATISTICS and buffer.is_floating_point()
        ]
        if buffers:
            self._in_one_piece(buffers)
            for buffer in buffers:
                buffer.div_(self.size)

    def share_weights(self, model: torch.nn.Module) -> None:
        """All processes take the weights of the first."""
        if self.size > 1:
            for tensor in model.state_dict().values():
                distributed.broadcast(tensor, src=0)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            distributed.barrier()

    def first_alone(self, make: Callable[[], T]) -> T:
        """What `make` gives in the first process, then in the others, who find the files that it left.

        Raises:
          EgretError: what it raised in the first process, in all of them.
        """
        if self.size == 1:
            return make()
        made: list[T] = []
        error = ""
        if self.main:
            try:
                made.append(make())
            except EgretError as found:
                error = str(found)
        if error := self.gather(error)[0]:
            raise EgretError(error)
        return made[0] if made else make()

    def gather(self, value: Any) -> list[Any]:
        """A small value of each process, in the order of the ranks."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, value)
        return found

    @staticmethod
    def _in_one_piece(tensors: list[Tensor]) -> None:
        """Add tensors up over the processes: one message costs less than many."""
        joined = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(joined)
        for tensor, part in zip(tensors, joined.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))


@contextmanager
def joined(options: LoopOptions) -> Iterator[Ranks]:
    """This process among those that torchrun started, or alone."""
    if "RANK" not in os.environ:
        yield Ranks()
        return
    ranks = Ranks(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
    if options.num_gpus:
        torch.cuda.set_device(choose_device(options.num_gpus, "trains", ranks.local))
    distributed.init_process_group("nccl" if options.num_gpus else "gloo", timeout=PATIENCE)
    try:
        yield ranks
    finally:
        distributed.destroy_process_group()


def start(options: LoopOptions) -> dict[str, Any]:
    """Train in as many processes as were asked for, and wait for them; returns the counts that `train` gives.

    Raises:
      EgretError: what a process raised.
      Interrupted: they were told to stop, and saved.
    """
    result, stop = options.out / RESULT.format(node=options.node), options.out / STOP
    errors = options.out / "log" / f"workers.{options.node}.log"
    for path in (result, *([stop] if options.node == 0 else [])):
        path.unlink(missing_ok=True)
    errors.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", *meeting(options)]
    command += ["--nproc_per_node", str(options.processes), "-m", "egret.training.worker"]
    command += [options.step, *sys.argv[1:]]
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // options.processes)))
    with open(errors, "w", encoding="utf-8") as stderr:
        # The training processes end when the pipe closes, as it does when this process ends, even by SIGKILL.
        process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stderr=stderr, preexec_fn=_deaf)
        with passed_on(process, stop):
            process.wait()
    said = read_json(result) if result.exists() else {}
    told = stop.exists()
    result.unlink(missing_ok=True)
    if options.node == 0:
        stop.unlink(missing_ok=True)
    if said.get("code") == AGAIN:
        raise Interrupted(said["error"])
    if "error" in said:
        raise (UsageError if said["code"] == 2 else EgretError)(said["error"])
    if process.returncode != 0 and told:  # torchrun, which had the signal too, ended them before they could save
        raise Interrupted("told to stop; the same command goes on from the last checkpoint")
    if process.returncode != 0:
        raise EgretError(f"a training process ended with code {process.returncode}; {errors} says why")
    return said.get("counts", {})


def _deaf() -> None:
    """SIGUSR1 would end torchrun, which some schedulers send it too; training processes hear it again."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def meeting(options: LoopOptions) -> list[str]:
    """How torchrun's processes find each other.

    Raises:
      UsageError: several machines, and nothing says which is the first.
    """
    if options.num_nodes == 1:
        # torchrun's --standalone, but at a free port: PyTorch 1.13's is the same for all trainings of a machine, which
        # then end with the first of them.
        return ["--nnodes", "1", "--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0"]
    host, _, port = (options.rendezvous or slurm_host()).partition(":")
    if not host:
        raise UsageError(
            "--num-nodes: say where the machines meet, --rendezvous HOST:PORT (of the first), and which one this is, "
            "--node-rank; under srun both are known"
        )
    if not (port or "29400").isdigit():
        raise UsageError(f"--rendezvous {options.rendezvous}: expected HOST:PORT")
    nodes = ["--nnodes", str(options.num_nodes), "--node_rank", str(options.node)]
    return [*nodes, "--master_addr", host, "--master_port", port or "29400"]


def slurm_host() -> str:
    """The first machine of a Slurm job, or "" outside one."""
    nodes = os.environ.get("SLURM_JOB_NODELIST", "")
    if not nodes:
        return ""
    try:
        said = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return said.stdout.split("\n")[0]


@contextmanager
def passed_on(process: subprocess.Popen, stop: Path) -> Iterator[None]:
    """While the processes work, a signal to stop is handed to them by a file that the first one looks for, for
    they stop at the same step."""

    def ask(number: int, frame: Any) -> None:
        stop.write_text(signal.Signals(number).name)

    with handling(ask):
        try:
            yield
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
