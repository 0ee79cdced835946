"""What the next comparison of a model may claim and can show: the error budget left, and the power of each line.

Reads the journal; computes nothing itself, which is `core.budget`'s. For `plan` and `show`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeGuard

from retrain_daemon.core.attempts import Attempt
from retrain_daemon.core.budget import Measured, Prospect, alpha_of, left_of, prospect, relative_lines, spends
from retrain_daemon.core.policy import Policy, Promotion, Requirement, promotion_of
from retrain_daemon.journal import Journal

#: So many attempts are looked at for a measurement, newest first.
_LOOK_BACK = 50


@dataclass(frozen=True, kw_only=True)
class BudgetLeft:
    """What is left of the error budget of `champion`'s tenure: of `alpha` after `made` comparisons. The next may err
    with the chance `next_alpha`. `anchor` is the version that no challenger may be worse than either.
    """

    champion: int
    anchor: int
    alpha: float
    made: int
    left: float
    next_alpha: float


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """The budget, None where no line claims an improvement, and what each relative line can show."""

    budget: BudgetLeft | None
    lines: tuple[Prospect, ...]


def outlook(policy: Policy, journal: Journal, champion: int, rows: int | None) -> Outlook:
    """What the next comparison against this champion can show by at most so many rows. Rules that have lines of their
    own are told apart by their names.
    """
    tenure = journal.tenures.open(policy.model)
    present = tenure if tenure is not None and tenure.version == champion else None
    made = len(journal.tenures.comparisons(present)) if present else 0
    alpha = 1 - policy.promote.confidence
    own = {rule.name: promotion_of(policy, rule.name) for rule in policy.rules if rule.require and not rule.observe}
    attempts = journal.attempts.of_model(policy.model, _LOOK_BACK)
    sets = {"": policy.promote, **own}
    return Outlook(
        budget=BudgetLeft(
            champion=champion, anchor=present.anchor if present else champion, alpha=alpha, made=made,
            left=left_of(alpha, made), next_alpha=alpha_of(alpha, made + 1),
        ) if any(map(spends, sets.values())) else None,
        lines=tuple(
            prospect(line, newest_measured(attempts, line, champion), rows, alpha, alpha_of(alpha, made + 1), rule)
            for rule, promotion in sets.items()
            for line in relative_lines(promotion.require)
        ),
    )  # fmt: skip


def shown_by(attempt: Attempt, number: int | None) -> tuple[Prospect, ...]:
    """What each relative line of an attempt could show by the rows it was judged on, as the `number`-th comparison."""
    if attempt.evidence is None:
        return ()
    promotion: Promotion = promotion_of(attempt.policy, attempt.rule)
    alpha, evidence = 1 - promotion.confidence, attempt.evidence
    strict = alpha_of(alpha, number or 1)
    return tuple(
        prospect(line, newest_measured((attempt,), line, evidence.champion_version), evidence.rows, alpha, strict)
        for line in relative_lines(promotion.require)
    )


def newest_measured(attempts: Iterable[Attempt], line: Requirement, champion: int) -> Measured | None:
    """The newest standard error of the gain by the line's metric: against this champion, else an earlier one."""
    found = [measured for attempt in attempts if (measured := _measured(attempt, line.metric)) is not None]
    same = (measured for measured in found if measured.champion == champion)
    return next(same, found[0] if found else None)


def _measured(attempt: Attempt, metric: str) -> Measured | None:
    evidence = attempt.evidence
    for each in evidence.metrics if evidence else ():
        error, gain = each.standard_error, each.gain
        if evidence and each.metric == metric and evidence.rows and _is_known(error) and _is_known(gain) and error:
            return Measured(
                metric=metric, standard_error=error, rows=evidence.rows, gain=gain,
                attempt=attempt.id, champion=evidence.champion_version,
            )  # fmt: skip
    return None


def _is_known(number: float | None) -> TypeGuard[float]:
    return number is not None and math.isfinite(number)
