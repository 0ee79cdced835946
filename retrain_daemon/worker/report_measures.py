"""Curves, confusion, calibration and residuals of two models on the judging rows, thinned to a bounded size.

For people to look at: no verdict rests on them. Metrics and intervals live in `evaluate.py` and `compare.py`.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain_daemon.worker.evaluate import Predictions, Scored, align, count_not_a_number
from retrain_daemon.worker.flipped_rows import flipped_rows, named_files
from retrain_daemon.worker.job import Train
from retrain_daemon.worker.labelled import LabelledRows
from retrain_daemon.worker.report_data import (
    Bin,
    Calibration,
    Confusion,
    Curves,
    Points,
    ReportData,
    Residuals,
    save_report_data,
)
from retrain_daemon.worker.resample import Array

#: A curve has at most so many points.
CURVE_POINTS = 200
#: Rows that curves and calibration are computed from at most.
CURVE_ROWS = 200_000
CALIBRATION_BINS = 15
#: The most frequent classes that a confusion table shows by name; all others are one.
CONFUSION_CLASSES = 12
RESIDUAL_POINTS = 300
ERROR_SHARES = (5, 25, 50, 75, 90, 95, 99)
_FILES = 200

Flags = NDArray[np.bool_]


def keep_report_data(
    job: Train, judging: LabelledRows, truth: NDArray[Any], champion: Predictions, challenger: Predictions
) -> None:
    """Write what a report shows to `job.report_file`, where one is named. Never raises but for want of room: a picture
    that cannot be made must not cost a training; the report says so instead.
    """
    if not job.report_file:
        return
    data = _attempted(lambda: report_data(job, judging, truth, champion, challenger))
    save_report_data(Path(job.report_file), data)


def _attempted(collect: Callable[[], ReportData]) -> ReportData:
    try:
        return collect()
    except Exception as error:  # noqa: BLE001  said in the report and the log
        traceback.print_exc()
        return ReportData(problem=f"plots could not be made: {type(error).__name__}: {' '.join(str(error).split())}")


def report_data(
    job: Train, judging: LabelledRows, truth: NDArray[Any], champion: Predictions, challenger: Predictions
) -> ReportData:
    """Given both models' predictions of the judging rows, return what a report shows of them."""
    known = _of_rows(job, judging)
    if bad := count_not_a_number(champion) or count_not_a_number(challenger):
        return replace(known, problem=f"a model predicts no number on {bad:,} rows, so nothing can be drawn")
    ours, theirs = align(truth, (champion, challenger), job.data.target.positive)
    flipped = flipped_rows(job, judging, ours, theirs)
    if ours.numbers is not None:
        return replace(known, flipped=flipped, residuals=_residuals(job, ours, theirs))
    chosen = _some(len(truth), job.seed)
    known = replace(known, drawn_from=len(chosen), flipped=flipped, confusion=_confusion(ours, theirs))
    return known if ours.probabilities is None or theirs.probabilities is None else _with_curves(
        known, ours, theirs, chosen
    )  # fmt: skip


def _of_rows(job: Train, judging: LabelledRows) -> ReportData:
    names = named_files(job)
    counted = Counter(judging.drop.tolist())
    judged = {names[drop]: rows for drop, rows in counted.most_common(_FILES)}
    times = judging.event_time
    return ReportData(
        rows=len(judging), judged=judged, first_event=_moment(times.min()), last_event=_moment(times.max())
    )  # fmt: skip


def _moment(time: np.datetime64) -> datetime | None:
    if np.isnat(time):
        return None
    return datetime.fromtimestamp(int(time.astype("datetime64[s]").astype(np.int64)), UTC)


def _some(rows: int, seed: int, most: int = CURVE_ROWS) -> NDArray[np.int64]:
    """All places, or `most` of them by chance, in order."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def _with_curves(known: ReportData, ours: Scored, theirs: Scored, chosen: NDArray[np.int64]) -> ReportData:
    about = _about(ours)
    drawn = [_scores(each, chosen) for each in (ours, theirs)]
    roc = Curves(about=about, champion=_roc(*drawn[0]), challenger=_roc(*drawn[1]))
    recall = Curves(about=about, champion=_precision_recall(*drawn[0]), challenger=_precision_recall(*drawn[1]))
    calibration = Calibration(about=about, champion=_bins(*drawn[0]), challenger=_bins(*drawn[1]))
    both = bool(drawn[0][0].any() and not drawn[0][0].all())
    return replace(
        known,
        roc=roc if both else None,
        precision_recall=recall if both else None,
        calibration=calibration if len(drawn[0][0]) else None,
    )


def _drawn_class(scored: Scored) -> int | None:
    """The class that two-class curves are about: the positive one, else the last; None for more classes."""
    if len(scored.classes) > 2:
        return None
    return len(scored.classes) - 1 if scored.positive is None else scored.positive


def _about(scored: Scored) -> str:
    code = _drawn_class(scored)
    if code is None:
        return f"each of {len(scored.classes)} classes against the others, taken together"
    return f"class {scored.classes[code]}"


def _scores(scored: Scored, chosen: NDArray[np.int64]) -> tuple[Flags, Array]:
    """Whether it is so, and how probable the model says it is: of one class, or of every pair of row and class."""
    assert scored.probabilities is not None
    probabilities, truth, code = scored.probabilities[chosen], scored.truth[chosen], _drawn_class(scored)
    if code is not None:
        return truth == code, probabilities[:, code]
    so = truth[:, None] == np.arange(len(scored.classes))
    return so.ravel(), probabilities.ravel()


def _steps(so: Flags, scores: Array) -> tuple[Array, Array]:
    """True and false positives when everything above each distinct score counts as positive, highest score first."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    hits = np.cumsum(so[order], dtype=np.float64)[ends]
    return hits, ends + 1.0 - hits


