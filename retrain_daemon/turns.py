"""Turns: who may start next where only so many may be under way at a time, in the order of asking.

Values only; what is started is not known here.
"""

from __future__ import annotations


class Turns:
    """At most `most` at a time. Who waits asks again and again; who stops asking loses the place in the line."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._line: dict[str, int] = {}

    def may_start(self, name: str, under_way: int) -> bool:
        """Whether it is the turn of `name` while so many are under way; else it waits in line."""
        free = self._most - under_way
        self._line[name] = 0
        ahead = list(self._line).index(name)
        if ahead < free:
            del self._line[name]
            return True
        if free > 0:
            self._pass_over(ahead)
        return False

    def leave(self, name: str) -> None:
        """It has nothing to start any more."""
        self._line.pop(name, None)

    def idle_places(self, under_way: int) -> bool:
        """Whether someone waits although there is a place: another look will give it away."""
        return bool(self._line) and under_way < self._most

    def _pass_over(self, ahead: int) -> None:
        """Those ahead who have not asked since the last time somebody wanted their place are gone."""
        for name in list(self._line)[:ahead]:
            self._line[name] += 1
            if self._line[name] > 1:
                del self._line[name]
