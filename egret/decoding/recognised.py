"""What decoding finds in a part; nothing here needs PyTorch."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from egret.base.errors import first_few
from egret.base.log import log


@dataclass
class Recognised:
    """What one method made of a part with one setting.

    Its rows are kept as compressed JSON, for there may be hundreds of settings, of parts of many thousand utterances.

    Attributes:
      names: ids of the utterances, in the manifest's order.
      seconds: that the search took.
    """

    method: str
    params: dict[str, Any]
    names: Sequence[str]
    seconds: float = 0.0
    packed: list[bytes] = field(default_factory=list)

    def add(self, rows: dict[str, dict[str, Any]]) -> None:
        """Keep rows of hyp.jsonl by the ids of their utterances."""
        self.packed.append(zlib.compress(json.dumps(rows).encode(), level=1))

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """Rows of hyp.jsonl by the ids of their utterances, in the order of the names."""
        found: dict[str, dict[str, Any]] = {}
        for part in self.packed:
            found |= json.loads(zlib.decompress(part))
        return {name: found[name] for name in self.names}

    @property
    def hypotheses(self) -> list[dict[str, Any]]:
        """All rows of hyp.jsonl, in the order of the names."""
        return [{"id": name, **row} for name, row in self.rows.items()]


def without_frames(cuts: Path, rows: Sequence[dict[str, Any]]) -> list[str]:
    """The utterances without features, of which the log is told."""
    silent = [row["id"] for row in rows if not row["features"]["num_frames"]]
    if silent:
        log.warning("%s: %d utterances have no frames and get no words: %s", cuts, len(silent), first_few(silent))
    return silent