def _roc(so: Flags, scores: Array) -> Points:
    if not so.any() or so.all():
        return ()
    hits, misses = _steps(so, scores)
    x, y = np.append(0.0, misses / misses[-1]), np.append(0.0, hits / hits[-1])
    return _thinned(x, y, along=x + y)


def _precision_recall(so: Flags, scores: Array) -> Points:
    if not so.any():
        return ()
    hits, misses = _steps(so, scores)
    recall, precision = hits / hits[-1], hits / (hits + misses)
    return _thinned(recall, precision, along=recall)


def _thinned(x: Array, y: Array, along: Array) -> Points:
    """At most CURVE_POINTS of the points, evenly spaced along a value that never falls; first and last are kept."""
    wanted = np.linspace(along[0], along[-1], CURVE_POINTS)
    places = np.unique(np.append(np.searchsorted(along, wanted).clip(0, len(along) - 1), (0, len(along) - 1)))
    return _points(x[places], y[places]) if len(along) > CURVE_POINTS else _points(x, y)


def _points(x: Array, y: Array) -> Points:
    return tuple((round(float(a), 5), round(float(b), 5)) for a, b in zip(x, y, strict=True))


def _bins(so: Flags, scores: Array) -> tuple[Bin, ...]:
    places = np.minimum((scores.clip(0, 1) * CALIBRATION_BINS).astype(np.intp), CALIBRATION_BINS - 1)
    rows = np.bincount(places, minlength=CALIBRATION_BINS)
    predicted = np.bincount(places, weights=scores, minlength=CALIBRATION_BINS)
    observed = np.bincount(places, weights=so.astype(np.float64), minlength=CALIBRATION_BINS)
    return tuple(
        Bin(predicted=round(float(predicted[bin] / rows[bin]), 5), observed=round(float(observed[bin] / rows[bin]), 5),
            rows=int(rows[bin]))
        for bin in np.flatnonzero(rows)
    )  # fmt: skip


def _confusion(ours: Scored, theirs: Scored) -> Confusion | None:
    if ours.labels is None or theirs.labels is None:
        return None
    codes, names = _shown_classes(ours)
    count = len(names)

    def table(scored: Scored) -> tuple[tuple[int, ...], ...]:
        assert scored.labels is not None
        flat = np.bincount(codes[scored.truth] * count + codes[scored.labels], minlength=count * count)
        return tuple(tuple(int(cell) for cell in line) for line in flat.reshape(count, count))

    return Confusion(classes=names, champion=table(ours), challenger=table(theirs))


def _shown_classes(scored: Scored) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    """A place for each class: its own for the most frequent ones, one for all the others."""
    total = len(scored.classes)
    support = np.bincount(scored.truth, minlength=total)
    shown = np.sort(np.argsort(-support, kind="stable")[:CONFUSION_CLASSES])
    codes = np.full(total, len(shown), dtype=np.intp)
    codes[shown] = np.arange(len(shown))
    names = tuple(scored.classes[code] for code in shown)
    return codes, (*names, f"{total - len(shown)} others") if total > len(shown) else names


def _residuals(job: Train, ours: Scored, theirs: Scored) -> Residuals | None:
    """Of the first output where there are several; the others are judged, not drawn."""
    if ours.numbers is None or ours.values is None or theirs.values is None:
        return None
    truth = ours.numbers[:, 0]
    places = _some(len(truth), job.seed, RESIDUAL_POINTS)

    def drawn(values: Array) -> Points:
        return tuple((float(f"{a:.6g}"), float(f"{b:.6g}")) for a, b in
                     zip(values[places, 0], (truth - values[:, 0])[places], strict=True))  # fmt: skip

    def within(values: Array) -> Points:
        sizes = np.percentile(np.abs(truth - values[:, 0]), ERROR_SHARES)
        return tuple((float(share), float(f"{size:.6g}")) for share, size in zip(ERROR_SHARES, sizes, strict=True))

    return Residuals(
        output=job.data.target.columns[0],
        champion=drawn(ours.values),
        challenger=drawn(theirs.values),
        champion_within=within(ours.values),
        challenger_within=within(theirs.values),
    )
