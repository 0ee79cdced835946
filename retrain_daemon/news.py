"""News: what happened that someone outside may want to be told, as values, and who may be told it.

Told by those that act, where it happened, as it is journaled. Who is told must not fail and must
not keep the teller waiting.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class News:
    """One of settings.OCCASIONS, and what it was about; a field that says nothing is None or "".

    `version` is the champion after it, `was` the one before; `file` is a quarantined one.
    """

    occasion: str
    at: datetime
    model: str = ""
    attempt: str = ""
    version: int | None = None
    was: int | None = None
    file: str = ""
    reason: str = ""


class Announcer(Protocol):
    """Someone who is told news."""

    def tell(self, news: News) -> None:
        """Take note; returns at once and raises nothing."""


class Silence:
    """Nobody is told."""

    def tell(self, news: News) -> None:
        """Nothing happens."""


NOBODY = Silence()


@dataclass(frozen=True)
class Everyone:
    """Several announcers as one."""

    announcers: tuple[Announcer, ...]

    def tell(self, news: News) -> None:
        """Tell each."""
        for announcer in self.announcers:
            announcer.tell(news)
