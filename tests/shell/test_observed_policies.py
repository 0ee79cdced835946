"""`observe: true` in policy files: on rules and on lines of `require`."""

from __future__ import annotations

import pytest

from retrain_daemon.core.policy import Policy
from retrain_daemon.policies import read_policy_text

TEXT = """\
model: churn
data:
  path: /srv/drops/churn/*.csv
  target: churned
retrain:
  - name: fresh
    when: data.new_rows >= 100
promote:
  require:
    - {metric: accuracy, better_by: 0}
"""
OBSERVED = "    - {metric: log_loss, not_worse_by: 0.1, observe: true}\n"


def policy_of(text: str) -> Policy:
    reading = read_policy_text(text, "churn.yaml", "/etc/retraind")
    assert [str(problem) for problem in reading.problems] == []
    return reading.policies[0]


def problem_of(text: str) -> str:
    (problem,) = read_policy_text(text, "churn.yaml", "/etc/retraind").problems
    return str(problem)


def test_rules_and_lines_may_be_there_only_to_be_observed() -> None:
    policy = policy_of(TEXT.replace("    when:", "    observe: true\n    when:") + OBSERVED)
    assert [rule.observe for rule in policy.rules] == [True]
    assert [line.observe for line in policy.promote.require] == [False, True]


def test_a_line_that_counts_may_be_observed_at_another_threshold_beside_it() -> None:
    lines = policy_of(TEXT + "    - {metric: accuracy, better_by: 0.02, observe: true}\n").promote.require
    assert [(line.threshold, line.observe) for line in lines] == [(0.0, False), (0.02, True)]
    twice = "    - {metric: accuracy, better_by: 0.02, observe: true}\n" * 2
    assert "required twice" in problem_of(TEXT + twice)


@pytest.mark.parametrize("own", [False, True], ids=["promote", "a rule's own"])
def test_where_no_line_counts_nothing_would_settle_a_verdict(own: bool) -> None:
    observed = "{metric: accuracy, better_by: 0, observe: true}"
    text = TEXT.replace("{metric: accuracy, better_by: 0}", observed)
    if own:
        text = TEXT.replace("    when:", f"    require: [{observed}]\n    when:")
    said = problem_of(text)
    assert "Every line of" in said
    assert "only observes" in said
    assert "Leave `observe` out of one" in said


@pytest.mark.parametrize("value", ["yes", "1", '"true"', "only"])
def test_observe_is_true_or_false_as_yaml_writes_them(value: str) -> None:
    assert "must be true or false" in problem_of(TEXT.replace("    when:", f"    observe: {value}\n    when:"))
