"""What is left of the error budget and what the next comparison can show, as `plan` and `show` say it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from retrain_daemon.cli.outlook import outlook_lines, power
from retrain_daemon.core.budget import Measured, prospect
from retrain_daemon.core.policy import Claim, Requirement
from retrain_daemon.policies import PolicyFolder
from retrain_daemon.prospects import outlook, shown_by
from tests.fake_box import FakeBox
from tests.made import CHAMPION, a_metric, some_evidence

UNCLEAR = some_evidence(replace(a_metric(-0.01, 0.01, 0.03), standard_error=0.0122))


def said(box: FakeBox, champion: int = CHAMPION, rows: int | None = 4000) -> list[str]:
    policy = PolicyFolder(box.root / "policies").refresh().policies[0]
    with box.journal() as journal:
        return list(outlook_lines(outlook(policy, journal, champion, rows), champion))


def a_box(root: Path) -> FakeBox:
    box = FakeBox(root, evidence=UNCLEAR)
    box.record_champion()
    return box


def test_before_the_first_comparison_the_budget_is_whole_and_the_power_is_not_known(tmp_path: Path) -> None:
    budget, line = said(a_box(tmp_path))
    assert budget == (
        f"error budget against version {CHAMPION}: 0 comparisons made, 5.00% of 5.00% left, the next may err with"
        " 2.500%"
    )
    assert line == "accuracy better_by 0: smallest detectable gain not known before the first comparison"


def test_after_a_comparison_it_is_said_what_more_rows_can_show(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    box.drop()
    box.live()
    budget, line = said(box)
    assert "1 comparison made, 2.50% of 5.00% left, the next may err with 0.833%" in budget
    # (2.394 + 0.842) x 0.0122 x sqrt(1000 / 4000)
    assert "smallest detectable gain 0.01974 by 4,000 rows (chance 80 %)" in line
    assert "the last challenger's gain, 0.01, is within its standard error" in line
    assert line.endswith("measured by attempt churn-1")


@pytest.mark.parametrize(
    ("claim", "threshold", "sentence"),
    [
        # 1000 x (3.236 x 0.0122 / 0.02) ^ 2
        (Claim.BETTER_BY, 0.0, "a gain of 0.02, as the last challenger's, takes 3,89"),
        # 0.05 - (1.645 + 0.842) x 0.0122 x sqrt(1000 / 4000)
        (Claim.NOT_WORSE_BY, 0.05, "what truly loses 0.03483 would still pass by 4,000 rows (chance 80 %)"),
    ],
)
def test_what_rows_can_show_is_told_as_rows_for_a_gain_or_as_a_loss_that_passes(
    claim: Claim, threshold: float, sentence: str
) -> None:
    measured = Measured(
        metric="accuracy", standard_error=0.0122, rows=1000, gain=0.02, attempt="churn-1", champion=CHAMPION
    )
    line = prospect(Requirement("accuracy", claim, threshold), measured, 4000, 0.05, 0.05 / 6)
    assert sentence in power(line, CHAMPION)


def test_what_was_measured_against_another_champion_is_told_as_that(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    box.drop()
    box.live()
    assert said(box, champion=9)[1].endswith(f"measured by attempt churn-1, against version {CHAMPION}, not 9")
    assert "0 comparisons made" in said(box, champion=9)[0]


def test_an_attempt_says_what_its_own_rows_could_show(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    box.drop()
    box.live()
    with box.journal() as journal:
        (made,) = journal.tenures.of_attempt(box.attempts()[0].id)
    (line,) = shown_by(box.attempts()[0], made.number)
    assert "smallest detectable gain 0.03418 by 1,000 rows" in power(line, CHAMPION)
