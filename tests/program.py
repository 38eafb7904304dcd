"""Programs of steps/ and recipes run in this process, where starting one would take longer than its work."""

import contextlib
import importlib.util
import io
import sys
from pathlib import Path

from egret.base.program import main

ROOT = Path(__file__).resolve().parents[1]


def program(path: str, *arguments: object) -> tuple[int, str]:
    """Exit code and all that is said by `steps/train.py` or `egs/an4/local/prepare.py`; a traceback is raised."""
    spec = importlib.util.spec_from_file_location(f"program_{Path(path).stem}", ROOT / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main(module.STEP, list(map(str, arguments)))
        except SystemExit as ended:
            return int(ended.code or 0), said.getvalue()
    return 0, said.getvalue()
