"""What a worker prints, without secrets: a team's own code and libraries print what they like.

Only what goes through Python's own streams; what native code writes to the descriptors passes as it is.
"""

from __future__ import annotations

import io
from typing import IO, Any

from retrain_daemon.secrets import Secrets


class Hiding(io.TextIOBase):
    """A stream before another one; each piece that is written shows no secrets."""

    def __init__(self, stream: IO[str], secrets: Secrets) -> None:
        self._stream = stream
        self._secrets = secrets

    def write(self, text: str) -> int:
        self._stream.write(self._secrets.hide(text))
        return len(text)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return str(getattr(self._stream, "encoding", "utf-8"))

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def writable(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
