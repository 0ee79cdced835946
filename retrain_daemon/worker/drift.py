"""How far the values of new rows are from those of a reference, column by column: the population stability index.

Reads profiles only, never rows. What is compared with what is decided by the daemon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from retrain_daemon.worker.job import DriftMeasured, DropDrift, MeasureDrift, ProfiledDrop, Progress
from retrain_daemon.worker.profile import ColumnProfile, Floats, Profile, load_profile
from retrain_daemon.worker.profile_joining import joined

#: Fewer rows of one drop alone say little: by chance alone they would be 0.05 away and more.
FEWEST_ROWS_ALONE = 500
_DECILES = np.arange(1, 10) / 10
# A value with this share of the rows is a bin of its own, rarer texts fill bins up to it.
_OWN_SHARE = 0.05
# Where not every text was named, one counts only if no file can have left it out by chance: of 500 named ones the
# rarest has at most this share.
_NAMED_SHARE, _NAMED_ROWS = 0.002, 20
# Jeffreys' prior: half a row more in each bin keeps an empty one finite.
_PRIOR_ROWS = 0.5


def measure_drift(job: MeasureDrift, progress: Callable[[Progress], None]) -> DriftMeasured:
    """The distance of the new drops from the reference, together and, of those that are to be measured alone, of each
    that has enough rows.

    Raises StateUnusable when a profile is not there or broken.
    """
    progress(Progress(phase="comparing profiles", total=len(job.new) + len(job.reference)))
    reference = joined(_loaded(job.reference))
    new = joined(_loaded(job.new))
    bins = bins_of(reference, new)
    columns = tuple((name, each.distance(new.columns[name])) for name, each in bins.items())
    drops = chain.from_iterable(_alone(drop, bins) for drop in job.new if drop.drop in job.alone)
    return DriftMeasured(columns=columns, new_rows=new.rows, reference_rows=reference.rows, drops=tuple(drops))


def _loaded(drops: Iterable[ProfiledDrop]) -> Iterable[Profile]:
    return (load_profile(drop.profile_file) for drop in drops)


def bins_of(reference: Profile, new: Profile) -> dict[str, Bins]:
    """For each column of both that can be compared, the bins to sort its values into. Times are left out: the newest
    are new whatever happens; so is a column that holds numbers on one side and texts on the other.
    """
    names = [name for name in reference.columns if name in new.columns]
    pairs = [(name, reference.columns[name], new.columns[name]) for name in names]
    return {name: make_bins(one, other) for name, one, other in pairs if _same_kind(one, other)}


def _same_kind(one: ColumnProfile, other: ColumnProfile) -> bool:
    empty = any(each.missing == each.rows for each in (one, other))
    kinds = {each.kind for each in (one, other) if each.missing < each.rows}
    return "time" not in kinds and (empty or len(kinds) == 1)


def _alone(drop: ProfiledDrop, bins: dict[str, Bins]) -> Iterable[DropDrift]:
    profile = load_profile(drop.profile_file)
    if profile.rows < FEWEST_ROWS_ALONE:
        return
    found = {name: each.distance(profile.columns[name]) for name, each in bins.items() if name in profile.columns}
    if found:
        worst = max(found, key=lambda name: found[name])
        yield DropDrift(drop=drop.drop, worst=worst, value=found[worst])


@dataclass(frozen=True, eq=False)
class Bins:
    """A way to sort one column's values into bins, and the reference's rows in each; the last bin: missing values."""

    count: Callable[[ColumnProfile], Floats]
    reference: Floats

    def distance(self, column: ColumnProfile) -> float:
        """The population stability index of a column against the reference: 0 or more, always finite."""
        return population_stability(self.reference, self.count(column))


def population_stability(reference: Floats, new: Floats) -> float:
    """Given rows by bin on both sides, the population stability index: the sum over bins of (q - p) ln(q / p), with the
    shares p of the reference and q of the new rows.

    It is the symmetric divergence of Jeffreys (H. Jeffreys: An invariant form for the prior probability in estimation
    problems, 1946) as credit scoring uses it, where below 0.1 is little and above 0.25 much (N. Siddiqi: Credit risk
    scorecards, 2006). Without drift, with B bins and n and m rows, it is on average (B - 1)(1/n + 1/m), and in that
    unit distributed as chi-square over B - 1 (B. Yurdakul, J. Naranjo: Statistical properties of the population
    stability index, Journal of Risk Model Validation, 2020). Nothing is subtracted for that: `benchmarks/drift.py`
    shows how often it passes a threshold. Bins that are empty on both sides do not count; each other one gets half a
    row more.
    """
    filled = (reference > 0) | (new > 0)
    if not filled.any():
        return 0.0
    expected, actual = (_shares(side[filled]) for side in (reference, new))
    return float(np.sum((actual - expected) * np.log(actual / expected)))


def _shares(rows: Floats) -> Floats:
    filled_up = rows + _PRIOR_ROWS
    return np.asarray(filled_up / filled_up.sum(), dtype=np.float64)


def make_bins(reference: ColumnProfile, new: ColumnProfile) -> Bins:
    """Bins by the values of the reference. Of `new` only its kind counts, and whether it names all its texts."""
    filled = reference if reference.missing < reference.rows else new
    if filled.kind != "category":
        return _number_bins(reference)
    return _text_bins(reference, complete=reference.others == 0 and new.others == 0)


def _number_bins(reference: ColumnProfile) -> Bins:
    """Cut at the deciles. A value so frequent that it holds a twentieth of the rows is a bin of its own, so that a
    constant column has three: below, equal, above.
    """
    cumulated = np.cumsum(reference.weights)
    if len(cumulated):
        places = np.minimum(np.searchsorted(cumulated, _DECILES * cumulated[-1]), len(cumulated) - 1)
        places = np.unique(places)
        ups = reference.points[places]
        downs = ups[reference.weights[places] >= _OWN_SHARE * cumulated[-1]]
    else:
        ups = downs = np.empty(0)
    count = _between(ups, downs)
    return Bins(count, count(reference))


def _between(ups: Floats, downs: Floats) -> Callable[[ColumnProfile], Floats]:
    """Counts rows between cuts: after each of `ups` and before each of `downs`."""

    def count(column: ColumnProfile) -> Floats:
        below = np.concatenate([[0.0], np.cumsum(column.weights)])
        cuts = [
            below[np.searchsorted(column.points, ups, "right")],
            below[np.searchsorted(column.points, downs, "left")],
        ]
        return np.concatenate([np.diff(np.sort(np.concatenate([[0.0, below[-1]], *cuts]))), [column.missing]])

    return count


def _text_bins(reference: ColumnProfile, complete: bool) -> Bins:
    """A bin for each text with a twentieth of the rows; the others share bins of that size in the order of their
    letters, which does not depend on how often each happened to come. One bin more is for texts that are new.

    Where all texts are named, as many rows with new ones are expected as have texts that came once only (I. J. Good:
    The population frequencies of species, 1953). Else that bin is for all that are too rare to be named surely.
    """
    total = reference.rows - reference.missing
    least = 0.0 if complete else max(_NAMED_ROWS, _NAMED_SHARE * total)
    known = {text: count for text, count in reference.categories if count >= least}
    own = [text for text, count in known.items() if count >= _OWN_SHARE * total]
    shared = {text: count for text, count in sorted(known.items()) if count < _OWN_SHARE * total}
    places = {text: place for place, text in enumerate(own)} | _filled_up(shared, _OWN_SHARE * total, len(own))
    rows = _by_place(known, places)
    once = sum(1 for count in shared.values() if count == 1) if complete else 0
    if once:
        rows[len(own) :] *= 1 - once / sum(shared.values())
    expected = np.concatenate([rows, [total - sum(known.values()) + once, reference.missing]])

    def count(column: ColumnProfile) -> Floats:
        named = {text: rows for text, rows in column.categories if text in places}
        others = column.rows - column.missing - sum(named.values())
        return np.concatenate([_by_place(named, places, len(rows)), [others, column.missing]])

    return Bins(count, expected)


def _filled_up(counts: dict[str, int], size: float, first: int) -> dict[str, int]:
    """The bin of each text: bins take texts in order until they hold `size` rows."""
    places: dict[str, int] = {}
    place, held = first, 0
    for text, count in counts.items():
        if held >= size:
            place, held = place + 1, 0
        places[text] = place
        held += count
    return places


def _by_place(counts: dict[str, int], places: dict[str, int], size: int | None = None) -> Floats:
    at: NDArray[np.int64] = np.array([places[text] for text in counts], dtype=np.int64)
    bins = max(places.values(), default=-1) + 1 if size is None else size
    rows: Floats = np.zeros(bins)
    np.add.at(rows, at, np.array(list(counts.values()), dtype=np.float64))
    return rows
