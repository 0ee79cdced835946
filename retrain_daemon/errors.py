"""Every error a person may meet, and the exit code it ends a command with.

A message says what failed, on which object, with which value; the hint says what to do. Whether trying again
later can help (`temporary`) is decided here, where the failure is understood, and only obeyed elsewhere.
"""

from __future__ import annotations

from typing import ClassVar


class RetrainError(Exception):
    """An expected failure: one sentence for a person and, as `hint`, what to do about it."""

    exit_code: ClassVar[int] = 1
    temporary: ClassVar[bool] = False

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class PolicyProblems(RetrainError):
    """A policy file, or an expression in it, does not say what it must."""

    exit_code = 3


class NotFound(RetrainError):
    """A model, attempt, drop, version or file that was named does not exist."""

    exit_code = 4


class Refused(RetrainError):
    """What was asked for is understood and must not, or cannot, be done; it would be refused again."""

    exit_code = 5


class UnknownHyperparameter(Refused):
    """A hyperparameter that the model does not have, or that cannot be set there, whatever its value."""


class RegistryUnreachable(RetrainError):
    """The MLflow server or its database did not answer, or not in time."""

    exit_code = 6
    temporary = True


class StateLocked(RetrainError):
    """Another process holds the lock of the state folder."""

    exit_code = 7
    temporary = True


class StateUnusable(RetrainError):
    """The state folder or the journal cannot be read or written."""

    exit_code = 8


class SettingsProblem(RetrainError):
    """A settings file or environment variable has an unknown name or a wrong value."""

    exit_code = 9


class DataProblem(RetrainError):
    """A dropped file cannot be used as it is: it is set aside with this reason."""

    exit_code = 5


class SuspectData(DataProblem):
    """A dropped file looks wrong, and a person who knows better may let it pass."""


class TrainingFailed(RetrainError):
    """A training could not be carried out; trying the same again gives the same."""

    exit_code = 5


class Unloadable(Refused):
    """The files of the stored model at `uri` are gone or do not load, whoever loads them."""

    def __init__(self, message: str, hint: str = "", *, uri: str) -> None:
        super().__init__(message, hint)
        self.uri = uri


class FrameworkMissing(Refused):
    """A model's framework is not installed where its worker runs; other models are not affected."""
