"""Turns: who may start next where only so many may be under way at a time, in the order of asking.

Values only; what is started is not known here.
"""

from __future__ import annotations


class Turns:
    """At most `most` at a time. Who waits asks again and again; who stops asking loses the place in the line."""

    def __init__(self, most: int) -> None:
        self._most = most
        # Each with those whose turn it would have been instead, since it asked last.
        self._line: dict[str, set[str]] = {}

    def may_start(self, name: str, under_way: int) -> bool:
        """Whether it is the turn of `name` while so many are under way; else it waits in line."""
        self._line[name] = set()
        free = self._most - under_way
        if free <= 0:
            return False
        self._drop_silent(name)
        ahead = list(self._line)[: list(self._line).index(name)]
        if len(ahead) < free:
            del self._line[name]
            return True
        for other in ahead:
            self._line[other].add(name)
        return False

    def next(self, under_way: int) -> tuple[str, ...]:
        """Whose turn it is while so many are under way: they are to ask now."""
        return tuple(self._line)[: max(self._most - under_way, 0)]

    def leave(self, name: str) -> None:
        """It has nothing to start any more."""
        self._line.pop(name, None)

    def idle_places(self, under_way: int) -> bool:
        """Whether someone waits although there is a place: another look will give it away."""
        return bool(self._line) and under_way < self._most

    def _drop_silent(self, name: str) -> None:
        """Who has not asked since `name` asked last, with a place free, does not want it any more."""
        for other in [other for other, passed in self._line.items() if name in passed]:
            del self._line[other]
