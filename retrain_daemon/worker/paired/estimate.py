"""A number that was measured, and how sure it is: bounds at any confidence, and p-values that agree with them.

Values and arithmetic only; which method a metric gets is said in `methods.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import special

from retrain_daemon.worker.resample import Array


class Estimate(Protocol):
    """`point` is the number, `standard_error` None where its method has none, `method` says how the bounds are made."""

    @property
    def point(self) -> float: ...

    @property
    def standard_error(self) -> float | None: ...

    @property
    def method(self) -> str: ...

    def low(self, confidence: float) -> float:
        """The one-sided lower bound at `confidence` (from 0.5 on, below 1)."""

    def high(self, confidence: float) -> float:
        """The one-sided upper bound at `confidence`."""

    def p_at_least(self, least: float) -> float:
        """One-sided p-value of "it is `least` or more" for a `least` of 0 or below: under 1 - confidence exactly where
        the upper bound is below `least`.
        """

    def note(self, confidence: float) -> str:
        """What is particular to the bounds at this confidence; empty where nothing is."""


@dataclass(frozen=True)
class Unknown:
    """Why there is no estimate."""

    problem: str


@dataclass(frozen=True)
class Student:
    """Bounds from Student's t with `freedom` degrees of freedom (from 1 on, infinite for a normal curve)."""

    point: float
    standard_error: float
    freedom: float
    method: str

    def low(self, confidence: float) -> float:
        return self.point - self.reach(confidence)

    def high(self, confidence: float) -> float:
        return self.point + self.reach(confidence)

    def reach(self, confidence: float) -> float:
        """How far each bound is from the point."""
        return student_quantile(confidence, self.freedom) * self.standard_error

    def p_at_least(self, least: float) -> float:
        return student_share((self.point - least) / self.standard_error, self.freedom)

    def note(self, confidence: float) -> str:
        return ""


@dataclass(frozen=True)
class Within:
    """A gain of which only its size is bounded: never shown to be above 0, nor below."""

    point: float
    bound: Callable[[float], float]
    method: str
    standard_error: None = None

    def low(self, confidence: float) -> float:
        return -self.bound(confidence)

    def high(self, confidence: float) -> float:
        return self.bound(confidence)

    def p_at_least(self, least: float) -> float:
        return 1.0

    def note(self, confidence: float) -> str:
        return ""


@dataclass(frozen=True)
class NotAbove:
    """An estimate whose lower bound is held at 0: too few units differ for a gain to be shown. Harm may be."""

    inner: Estimate
    method: str

    @property
    def point(self) -> float:
        return self.inner.point

    @property
    def standard_error(self) -> float | None:
        return self.inner.standard_error

    def low(self, confidence: float) -> float:
        return min(self.inner.low(confidence), 0.0)

    def high(self, confidence: float) -> float:
        return max(self.inner.high(confidence), self.low(confidence))

    def p_at_least(self, least: float) -> float:
        return self.inner.p_at_least(least)

    def note(self, confidence: float) -> str:
        return self.inner.note(confidence)


@dataclass(frozen=True)
class AtLeastAsWide:
    """A share (0 to 1) whose bounds are at least `reach` away from it, whatever `inner` says."""

    inner: Estimate
    reach: Callable[[float], float]
    method: str

    @property
    def point(self) -> float:
        return self.inner.point

    @property
    def standard_error(self) -> float | None:
        return self.inner.standard_error

    def low(self, confidence: float) -> float:
        return max(0.0, min(self.inner.low(confidence), self.point - self.reach(confidence)))

    def high(self, confidence: float) -> float:
        return min(1.0, max(self.inner.high(confidence), self.point + self.reach(confidence)))

    def p_at_least(self, least: float) -> float:
        return 1.0

    def note(self, confidence: float) -> str:
        return self.inner.note(confidence)


def normal_quantile(confidence: float) -> float:
    """Of the standard normal curve."""
    return float(special.ndtri(confidence))


def normal_share(z: float) -> float:
    """The share of a standard normal curve below z."""
    return float(special.ndtr(z))


def student_quantile(confidence: float, freedom: float) -> float:
    """Of Student's t."""
    return float(special.stdtrit(freedom, confidence)) if math.isfinite(freedom) else normal_quantile(confidence)


def student_share(t: float, freedom: float) -> float:
    """The share of Student's t below t."""
    return float(special.stdtr(freedom, t)) if math.isfinite(freedom) else normal_share(t)


def share_at_most(count: float, total: float, confidence: float) -> float:
    """Exact upper bound on a share of which `count` of `total` were seen (Clopper and Pearson 1934)."""
    return 1.0 if count >= total else float(special.betaincinv(count + 1, total - count, confidence))


def share_at_least(count: float, total: float, confidence: float) -> float:
    """Exact lower bound on a share of which `count` of `total` were seen."""
    return 0.0 if count <= 0 else float(special.betaincinv(count, total - count + 1, 1 - confidence))


def number_carrying(values: Array) -> float:
    """So many equally large values would spread as these do: n where all are of one size, 1 where one is all."""
    largest = float(np.abs(values).max(initial=0.0))
    if not 0 < largest < math.inf:
        return 0.0
    squares = (values / largest) ** 2
    return float(squares.sum() ** 2 / (squares**2).sum())
