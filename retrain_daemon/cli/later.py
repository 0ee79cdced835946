"""Verbs whose modules are imported when they are called, so that a short command waits for its own modules alone."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from retrain_daemon.cli.arguments import Arguments
    from retrain_daemon.settings import Settings


@dataclass(frozen=True)
class Verb:
    """A function of a module of this package."""

    module: str
    name: str

    def __call__(self, arguments: Arguments, settings: Settings) -> int:
        """Run it; returns the exit code."""
        return self.load()(arguments, settings)

    def load(self) -> Callable[[Arguments, Settings], int]:
        """The function itself."""
        function: Callable[[Arguments, Settings], int] = getattr(import_module(self.module), self.name)
        return function


class Module:
    """A module of this package that is not imported yet; its attributes are its verbs."""

    def __init__(self, name: str) -> None:
        self._name = f"{__package__}.{name}"

    def __getattr__(self, name: str) -> Verb:
        return Verb(self._name, name)
