"""What a report draws of two models: plots made of what the worker kept, each with a text that says the same."""

from __future__ import annotations

from itertools import pairwise

from retrain_daemon.core.metrics import METRICS, MODEL_METRICS
from retrain_daemon.worker.report_data import Bin, Calibration, Curves, Points, ReportData, Residuals
from retrain_daemon.worker.report_figures import UNIT, Axes, Plot, Series, Tick, around, number
from retrain_daemon.worker.report_job import WriteReport

CHAMPION, CHALLENGER = "champion", "challenger"
_LOW_HEIGHT = 200


def plots(data: ReportData) -> tuple[Plot, ...]:
    """The plots of both models that there is something for."""
    found = (
        _roc(data.roc) if data.roc else None,
        _precision_recall(data.precision_recall) if data.precision_recall else None,
        _calibration(data.calibration) if data.calibration else None,
        _residuals(data.residuals) if data.residuals else None,
        _error_sizes(data.residuals) if data.residuals else None,
    )
    return tuple(plot for plot in found if plot is not None)


def _both(axes: Axes, champion: Points, challenger: Points) -> tuple[Series, ...]:
    return Series(CHAMPION, axes.path(champion)), Series(CHALLENGER, axes.path(challenger))


def _roc(curves: Curves) -> Plot:
    areas = tuple(_area(points) for points in (curves.champion, curves.challenger))
    return Plot(
        title=f"ROC: {curves.about}",
        alt=f"ROC curves; area under the champion's {number(areas[0])}, the challenger's {number(areas[1])}",
        x_label="false positive rate",
        y_label="true positive rate",
        x_ticks=UNIT.x_ticks(),
        y_ticks=UNIT.y_ticks(),
        series=_both(UNIT, curves.champion, curves.challenger),
        reference=UNIT.path(((0, 0), (1, 1))),
    )


def _area(points: Points) -> float:
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))


def _precision_recall(curves: Curves) -> Plot:
    halves = tuple(_at_half(points) for points in (curves.champion, curves.challenger))
    return Plot(
        title=f"Precision and recall: {curves.about}",
        alt=f"Precision-recall curves; at a recall of one half the champion's precision is {number(halves[0])}, the "
        f"challenger's {number(halves[1])}",
        x_label="recall",
        y_label="precision",
        x_ticks=UNIT.x_ticks(),
        y_ticks=UNIT.y_ticks(),
        series=_both(UNIT, curves.champion, curves.challenger),
    )


def _at_half(points: Points) -> float | None:
    return next((precision for recall, precision in points if recall >= 0.5), None)


def _calibration(calibration: Calibration) -> Plot:
    off = tuple(_miscalibration(bins) for bins in (calibration.champion, calibration.challenger))
    return Plot(
        title=f"Calibration: {calibration.about}",
        alt="How often predicted probabilities came true; on average the champion's are off by "
        f"{number(off[0])}, the challenger's by {number(off[1])}",
        x_label="predicted probability (size of a dot: rows)",
        y_label="share that came true",
        x_ticks=UNIT.x_ticks(),
        y_ticks=UNIT.y_ticks(),
        series=(_binned(CHAMPION, calibration.champion), _binned(CHALLENGER, calibration.challenger)),
        reference=UNIT.path(((0, 0), (1, 1))),
    )


def _binned(name: str, bins: tuple[Bin, ...]) -> Series:
    points = tuple((bin.predicted, bin.observed) for bin in bins)
    most = max((bin.rows for bin in bins), default=1)
    sizes = (2.0 + 4.0 * (bin.rows / most) ** 0.5 for bin in bins)
    dots = tuple((*UNIT.place(*point), round(size, 1)) for point, size in zip(points, sizes, strict=True))
    return Series(name, UNIT.path(points), dots)


def _miscalibration(bins: tuple[Bin, ...]) -> float | None:
    rows = sum(bin.rows for bin in bins)
    return sum(bin.rows * abs(bin.predicted - bin.observed) for bin in bins) / rows if rows else None


