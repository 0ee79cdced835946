"""What the pages say, made anew at each request from the published snapshot."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from retrain_daemon.notify import Tally
from retrain_daemon.standing import Standing
from retrain_daemon.web.health import health


class Answers:
    """The pages of one daemon. Made in the thread that serves them: the Prometheus library is imported here."""

    def __init__(
        self, standing: Standing, tally: Callable[[], Tally], clock: Callable[[], datetime], allowed: timedelta
    ) -> None:
        from retrain_daemon.web.metrics import Exporter

        self._standing = standing
        self._clock = clock
        self._allowed = allowed
        self._exporter = Exporter(lambda: standing.snapshot, tally, clock)

    def health(self) -> tuple[int, bytes]:
        """Status and JSON of /healthz."""
        said = health(self._standing.snapshot, self._clock(), self._allowed)
        return said.status, said.body

    def metrics(self, accept: str) -> tuple[str, bytes]:
        """Content type and content of /metrics."""
        return self._exporter.page(accept)
