"""How long a registry is waited for: each request only so long, and after one without an answer none for a moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

from retrain_daemon.errors import RegistryUnreachable
from retrain_daemon.shortage import begin

#: So many requests may be out whose end was not waited for.
MOST_LEFT_ALONE = 3

T = TypeVar("T")


class Silence:
    """After one request was not answered the next ones fail alike, unasked, for `rest` seconds."""

    def __init__(self, rest: float) -> None:
        self._rest = rest
        self._until = 0.0
        self._last: RegistryUnreachable | None = None

    def __enter__(self) -> None:
        if self._last is not None and time.monotonic() < self._until:
            raise RegistryUnreachable(self._last.message, self._last.hint)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, RegistryUnreachable):
            self._last, self._until = error, time.monotonic() + self._rest


class Requests:
    """Makes requests of which none holds its caller up for more than `longest` seconds.

    The time-outs of HTTP hold for each piece of an answer: one that comes byte by byte would never be over. So a
    request runs in a thread of its own, which is left alone when it takes too long; it may still take effect.
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._alone: list[threading.Thread] = []

    def make(self, request: Callable[[], T]) -> T:
        """What `request` returns or raises; TimeoutError when it takes too long, or too many others still do; another
        OSError when this machine has no thread for it.
        """
        self._alone = [thread for thread in self._alone if thread.is_alive()]
        if len(self._alone) >= MOST_LEFT_ALONE:
            raise TimeoutError(f"timed out: {len(self._alone)} earlier requests are still without a whole answer")
        outcome: _Outcome[T] = _Outcome()
        thread = threading.Thread(target=outcome.fill, args=(request,), name="registry", daemon=True)
        begin(thread)
        thread.join(self._longest)
        if thread.is_alive():
            self._alone.append(thread)
            raise TimeoutError(f"timed out: no whole answer within {self._longest:g} s")
        return outcome.take()


class _Outcome(Generic[T]):
    """What came of a request."""

    def __init__(self) -> None:
        self._value: list[T] = []
        self._error: BaseException | None = None

    def fill(self, request: Callable[[], T]) -> None:
        try:
            self._value.append(request())
        except BaseException as error:  # noqa: BLE001  raised again where it was asked for
            self._error = error

    def take(self) -> T:
        if self._error is not None:
            raise self._error
        return self._value[0]
