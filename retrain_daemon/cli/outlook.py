"""How `plan` and `show` put the error budget, and what a line can show, into sentences."""

from __future__ import annotations

from collections.abc import Iterator

from retrain_daemon.core.budget import Prospect
from retrain_daemon.core.policy import Claim
from retrain_daemon.prospects import BudgetLeft, Outlook


def outlook_lines(outlook: Outlook, champion: int) -> Iterator[str]:
    """What the next comparison may claim and can show."""
    if outlook.budget is not None:
        yield _budget(outlook.budget)
    for line in outlook.lines:
        yield power(line, champion)


def _budget(budget: BudgetLeft) -> str:
    comparisons = f"{budget.made} comparison{'' if budget.made == 1 else 's'} made"
    anchor = f"; anchor version {budget.anchor}" if budget.anchor != budget.champion else ""
    return (
        f"error budget against version {budget.champion}: {comparisons}, {budget.left:.2%} of {budget.alpha:.2%} left,"
        f" the next may err with {budget.next_alpha:.3%}{anchor}"
    )


def power(line: Prospect, champion: int) -> str:
    """What one line can show, and by how many rows."""
    named = f"{line.metric} {line.claim.value} {line.threshold:g}" + (f" (rule “{line.rule}”)" if line.rule else "")
    if line.measured is None:
        return f"{named}: smallest detectable gain not known before the first comparison"
    said = [f"{_detectable(line)} (chance 80 %)", _needed(line, line.measured.standard_error)]
    other = line.measured.champion != champion
    against = f", against version {line.measured.champion}, not {champion}" if other else ""
    said.append(f"measured by attempt {line.measured.attempt}{against}")
    return f"{named}: {'; '.join(filter(None, said))}"


def _detectable(line: Prospect) -> str:
    if line.detectable is None:
        return f"smallest detectable gain not known, {line.problem}"
    if line.detectable < 0:
        return f"what truly loses {-line.detectable:.4g} would still pass by {line.rows:,} rows"
    return f"smallest detectable gain {line.detectable:.4g} by {line.rows:,} rows"


def _needed(line: Prospect, standard_error: float) -> str:
    if line.rows_needed is None or line.gain is None:
        return ""
    if line.claim is Claim.NOT_WORSE_BY:
        return f"equal models would pass with a chance of 80 % from {line.rows_needed:,} rows"
    if line.gain - line.threshold < standard_error:
        return f"the last challenger's gain, {line.gain:.4g}, is within its standard error"
    return f"a gain of {line.gain:.4g}, as the last challenger's, takes {line.rows_needed:,} rows"
