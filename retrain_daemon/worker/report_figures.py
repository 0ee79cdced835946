"""Numbers to places on paper: scales, ticks, and the values that the page's drawings are made of.

Knows neither a model nor HTML; a drawing holds numbers, and texts that the page escapes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Dots = tuple[tuple[float, float, float], ...]

#: Size of a plot with its margins, in units of its own.
WIDTH, HEIGHT = 340, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 46
#: An interval is drawn between these percents of the line's width.
_FROM, _TO = 6.0, 94.0


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Series:
    """One model's line or dots: `path` is SVG path data, `dots` are places of circles with a radius each."""

    name: str
    path: str = ""
    dots: Dots = ()


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A plot of both models. `reference` is the path of what would be perfect, or no better than chance."""

    title: str
    alt: str
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    series: tuple[Series, ...]
    reference: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its bounds on a line; all places in percent of its width, None for what is not known."""

    low: float
    high: float
    value: float | None
    threshold: float | None
    strict: float | None
    zero: float | None
    good_from: float
    good_to: float
    ticks: tuple[Tick, ...]


def number(value: float | None, *, signed: bool = False) -> str:
    """A number for people: four digits that count, a true minus sign."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:+.4g}" if signed and value else f"{value:.4g}"
    return text.replace("-", "−")


def ticks(low: float, high: float, wanted: int = 5) -> tuple[float, ...]:
    """Round numbers between two bounds, about as many as wanted."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return (low,)
    raw = span / wanted
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    marks: list[float] = []
    while (mark := (first + len(marks)) * step) <= high + step * 1e-9:
        marks.append(0.0 if abs(mark) < step * 1e-9 else mark)
    return tuple(marks)


def interval(
    low: float, high: float, value: float | None, threshold: float | None, *, strict: float | None = None,
    relative: bool = True, upwards: bool = True,
) -> Interval:  # fmt: skip
    """Given finite bounds, lay out a line that shows them with the threshold; the good side is above it, or below."""
    shown = [each for each in (low, high, value, threshold, strict, 0.0 if relative else None) if _finite(each)]
    least, most = _padded(shown)
    threshold = threshold if _finite(threshold) else None

    def place(number: float | None) -> float | None:
        if number is None or not math.isfinite(number):
            return None
        return round(_FROM + (_TO - _FROM) * (number - least) / (most - least), 2)

    border = place(threshold) if threshold is not None else None
    return Interval(
        low=place(low) or 0.0,
        high=place(high) or 0.0,
        value=place(value),
        threshold=border,
        strict=place(strict),
        zero=place(0.0) if relative else None,
        good_from=border if border is not None and upwards else 0.0,
        good_to=100.0 if border is None or upwards else border,
        ticks=tuple(Tick(place(mark) or 0.0, number(mark)) for mark in ticks(least, most, 4)),
    )


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _padded(values: Iterable[float | None]) -> tuple[float, float]:
    known = [value for value in values if value is not None]
    least, most = min(known), max(known)
    pad = (most - least) * 0.06 or abs(most) * 0.05 or 1.0
    return least - pad, most + pad


@dataclass(frozen=True)
class Axes:
    """A scale of two axes on a plot's paper."""

    x: tuple[float, float]
    y: tuple[float, float]
    height: int = HEIGHT

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a point is drawn."""
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1.0)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1.0)
        wide, high = WIDTH - _RIGHT - _LEFT, self.height - _BOTTOM - _TOP
        return round(_LEFT + across * wide, 1), round(self.height - _BOTTOM - up * high, 1)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        """A line through points, as path data."""
        return "M" + "L".join(f"{x} {y}" for x, y in (self.place(*point) for point in points)) if points else ""

    def dots(
        self, points: Iterable[tuple[float, float]], radius: float = 2.0
    ) -> tuple[tuple[float, float, float], ...]:
        """A circle at each point."""
        return tuple((*self.place(*point), radius) for point in points)

    def x_ticks(self) -> tuple[Tick, ...]:
        """Marks along the bottom."""
        return tuple(Tick(self.place(mark, self.y[0])[0], number(mark)) for mark in ticks(*self.x))

    def y_ticks(self) -> tuple[Tick, ...]:
        """Marks along the side."""
        return tuple(Tick(self.place(self.x[0], mark)[1], number(mark)) for mark in ticks(*self.y))


UNIT = Axes((0.0, 1.0), (0.0, 1.0))


def around(values: Iterable[float]) -> tuple[float, float]:
    """The bounds of an axis that shows all values with some room."""
    known = [value for value in values if math.isfinite(value)]
    return _padded(known) if known else (0.0, 1.0)