def _residuals(residuals: Residuals) -> Plot:
    points = (*residuals.champion, *residuals.challenger)
    axes = Axes(around(point[0] for point in points), around((0.0, *(point[1] for point in points))))
    return Plot(
        title=f"Residuals: {residuals.output}",
        alt=f"Truth minus prediction of {len(residuals.champion)} rows, against the prediction; half of the champion's "
        f"errors are within {number(_within(residuals.champion_within))}, of the challenger's within "
        f"{number(_within(residuals.challenger_within))}",
        x_label="prediction",
        y_label="truth − prediction",
        x_ticks=axes.x_ticks(),
        y_ticks=axes.y_ticks(),
        series=(
            Series(CHAMPION, dots=axes.dots(residuals.champion)),
            Series(CHALLENGER, dots=axes.dots(residuals.challenger)),
        ),
        reference=axes.path(((axes.x[0], 0.0), (axes.x[1], 0.0))),
    )


def _within(sizes: Points, share: float = 50.0) -> float | None:
    return next((size for percent, size in sizes if percent == share), None)


def _error_sizes(residuals: Residuals) -> Plot:
    lines = residuals.champion_within, residuals.challenger_within
    axes = Axes((0.0, 100.0), (0.0, around(size for line in lines for _, size in line)[1]))
    return Plot(
        title=f"Sizes of errors: {residuals.output}",
        alt="Sizes that so many percent of the errors stay within; the numbers are in the table",
        x_label="percent of the rows",
        y_label="error at most",
        x_ticks=axes.x_ticks(),
        y_ticks=axes.y_ticks(),
        series=_both(axes, *lines),
    )


def over_versions(job: WriteReport) -> tuple[Plot, ...]:
    """One plot for each metric: what versions had when they were promoted, then the two models of this attempt."""
    evidence = job.attempt.evidence
    if evidence is None:
        return ()
    found = []
    for metric in evidence.metrics:
        known = [(each.version, one.challenger) for each in job.earlier for one in each.evidence.metrics
                 if one.metric == metric.metric and one.challenger is not None]  # fmt: skip
        if known and metric.champion is not None and metric.challenger is not None:
            found.append(_versions(metric.metric, known, metric.champion, metric.challenger))
    return tuple(found)


def _versions(metric: str, earlier: list[tuple[int, float]], champion: float, challenger: float) -> Plot:
    last = len(earlier)
    axes = Axes(
        (-0.5, last + 0.5), around((champion, challenger, *(value for _, value in earlier))), height=_LOW_HEIGHT
    )  # fmt: skip
    past = tuple((float(place), value) for place, (_, value) in enumerate(earlier))
    labels = [*(f"v{version}" for version, _ in earlier), "now"]
    every = max(1, (last + 1) // 7)
    marks = tuple(Tick(axes.place(float(place), axes.y[0])[0], label) for place, label in enumerate(labels)
                  if (last - place) % every == 0)  # fmt: skip
    said = ", ".join(f"version {version} {number(value)}" for version, value in earlier[-5:])
    return Plot(
        title=f"{metric} ({_direction(metric)})",
        alt=f"{metric} when versions were promoted: {said}; now champion {number(champion)}, challenger "
        f"{number(challenger)}",
        x_label="version when it was promoted",
        y_label=metric,
        x_ticks=marks,
        y_ticks=axes.y_ticks(),
        series=(
            Series("earlier", axes.path(past), axes.dots(past, 3.0)),
            Series(CHAMPION, dots=axes.dots([(float(last), champion)], 4.5)),
            Series(CHALLENGER, dots=axes.dots([(float(last), challenger)], 4.5)),
        ),
        height=_LOW_HEIGHT,
        bottom=axes.height - 46,
    )


def _direction(metric: str) -> str:
    known = METRICS.get(metric) or MODEL_METRICS.get(metric)
    return "higher is better" if known is None or known.higher_is_better else "lower is better"
