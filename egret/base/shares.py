"""What the jobs of a step leave to be joined: seen to be what was asked for, and removed in the end."""

import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from egret.base.errors import EgretError
from egret.base.stamps import Request, changed_outputs, read_stamp, stamp_path

APPEARS = 60.0  # seconds until a network file system shows what another host has written: NFS keeps its view so long


def refuse_other_shares(folders: Sequence[Path], wanted: Request, appears: float) -> None:
    """See that every job left what was asked for: it reads --config and the inputs when its turn comes.

    Args:
      folders: of the jobs, the first one's first.
      appears: seconds in which a share may still come to be seen.

    Raises:
      EgretError: a share is not there, or is of other options or inputs.
    """
    last = time.monotonic() + appears
    for job, folder in enumerate(folders, 1):
        while (stamp := read_stamp(folder, wanted.step)) is None:
            if time.monotonic() >= last:
                raise EgretError(f"{folder}: job {job} has ended and left nothing here; run it again")
            time.sleep(0.5)
        asked_of_it = Request(wanted.step, stamp["version"], stamp["options"], stamp["inputs"])
        changed = asked_of_it.differences(vars(wanted))
        changed += [f"output {name} changed" for name in changed_outputs(folder, wanted.step) or []]
        if changed:
            raise EgretError(f"{folder}: options or inputs changed while it ran ({'; '.join(changed)}); run it again")


def has_shares(out: Path, step: str) -> bool:
    """Whether a job of the step has done its share in `out`."""
    return any(out.glob(f"split*/**/{stamp_path(Path(), step).name}"))


def remove_shares(out: Path, step: str, kept: Path | None = None) -> None:
    """Remove what jobs of the step have left in `out`, but for the folder `kept`. A folder in which nothing has its
    stamp stays, and one with shares of another step."""
    for folder in out.glob("split*"):
        stamps = {path.name for path in folder.rglob(".stamp.*.json")}
        own = re.fullmatch(r"split\d+", folder.name) and stamps == {stamp_path(folder, step).name}
        if own and folder != kept:
            shutil.rmtree(folder)
