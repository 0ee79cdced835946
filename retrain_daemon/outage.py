"""An outage of the registry: since when, and when it is asked again. A value; what is asked is not known here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

#: However long an outage lasts, the registry is asked again after so long at the latest.
LONGEST_PAUSE = timedelta(minutes=2)
_DOUBLINGS = 16


@dataclass(frozen=True)
class Outage:
    """`since` when the registry has not answered, None while it does; `polls` it left unanswered one after another."""

    since: datetime | None = None
    polls: int = 0

    def goes_on(self, now: datetime) -> Outage:
        """The registry did not answer a poll."""
        return replace(self, since=self.since or now, polls=self.polls + 1)

    def answered(self) -> Outage:
        """A poll was answered: whether the outage is over shows in what follows from it."""
        return replace(self, polls=0)

    def lasted(self, now: datetime) -> timedelta:
        """How long it has lasted."""
        return now - self.since if self.since is not None else timedelta(0)

    def next_poll(self, now: datetime, interval: timedelta, share: float) -> datetime:
        """When to ask again: after `interval`; in an outage ever later, up to LONGEST_PAUSE.

        `share`, from 0 to 1, is drawn anew each time and scatters the polls of an outage over the second half of the
        pause, so that many daemons do not all ask a server that has just come back at the same moment.
        """
        if not self.polls:
            return now + interval
        longest = max(interval, LONGEST_PAUSE)
        doubled: timedelta = interval * 2 ** min(self.polls - 1, _DOUBLINGS)
        pause = min(doubled, longest)
        return now + pause * (0.5 + share / 2)
