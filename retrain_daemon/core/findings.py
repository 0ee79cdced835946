"""Findings: the single reasons of a verdict, and how numbers stand in their sentences.

Values and words only; what follows from evidence is said in `lines.py`, `slices.py` and `judge.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from retrain_daemon.core.evidence import MetricEvidence
from retrain_daemon.core.metrics import MODEL_METRICS
from retrain_daemon.core.policy import RELATIVE, Claim, Requirement

#: The code of a finding about one line of requirements.
REQUIREMENT = "requirement"
#: The code of a line that there is nothing to compare with for; it neither passes nor stops a challenger.
LEFT_ASIDE = "left_aside"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One reason. `code` is "requirement", "left_aside" or the name of a refusal; `holds` is None where it is not known
    or the line is left aside.

    For a requirement, `value` is the gain (for at_least and at_most the challenger's own value), `low` and `high`
    its one-sided bounds at the policy's confidence, `rows` those judged. `strict` is the lower bound at
    `strict_confidence` that better_by is held to, in the `comparison`-th comparison with this champion. `against`
    is the earlier champion that a line must hold against as well. For a line about slices, `slice` is the value of the
    column `slices` that settles it, with its numbers; `p` the p-value of "no harm beyond the threshold" there and
    `alpha` the one that Holm's correction compares it with. One that is `observed` settles nothing.
    """

    code: str
    holds: bool | None
    sentence: str
    metric: str = ""
    claim: str = ""
    threshold: float | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    rows: int = 0
    strict: float | None = None
    strict_confidence: float | None = None
    comparison: int | None = None
    against: int | None = None
    slices: str = ""
    slice: str = ""
    p: float | None = None
    alpha: float | None = None
    observed: bool = False


_ASKED = {
    Claim.BETTER_BY: "better by more than {} was asked",
    Claim.NOT_WORSE_BY: "not worse by {} was asked",
    Claim.UNLESS_WORSE_BY: "no shown harm beyond {} was asked",
    Claim.AT_LEAST: "at least {} was asked",
    Claim.AT_MOST: "at most {} was asked",
}


def asked(line: Requirement) -> str:
    """What a line asks for, in words."""
    return _ASKED[line.claim].format(f"{line.threshold:g}")


def numbers_of(line: Requirement, metric: MetricEvidence) -> tuple[float | None, float | None, float | None]:
    """The value that a line is about, its lower and its upper bound."""
    if line.claim in RELATIVE:
        return metric.gain, metric.gain_low, metric.gain_high
    return metric.challenger, metric.challenger_low, metric.challenger_high


def finite(*numbers: float | None) -> bool:
    """Whether all of them are known and numbers."""
    return all(number is not None and math.isfinite(number) for number in numbers)


def told(metric: MetricEvidence, line: Requirement, confidence: float, versus: str = "champion") -> str:
    """The numbers of a metric that a line is about; `versus` says whose the other ones are."""
    value, low, high = numbers_of(line, metric)
    digits = digits_of(low, high)
    if metric.metric in MODEL_METRICS and low == high == value and line.claim not in RELATIVE:
        return f"challenger {shown(value, digits)}"
    bounds = f"({shown(low, digits)} to {shown(high, digits)}, each end at {percent(confidence)})"
    if line.claim not in RELATIVE:
        return f"challenger {shown(value, digits)} {bounds}"
    models = f"challenger {shown(metric.challenger, digits)}, {versus} {shown(metric.champion, digits)}"
    return f"{models}, gain {shown(value, digits)} {bounds}"


def counted(rows: int, groups: int | None = None) -> str:
    """So many rows, in words."""
    units = "1 row" if rows == 1 else f"{rows:,} rows"
    return units if groups is None else f"{units} in {groups:,} groups"


def digits_of(low: float | None, high: float | None) -> int:
    """Decimals that show three digits of the interval's width, at most eight; four where it has none."""
    width = 0.0 if low is None or high is None else high - low
    if not 0 < width < math.inf:
        return 4
    return max(0, min(8, 2 - math.floor(math.log10(width))))


def shown(number: float | None, digits: int) -> str:
    """A number with so many decimals."""
    return "unknown" if number is None else f"{number:.{digits}f}"


def percent(share: float) -> str:
    """A share as a percentage with as many digits as it takes, at most eight."""
    return f"{share * 100:.8g} %"
