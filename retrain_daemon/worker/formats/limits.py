"""How much one file may unfold to: a file of a few bytes must not fill the memory, or keep a worker busy for a day.

A packed file may hold a million rows, and 8 more for each of its bytes; 2 GiB, and 200 times its own size.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retrain_daemon.errors import DataProblem
from retrain_daemon.worker.formats.naming import shown

#: Rows of one file, of any kind: some 100 bytes of each are in memory while it is inspected.
MAX_ROWS = 50_000_000
FREE_ROWS = 1_000_000
ROWS_A_BYTE = 8
FREE_BYTES = 2 * 2**30
EXPANSION = 200
#: What has to be in memory at once: a batch of an Arrow file.
BATCH_BYTES = 2**30
#: One row, or line.
ROW_BYTES = 16 * 2**20
_SPLIT = "Split it into several files."
_BOMB = "No data that a model can learn from are packed so densely; write the file in another way."


@dataclass(frozen=True)
class Limits:
    """What may be in the file at `path` of `size` bytes."""

    path: str
    size: int

    def refuse_rows(self, rows: int) -> None:
        """Raise DataProblem where `rows` are more than one file may have, or than its bytes can say."""
        if rows > MAX_ROWS:
            raise DataProblem(f"{shown(self.path)} has more than {MAX_ROWS:,} rows.", _SPLIT)
        allowed = FREE_ROWS + ROWS_A_BYTE * self.size
        if rows > allowed:
            raise DataProblem(
                f"{shown(self.path)} unfolds to more than {allowed:,} rows, of {self.size:,} bytes.", _BOMB
            )

    def refuse_bytes(self, unfolded: int) -> None:
        """Raise DataProblem where the file unfolds to more bytes than it may."""
        allowed = max(FREE_BYTES, EXPANSION * self.size)
        if unfolded > allowed:
            raise DataProblem(f"{shown(self.path)} unfolds to more than {allowed:,} bytes, from {self.size:,}.", _BOMB)

    def refuse_row(self, size: float) -> None:
        """Raise DataProblem where a row needs more bytes than one may."""
        if size > ROW_BYTES:
            raise DataProblem(
                f"{shown(self.path)} has rows of more than {ROW_BYTES:,} bytes.", "Leave out what is so large."
            )


def limits_of(path: str) -> Limits:
    """The limits of a file as it is now. Raises OSError."""
    return Limits(path, Path(path).stat().st_size)
