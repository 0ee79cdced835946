"""Policy files: what they may say, how each mistake is named with its place, and what stays in force."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from retrain_daemon.core.policy import (
    Approval,
    Claim,
    Completion,
    Expectation,
    Holdout,
    IfWorse,
    MissingFiles,
    Mode,
    Pace,
    Policy,
    Recipe,
    Register,
    Requirement,
    Search,
    SecondLooks,
    Space,
    Target,
    Then,
    Watch,
    Window,
    promotion_of,
)
from retrain_daemon.errors import NotFound
from retrain_daemon.policies import PolicyFolder, Problem, read_policies, read_policy_text
from retrain_daemon.policies.file import read_bytes

EXAMPLES = Path(__file__).parents[2] / "policies"

MINIMAL = """\
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


def policy_of(text: str, folder: str = "/etc/retraind") -> Policy:
    reading = read_policy_text(text, "churn.yaml", folder)
    assert [str(problem) for problem in reading.problems] == []
    return reading.policies[0]


def problems_of(text: str) -> tuple[Problem, ...]:
    reading = read_policy_text(text, "churn.yaml", "/etc/retraind")
    assert reading.policies == ()
    assert reading.problems
    return reading.problems


def with_data(*lines: str) -> str:
    return MINIMAL.replace("  target: churned\n", "".join(f"  {line}\n" for line in ("target: churned", *lines)))


def instead(old: str, new: str) -> str:
    assert old in MINIMAL
    return MINIMAL.replace(old, new)


def line(metric: str, claim: str) -> str:
    return instead("{metric: accuracy, better_by: 0}", f"{{metric: {metric}, {claim}}}")


def with_rule_require(lines: str) -> str:
    return instead(">= 100\n", f">= 100\n    require: [{lines}]\n")


def test_of_a_threshold_that_is_no_number_nothing_else_is_said() -> None:
    (problem,) = problems_of(line("model_mb", "at_most: 40MB"))
    assert "must be a number, not `40MB`" in str(problem)


def test_the_shortest_policy_gets_every_default() -> None:
    policy = policy_of(MINIMAL)
    assert (policy.model, policy.alias, policy.description) == ("churn", "champion", "")
    assert (policy.data.folder, policy.data.pattern) == ("/srv/drops/churn", "*.csv")
    assert policy.data.target == Target("churned")
    assert policy.data.complete == Completion(settle=timedelta(seconds=30))
    assert policy.data.holdout == Holdout(share=0.2)
    assert policy.requested == policy.rules[0].recipe == Recipe()
    assert policy.promote.require == (Requirement("accuracy", Claim.BETTER_BY, 0.0),)
    assert (policy.promote.confidence, policy.promote.min_rows, policy.pace) == (0.95, 200, Pace())


def test_a_policy_carries_its_source_text_and_digest() -> None:
    policy = policy_of(MINIMAL)
    assert (policy.source, policy.text) == ("churn.yaml", MINIMAL)
    assert policy.digest == hashlib.sha256(MINIMAL.encode()).hexdigest()


@pytest.mark.parametrize("name", ["digits.yaml", "bikes.yaml"])
def test_the_examples_are_read_without_problems(name: str) -> None:
    reading = read_policies(EXAMPLES / name)
    assert reading.problems == ()
    assert reading.policies[0].model == name.removesuffix(".yaml")


def test_all_examples_together_are_read_without_problems() -> None:
    assert read_policies(EXAMPLES).problems == ()


def test_every_key_of_data_is_read() -> None:
    data = policy_of(
        with_data(
            'complete: {marker: "{name}.done"}',
            "features: [age, no]",
            "row_id: [customer, day]",
            "group: customer",
            "event_time: day",
            "window: 180d",
            "holdout: 25.5%",
        )
    ).data
    assert data.complete == Completion(settle=None, marker="{name}.done")
    assert data.features == ("age", "no")
    assert (data.row_id, data.group, data.event_time) == (("customer", "day"), "customer", "day")
    assert (data.window, data.holdout) == (Window(age=timedelta(days=180)), Holdout(share=0.255))


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("all", Window()),
        ("2w", Window(age=timedelta(days=14))),
        ("2000000 rows", Window(rows=2000000)),
        ("12 files", Window(files=12)),
        ("1 file", Window(files=1)),
    ],
)
def test_a_window_is_an_age_a_number_of_rows_or_of_files(text: str, window: Window) -> None:
    assert policy_of(with_data(f"window: {text}")).data.window == window


def test_how_a_folder_is_looked_into_is_read() -> None:
    data = policy_of(with_data("missing: skip", "polling: true", "follow_links: true")).data
    assert (data.missing, data.polling, data.follow_links) == (MissingFiles.SKIP, True, True)
    data = policy_of(MINIMAL).data
    assert (data.missing, data.polling, data.follow_links) == (MissingFiles.REFUSE, False, False)


def test_the_newest_rows_may_judge() -> None:
    assert policy_of(with_data("holdout: {newest: 14d}")).data.holdout == Holdout(newest=timedelta(days=14))


@pytest.mark.parametrize(
    ("written", "positive"),
    [
        ("yes1", "yes1"),
        ('"yes"', "yes"),
        ("1", 1),
        ('"1"', "1"),
        ("0.5", 0.5),
        ("true", True),
        ("12:30:00", "12:30:00"),
    ],
)
def test_the_positive_class_keeps_the_type_it_is_written_with(written: str, positive: object) -> None:
    text = instead("target: churned", f"target: {{column: churned, positive: {written}}}")
    found = policy_of(text).data.target.positive
    assert found == positive
    assert type(found) is type(positive)


@pytest.mark.parametrize("column", ["no", "on", "12:30:00", "1e-3", "null", "2026-11-22", "0x10"])
def test_a_text_stays_as_written_whatever_yaml_makes_of_it(column: str) -> None:
    assert policy_of(instead("churned", column)).data.target.column == column


@pytest.mark.parametrize(
    ("path", "folder", "pattern"),
    [
        ("/srv/a/*.parquet", "/srv/a", "*.parquet"),
        ("/srv/a/*.arrow", "/srv/a", "*.arrow"),
        ("/srv/a/*.feather", "/srv/a", "*.feather"),
        ("/srv/a/images-*.npz", "/srv/a", "images-*.npz"),
        ("drops/*.csv.gz", "/etc/retraind/drops", "*.csv.gz"),
        ("../drops/day-?.jsonl", "/etc/drops", "day-?.jsonl"),
        ("*.csv", "/etc/retraind", "*.csv"),
    ],
)
def test_a_path_becomes_an_absolute_folder_and_a_pattern(path: str, folder: str, pattern: str) -> None:
    data = policy_of(instead("/srv/drops/churn/*.csv", f'"{path}"')).data
    assert (data.folder, data.pattern) == (folder, pattern)


def test_a_rule_is_merged_key_by_key_over_the_recipe_above_it() -> None:
    top = (
        "train:\n  mode: refit\n  hyperparameters: {a: 1, b: 2}\n  limits: {run_for: 5m, memory: 8GiB}\n  retries: 0\n"
    )
    rule = "    when: failures == 0\n    train: {hyperparameters: {b: 1e-3}, limits: {run_for: 2h}}\n"
    policy = policy_of(top + MINIMAL.replace("    when: data.new_rows >= 100\n", rule))
    assert policy.requested.hyperparameters == {"a": 1, "b": 2}
    assert policy.requested.mode is Mode.REFIT
    recipe = policy.rules[0].recipe
    assert (recipe.mode, recipe.retries, recipe.memory) == (Mode.REFIT, 0, 8 * 2**30)
    assert (recipe.hyperparameters, recipe.run_for) == ({"a": 1, "b": 0.001}, timedelta(hours=2))


def test_replay_goes_with_its_mode_when_a_rule_is_merged() -> None:
    top = "train: {mode: incremental, replay: 20000 rows}\n"
    changes = {"retries: 1": 20000, "mode: refit": 0, "replay: null": 0, "replay: 1 row": 1}
    for change, replay in changes.items():
        rule = f"    when: failures == 0\n    train: {{{change}}}\n"
        policy = policy_of(top + MINIMAL.replace("    when: data.new_rows >= 100\n", rule))
        assert (policy.requested.replay, policy.rules[0].recipe.replay) == (20000, replay)


def test_labels_may_be_given_time_to_settle() -> None:
    data = policy_of(with_data("label_delay: 1w", "event_time: at", "window: 22d", "holdout: {newest: 14d}")).data
    assert data.label_delay == timedelta(days=7)


def test_limits_of_a_rule_are_merged_key_by_key() -> None:
    top = "train: {limits: {processes: 64, cpus: 1.5, gpus: 2}}\n"
    rule = "    when: failures == 0\n    train: {limits: {gpus: 0, cpus: 2}}\n"
    recipe = policy_of(top + MINIMAL.replace("    when: data.new_rows >= 100\n", rule)).rules[0].recipe
    assert (recipe.processes, recipe.cpus, recipe.gpus) == (64, 2.0, 0)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 0.001),
        ("5", 5),
        ("-0.5", -0.5),
        ("true", True),
        ("null", None),
        ("'no'", "no"),
        ("l2", "l2"),
        ('"5"', "5"),
    ],
)
def test_a_hyperparameter_is_typed_by_how_it_is_written(written: str, value: object) -> None:
    found = policy_of(f"{MINIMAL}train: {{hyperparameters: {{x: {written}}}}}\n").requested.hyperparameters["x"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("claim", list(Claim))
def test_every_claim_is_read(claim: Claim) -> None:
    require = policy_of(instead("better_by: 0", f"{claim}: 5e-3")).promote.require
    assert require == (Requirement("accuracy", claim, 0.005),)


def test_pace_and_promotion_are_read() -> None:
    policy = policy_of(
        f"{MINIMAL}  confidence: 99%\n  min_rows: 500\n  inconclusive: keep\n  approval: automatic\n"
        "pace: {cooldown: 6h, per_day: 4}\n"
    )
    assert (policy.promote.confidence, policy.promote.min_rows) == (0.99, 500)
    assert policy.pace == Pace(cooldown=timedelta(hours=6), per_day=4)


def test_what_follows_a_verdict_is_read() -> None:
    promote = policy_of(
        f"{MINIMAL}  inconclusive: {{judge_again_every: 2000 rows, at_most: 3, then: ask}}\n"
        "  approval: {within: 3d}\n  after_promotion: {watch: 5000 rows, if_worse: notify}\n  register: all\n"
    ).promote
    assert promote.inconclusive == SecondLooks(2000, 3, Then.ASK)
    assert promote.approval == Approval(timedelta(days=3))
    assert (promote.watch, promote.register) == (Watch(5000, IfWorse.NOTIFY), Register.ALL)


def test_what_is_not_said_of_a_verdict_has_defaults() -> None:
    promote = policy_of(
        f"{MINIMAL}  inconclusive: {{judge_again_every: 9 rows}}\n  approval: required\n"
        "  after_promotion: {watch: 2 rows}\n"
    ).promote
    assert promote.inconclusive == SecondLooks(9, 2, Then.KEEP)
    assert promote.approval == Approval(timedelta(days=7))
    assert promote.watch == Watch(2, IfWorse.ROLLBACK)
    promote = policy_of(f"{MINIMAL}  inconclusive: ask\n").promote
    assert promote.inconclusive == SecondLooks(0, 0, Then.ASK)
    assert (promote.approval, promote.watch, promote.register) == (None, None, Register.WINNERS)


def test_a_line_may_be_about_slices_and_ask_for_rows() -> None:
    text = instead("better_by: 0", "unless_worse_by: 0.05, slices: region, min_rows: 300")
    text += "    - {metric: accuracy, unless_worse_by: 0.02, slices: country}\n"
    text += "    - {metric: accuracy, unless_worse_by: 0.01}\n    - {metric: accuracy, not_worse_by: 0, min_rows: 7}\n"
    assert policy_of(text).promote.require == (
        Requirement("accuracy", Claim.UNLESS_WORSE_BY, 0.05, "region", 300),
        Requirement("accuracy", Claim.UNLESS_WORSE_BY, 0.02, "country"),
        Requirement("accuracy", Claim.UNLESS_WORSE_BY, 0.01),
        Requirement("accuracy", Claim.NOT_WORSE_BY, 0.0, min_rows=7),
    )


@pytest.mark.parametrize("claim", ["at_most: 40", "not_worse_by: 5", "unless_worse_by: 0", "better_by: 1.5"])
def test_what_a_stored_model_takes_may_be_required(claim: str) -> None:
    for metric in ("latency_ms_p95", "model_mb"):
        assert policy_of(line(metric, claim)).promote.require[0].metric == metric
    assert policy_of(line("loadable", "at_least: 1")).promote.require[0].threshold == 1
    assert policy_of(line("flipped", "at_most: 0.1")).promote.require[0].threshold == 0.1


def test_rules_that_are_too_long_together_are_refused_before_any_is_compiled() -> None:
    """They would hold up every other model, for half a minute where there are as many and as long as each may be."""
    long = " || ".join(f"data.new_rows > {number}000000" for number in range(130))
    rules = "".join(f"  - name: rule {number}\n    when: {long}\n" for number in range(6))
    text = MINIMAL.replace("  - name: fresh\n    when: data.new_rows >= 100\n", rules)
    (problem,) = problems_of(text)
    assert f"have {6 * len(long):,} characters together; at most 20,000 are read" in str(problem)


def test_a_rule_may_bring_requirements_of_its_own() -> None:
    policy = policy_of(with_rule_require("{metric: log_loss, better_by: 0}, {metric: loadable, at_least: 1}"))
    own = (Requirement("log_loss", Claim.BETTER_BY, 0.0), Requirement("loadable", Claim.AT_LEAST, 1.0))
    assert policy.rules[0].require == own
    assert promotion_of(policy, "fresh").require == own
    assert promotion_of(policy, "another").require == policy.promote.require
    stored: TypeAdapter[Policy] = TypeAdapter(Policy)  # as an attempt keeps it in the journal
    assert stored.validate_json(stored.dump_json(policy)) == policy


def test_confidence_may_be_a_fraction() -> None:
    assert policy_of(f"{MINIMAL}  confidence: 0.9\n").promote.confidence == 0.9


BAD_TOP = [
    (f"{MINIMAL}retrian: 1\n", "11:1: `retrian` is not a key of a policy. Did you mean `retrain`?"),
    (f"{MINIMAL}model: again\n", "11:1: `model` is written twice. The first is in line 1"),
    (f"{MINIMAL}schedules: {{}}\n", "11:12: `schedules` is empty."),
    (f"{MINIMAL}upstream: {{}}\n", "`upstream` is empty."),
    (f"{MINIMAL}models: [a]\n", "11:1: `model` and `models` cannot stand in one file."),
    (f"{MINIMAL}observe: true\n", "`observe` is not a key of a policy."),
    (f"{MINIMAL}search: {{}}\n", "`search` is not a key of a policy."),
    (instead("model: churn\n", ""), "`model` is missing."),
    (instead("model: churn", "model:"), "1:7: `model` is empty."),
    (instead("model: churn", "model: ''"), "`model` is empty."),
    (instead("model: churn", "model: [a]"), "`model` must be a single value, not a list."),
    (instead("model: churn", "model: a/b"), "no name of a registered model"),
    (instead("model: churn", 'model: "{model}"'), "`model` is one registered model."),
    (instead("model: churn", "model: churn-*"), 'Several are `models: {match: "churn-*"}`.'),
    (instead("model: churn", 'model: "a\\nb"'), "must be on one line"),
    (f"{MINIMAL}alias: previous_champion\n", "cannot be `previous_champion`"),
    (f"{MINIMAL}alias: challenger\n", "cannot be `challenger`"),
    (f"{MINIMAL}alias: Latest\n", "MLflow keeps it for itself"),
    (f"{MINIMAL}alias: v12\n", "MLflow keeps it for itself"),
    (f"{MINIMAL}alias: best one\n", "no alias of MLflow"),
    (instead("model: churn", "model:churn"), "A `:` stands where no key can be"),
    (f"{MINIMAL}pace: 6h\n", "`pace` must be a mapping of keys, not `6h`."),
    (f"{MINIMAL}pace: {{cooldown: 6 hours}}\n", "`pace.cooldown` must be a duration, not `6 hours`"),
    (f"{MINIMAL}pace: {{cooldown: 0s}}\n", "between 1s and"),
    (f"{MINIMAL}pace: {{per_day: 0}}\n", "`pace.per_day` is 0; it must be between 1"),
    (f"{MINIMAL}pace: {{per_day: 1.5}}\n", "must be a whole number"),
    (f"{MINIMAL}pace: {{per_day: 1_000}}\n", "Write 1000."),
    (f'{MINIMAL}pace: {{per_day: "4"}}\n', "Write 4 without quotes."),
    (f"{MINIMAL}pace: {{per_day: {'9' * 5000}}}\n", "must be a whole number"),
    (f"{MINIMAL}pace: {{quiet_hours: x}}\n", "`pace.quiet_hours` must be a mapping of keys, not `x`."),
    (f"{MINIMAL}pace: {{cooldown:6h}}\n", "Write a space after the colon"),
]

BAD_DATA = [
    (instead("  path: /srv/drops/churn/*.csv\n", ""), "`data.path` is missing"),
    (instead("  target: churned\n", ""), "`data.target` is missing"),
    (instead("/churn/*.csv", "/*/a.csv"), "3:9: `data.path` has a wildcard in its folder"),
    (instead("*.csv", "**.csv"), "has `**`"),
    (instead("*.csv", ".."), "names a folder"),
    (instead("*.csv", ""), "Write /srv/drops/churn/*.csv"),
    (instead("/*.csv", "/*"), "does not say what kind of file"),
    (instead("/*.csv", "/*.txt"), "does not say what kind of file"),
    (instead("/srv", "s3://srv"), "must be a folder of this machine"),
    (instead("/srv", "~/srv"), "must be a folder of this machine"),
    (instead("/srv/drops/churn/*.csv", "*.csv"), "has a meaning of its own in YAML"),
    (instead("target: churned", "target: {column: churned, positve: 1}"), "Did you mean `positive`?"),
    (instead("target: churned", "target: {positive: 1}"), "`data.target.column` is missing"),
    (instead("target: churned", "target: {column: churned, positive: yes}"), 'Write true, or "yes" in quotes'),
    (instead("target: churned", "target: {column: churned, positive: null}"), "must be a class"),
    (instead("target: churned", "target: {column: a, classes: [1]}"), "`data.target.classes` names one class"),
    (instead("target: churned", "target: {column: a, classes: [1, 1.0]}"), "`data.target.classes` names `1` twice"),
    (instead("target: churned", "target: {column: a, classes: [1, null]}"), "must be a class"),
    (instead("target: churned", "target: {column: a, classes: [a, b], positive: c}"), "is none of the classes (a, b)"),
    (instead("target: churned", "target: {column: a, columns: [a, b]}"), "has both column and columns"),
    (instead("target: churned", "target: {columns: [a]}"), "names one column. Write `column: a`."),
    (instead("target: churned", "target: {columns: [a, b], positive: 1}"), "several columns are values"),
    (instead("target: churned", "target: {columns: [a, b]}"), "`accuracy` is for classes, and the model predicts"),
    (instead("target: churned", "target: {column: a, unknown_classes: 60%}"), "it must be between 0% and 50%"),
    (instead("target: churned", "target: {column: a, classes: [a, b]}\n  model_outputs: value"),
     "`data.model_outputs` is value, and the target has classes"),
    (instead("target: churned", "target: {columns: [a, b]}\n  model_outputs: logits"), "and the target has 2 columns"),
    (with_data("model_outputs: logit"), "Did you mean `logits`?"),
    (with_data("model_outputs: logits"), "5:18: `data.model_outputs` is logits, and the target names no classes."),
    (with_data("model_outputs: probabilities"), "Write target: {column: churned, classes: [...]}"),
    (with_data("features: [a, b, c]\n  shape: [2, 2]"), "6:10: `data.shape` has room for 4 values, and 3 columns are"),
    (with_data("model_outputs: value"), "`accuracy` is for classes, and the model predicts values"),
    (instead("accuracy", "rmse").replace("target: churned", "target: churned\n  model_outputs: logits"),
     "`rmse` is for values, and the model predicts classes"),
    (instead("accuracy", "f1").replace("target: churned", "target: {column: c, positive: a, classes: [a, b, c]}"),
     "`f1` is about one class of two, and `data.target` has 3"),
    (with_data("shape: 8"), "must be a list of sizes. Write the shape of one row, such as [1, 8, 8]."),
    (with_data("shape: [8, 0]"), "is 0; it must be between 1"),
    (with_data("shape: [1, 1, 1, 1, 1, 1, 1, 1, 8]"), "has 9 dimensions"),
    (with_data("weight: churned"), "`data.weight` names the target"),
    (with_data("weight: id", "group: id"), "which is used for something else"),
    (with_data("complete: 30s"), "Write {settle: 30s}"),
    (with_data("complete: {settle: 30s, marker: x}"), "needs one of settle and marker"),
    (with_data("complete: {}"), "needs one of settle and marker"),
    (with_data("complete: {settle: 30}"), "must be a duration, not `30`"),
    (with_data("complete: {marker: done}"), "holds {name}"),
    (with_data('complete: {marker: "{name}.csv"}'), "the marker itself would count as data"),
    (with_data("features: age"), "Write [age]"),
    (with_data("features: []"), "is an empty list"),
    (with_data("features: [a, a]"), "names `a` twice"),
    (with_data("features: [a, churned]"), "`data.features` names the target"),
    (with_data("group: churned"), "`data.group` names the target"),
    (with_data("window: 2000000"), "Write 2000000 rows."),
    (with_data("window: much"), "must be a window, not `much`"),
    (with_data("window: 0 rows"), "nothing would be left"),
    (with_data("holdout: 0%"), "between 1% and 90%"),
    (with_data("holdout: 95%"), "between 1% and 90%"),
    (with_data("holdout: 20"), "Did you mean 20%?"),
    (with_data("holdout: some"), "must be a percentage"),
    (with_data("missing: ignore"), "5:12: `data.missing` cannot be `ignore`. Write one of: refuse, skip."),
    (with_data("polling: yes"), "5:12: `data.polling` must be true or false, not `yes`. Write true or false"),
    (with_data('follow_links: "true"'), "5:17: `data.follow_links` must be true or false, not `true`."),
    (with_data("polling: [true]"), "`data.polling` must be true or false, not a list."),
    (with_data("holdout: {oldest: 3d}"), "`data.holdout.newest` is missing"),
    (with_data("holdout: {newest: 14d}", "group: id"), "groups come back over time"),
    (with_data("holdout: {newest: 14d}", "window: 7d"), "nothing would be left to train on"),
    (with_data("expect: {}"), "5:11: `data.expect` is empty."),
    (with_data("expect: age"), "must be a mapping"),
    (with_data("expect: {age: 3}"), "`data.expect.age` must say what is expected. Write {at_least: 0"),
    (with_data("expect: {age: {}}"), "`data.expect.age` expects nothing."),
    (with_data("expect: {age: {atleast: 3}}"), "5:18: `atleast` is not a key of data.expect.age. Did you mean"),
    (with_data("expect: {age: {at_least: old}}"), "must be a number, not `old`"),
    (with_data('expect: {age: {at_least: "3"}}'), "Write 3 without quotes."),
    (with_data("expect: {age: {at_least: .inf}}"), "must be a number"),
    (with_data("expect: {age: {at_least: 3, at_most: 2}}"), "`data.expect.age.at_most` is below at_least."),
    (with_data("expect: {day: {at_least: 2026-01-01, at_most: 2025-01-01}}"), "is below at_least"),
    (with_data("expect: {day: {at_least: 2026-01-01, at_most: 7}}"), "a number and a date as bounds"),
    (with_data("expect: {day: {at_least: 2026-02-30}}"), "5e-3. A date is written 2026-01-31."),
    (with_data("expect: {age: {values: [1], at_most: 2}}"), "has both values and bounds"),
    (with_data("expect: {land: {values: DE}}"), "Write [DE]."),
    (with_data("expect: {land: {values: [DE, null]}}"), "How many may be missing is said by `missing: 5%`."),
    (with_data("expect: {land: {values: [no]}}"), "which could mean a text or false"),
    (with_data("expect: {land: {values: [DE, DE]}}"), "names `DE` twice"),
    (with_data("expect: {age: {missing: 101%}}"), "between 0% and 100%"),
    (with_data("expect: {age: {missing: 5}}"), "Did you mean 5%?"),
    (with_data("label_delay: 7d"), "`data.label_delay` needs `data.event_time`"),
    (with_data("label_delay: 7", "event_time: at"), "must be a duration, not `7`"),
    (with_data("label_delay: 7d", "event_time: at", "window: 7d"), "nothing would be left"),
    (with_data("label_delay: 7d", "event_time: at", "window: 21d", "holdout: {newest: 14d}"),
     "`data.holdout.newest` and `data.label_delay` together are as long as `data.window`"),
]  # fmt: skip


def test_expectations_are_numbers_dates_values_and_shares_by_column() -> None:
    policy = policy_of(
        with_data(
            "expect: {age: {at_least: 0, at_most: 1e2, missing: 5%}, land: {values: [DE, 1, true]},"
            " day: {at_least: 2026-01-31, at_most: 2026-02-01T01:00:00+01:00}}"
        )
    )
    assert policy.data.expect == (
        Expectation(column="age", at_least=0.0, at_most=100.0, missing=0.05),
        Expectation(column="land", values=("DE", 1, True)),
        Expectation(
            column="day",
            at_least=datetime(2026, 1, 31, tzinfo=UTC),
            at_most=datetime(2026, 2, 1, tzinfo=UTC),
        ),
    )
    stored: TypeAdapter[Policy] = TypeAdapter(Policy)  # as an attempt keeps it in the journal
    assert stored.validate_json(stored.dump_json(policy)) == policy


def searching(hyperparameters: str, search: str = "{trials: 40, metric: log_loss}") -> str:
    return f"{MINIMAL}train:\n  hyperparameters: {{{hyperparameters}}}\n  search: {search}\n"


def test_a_mapping_with_bounds_or_choices_is_a_space_that_a_search_chooses_from() -> None:
    text = searching(
        "rate: {low: 1e-3, high: 0.3, log: true}, leaves: {choices: [15, 31, null]}, depth: {low: 1, high: 9, step: 2},"
        " share: {low: 0.0, high: 1, step: 0.25}, C: 0.5, class_weight: {low: 1, high: 4},"
        " tree__class_weight: {choices: [balanced, null]}",
        "{trials: 40, stop_after: 1h, metric: log_loss}",
    )
    recipe = policy_of(text).requested
    assert recipe.search == Search(40, "log_loss", timedelta(hours=1))
    assert recipe.hyperparameters == {"C": 0.5, "class_weight": {"low": 1, "high": 4}}
    assert recipe.spaces == {
        "rate": Space(low=0.001, high=0.3, log=True),
        "leaves": Space(choices=(15, 31, None)),
        "depth": Space(low=1, high=9, step=2, whole=True),
        "share": Space(low=0, high=1, step=0.25),
        "tree__class_weight": Space(choices=("balanced", None)),
    }
    stored: TypeAdapter[Recipe] = TypeAdapter(Recipe)  # as an attempt keeps it in the journal
    assert stored.validate_json(stored.dump_json(recipe)) == recipe


def with_rule_train(text: str, train: str) -> str:
    return text.replace("    when: data.new_rows >= 100\n", f"    when: data.new_rows >= 100\n    train: {train}\n")


def test_a_rule_may_give_a_value_for_a_space_a_space_for_a_value_and_change_a_part_of_the_search() -> None:
    text = searching("a: {low: 1, high: 2}, b: {low: 1, high: 2}, c: 3")
    train = "{hyperparameters: {a: 1.5, c: {choices: [3, 4]}}, search: {trials: 7}}"
    recipe = policy_of(with_rule_train(text, train)).rules[0].recipe
    assert recipe.hyperparameters == {"a": 1.5}
    assert recipe.spaces == {"b": Space(low=1, high=2, whole=True), "c": Space(choices=(3, 4))}
    assert recipe.search == Search(7, "log_loss")


def test_a_rule_that_unsets_the_search_gives_up_its_spaces() -> None:
    text = searching("a: {low: 1, high: 2}, c: 3")
    recipe = policy_of(with_rule_train(text, "{search: null}")).rules[0].recipe
    assert (recipe.search, recipe.spaces, recipe.hyperparameters) == (None, {}, {"c": 3})


def test_one_mistake_in_a_search_is_one_problem() -> None:
    assert len(problems_of(searching("a: {low: 2, high: 1}"))) == 1
    assert len(problems_of(searching("a: {low: 1, high: 2}", "x"))) == 1
    assert (
        len(problems_of(with_rule_train(searching("a: {low: 1, high: 2}", "null"), "{hyperparameters: {b: 1}}"))) == 1
    )


BAD_SEARCH = [
    (searching("a: {low: 2, high: 1}"), "12:30: `train.hyperparameters.a`: low is 2, which is not below high, 1."),
    (searching("a: {low: 2, high: 2}"), "Write a single value."),
    (searching("a: {low: 0, high: 2, log: true}"), "with log, low must be above 0, and it is 0."),
    (searching("a: {low: 1, high: 99999999999999999999}"), "is too wide to be searched"),
    (searching("a: {low: -1e308, high: 1e308}"), "is too wide to be searched"),
    (searching("a: {low: 1e999, high: 1}"), "`train.hyperparameters.a.low` is too large"),
    (searching("a: {low: 1, high: 2, log: true, step: 1}"), "has both log and step"),
    (searching("a: {low: 1, high: 8, step: 2}"), "steps of 2 from 1 do not reach 8. Write high: 7"),
    (searching("a: {low: 1, high: 8, step: 0}"), "`train.hyperparameters.a.step` is 0; it must be above 0"),
    (searching("a: {low: 1, high: 8, step: 9}"), "more than there is from 1 to 8"),
    (searching("a: {low: 1, high: 8, log: yes}"), "must be true or false, not `yes`"),
    (searching("a: {low: no, high: 8}"), "`train.hyperparameters.a.low` must be a number, not `no`"),
    (searching('a: {low: "1", high: 8}'), "Write 1 without quotes."),
    (searching("a: {low: 1%, high: 8}"), "Write 0.01."),
    (searching("a: {low: 1, hihg: 8}"), "`hihg` is not a key of train.hyperparameters.a. Did you mean `high`?"),
    (searching("a: {low: 1}"), "`train.hyperparameters.a.high` is missing"),
    (searching("a: {step: 1}"), "`train.hyperparameters.a.low` is missing"),
    (searching("a: {low: 1, choices: [1, 2]}"), "has both choices and low"),
    (searching("a: {choices: []}"), "`train.hyperparameters.a.choices` is an empty list. Write two or more"),
    (searching("a: {choices: [1]}"), "has one value only"),
    (searching("a: {choices: [1, 1]}"), "names `1` twice"),
    (searching("a: {choices: [no, 1]}"), "which could mean a text or false"),
    (searching("a: {choices: 3}"), "must be a list, not `3`"),
    (searching("seed: {low: 1, high: 9}"), "the best of several seeds is luck"),
    (searching("tree__random_state: {choices: [1, 2]}"), "the best of several seeds is luck"),
    (searching("early_stopping: {patience: {low: 1, high: 9}}"), "a search cannot choose a part of `early_stopping`"),
    (searching("class_weight: {a: {low: 1, high: 9}}"), "a search cannot choose a part of `class_weight`"),
    (searching("layers: [{low: 1, high: 9}, 3]"), "a search cannot choose a part of `layers`"),
    (searching("a: {low: 1, high: 9}", "{trials: 0, metric: log_loss}"), "`train.search.trials` is 0; it must be"),
    (searching("a: {low: 1, high: 9}", "{trials: many, metric: log_loss}"), "must be a whole number, not `many`"),
    (searching("a: {low: 1, high: 9}", "{trials: 9}"), "`train.search.metric` is missing"),
    (searching("a: {low: 1, high: 9}", "{metric: log_loss}"), "`train.search.trials` is missing"),
    (searching("a: {low: 1, high: 9}", "{trials: 9, metric: logloss}"), "13:31: There is no metric `logloss`. Did you"),
    (searching("a: {low: 1, high: 9}", "{trials: 9, metric: model_mb}"), "is about a stored model"),
    (searching("a: {low: 1, high: 9}", "{trials: 9, metric: rmse}"), "`rmse` is for regression, and `accuracy`, which"),
    (searching("a: {low: 1, high: 9}", "{trials: 9, metric: f1}"), "`f1` is about one class of two"),
    (searching("a: {low: 1, high: 9}", "{trials: 9, metric: log_loss, stop_after: 9}"), "must be a duration, not `9`"),
    (searching("a: {low: 1, high: 9}", "{trials: 9, metric: log_loss, sampler: x}"), "`sampler` is not a key of"),
    (searching("a: {low: 1, high: 9}", "{trials: 9, metric: log_loss, stop_after: 2h}"),
     "13:11: `train.search.stop_after` is 2:00:00, and `limits.run_for` ends search and training after 2:00:00."),
    (with_rule_train(searching("a: {low: 1, high: 9}", "{trials: 9, metric: log_loss, stop_after: 1h}"),
     "{limits: {run_for: 30m}}"), "`retrain.train.search.stop_after` is 1:00:00"),
    (searching("a: {low: 1, high: 9}", "40"), "Write {trials: 40, metric: log_loss}."),
    (searching("a: {low: 1, high: 9}", "null"), "is a space of values, and nothing searches it"),
    (searching("a: 1"), "`train.search` has nothing to choose"),
    (with_rule_train(searching("a: {low: 1, high: 9}"), "{hyperparameters: {a: 1}}"), "`retrain.train.search` has"),
    (with_rule_train(searching("a: {low: 1, high: 9}"), "{search: {metric: rmse}}"), "`rmse` is for regression"),
    (with_rule_train(MINIMAL, "{hyperparameters: {a: {low: 1, high: 9}}}"), "8:34: `retrain.train.hyperparameters.a`"),
]  # fmt: skip

BAD_TRAIN = [
    (f"{MINIMAL}train: {{mode: warmstart}}\n", "11:15: `train.mode` cannot be `warmstart`. Did you mean `warm_start`?"),
    (f"{MINIMAL}train: {{retries: -1}}\n", "`train.retries` is -1; it must be between 0"),
    (f"{MINIMAL}train: {{retries: true}}\n", "must be a whole number"),
    (f"{MINIMAL}train: {{limits: {{memory: 8}}}}\n", "must be a size, not `8`"),
    (f"{MINIMAL}train: {{limits: {{memory: 0GB}}}}\n", "more than nothing"),
    (f"{MINIMAL}train: {{limits: {{cpus: 0}}}}\n", "`train.limits.cpus` is 0; it must be between 0.1 and 4,096"),
    (f"{MINIMAL}train: {{limits: {{processes: 0}}}}\n", "`train.limits.processes` is 0; it must be between 1"),
    (f"{MINIMAL}train: {{limits: {{gpus: 0.5}}}}\n", "must be a whole number, not `0.5`"),
    (f"{MINIMAL}train: {{limits: {{time: 2h}}}}\n", "`time` is not a key of train.limits"),
    (f"{MINIMAL}train: {{hyperparameters: {{x: [1, [2]]}}}}\n", "must be a single value, not a list"),
    (f"{MINIMAL}train: {{hyperparameters: {{x: {{a: [1]}}}}}}\n", "must be a single value, not a list"),
    (f"{MINIMAL}train: {{with: our/training.py}}\n", "without folders and .py"),
    (f"{MINIMAL}train: {{with: our.training}}\n", "with one colon"),
    (f"{MINIMAL}train: {{model: \"a:b:c\"}}\n", "with one colon"),
    (f"{MINIMAL}train: {{python: bin/python}}\n", "must be the whole path of a Python interpreter"),
    (f"{MINIMAL}train: {{hyperparameters: {{x: no}}}}\n", "Write false, or"),
    (f"{MINIMAL}train: {{hyperparameters: {{epochs: 3, early_stopping: yes}}}}\n", "after how many epochs, such as 3"),
    (f"{MINIMAL}train: {{hyperparameters: {{epochs: 3, early_stopping: true}}}}\n", "cannot be `true` for a network"),
    (f"{MINIMAL}train: {{hyperparameters: {{x: None}}}}\n", "Write null, or"),
    (f"{MINIMAL}train: {{hyperparameters: {{x: .nan}}}}\n", "must be finite"),
    (f"{MINIMAL}train: {{hyperparameters: {{x: 1e999}}}}\n", "finite number"),
    (f"{MINIMAL}train: {{hyperparameters: {{x: }}}}\n", "is empty"),
    (f"{MINIMAL}train: {{mode: incremental, replay: 20000}}\n", "Write 20000 rows."),
    (f"{MINIMAL}train: {{mode: incremental, replay: 0 rows}}\n", "must be a number of rows, not `0 rows`"),
    (f"{MINIMAL}train: {{mode: incremental, replay: 10%}}\n", "must be a number of rows, not `10%`"),
    (f"{MINIMAL}train: {{mode: refit, replay: 9 rows}}\n", "goes with mode incremental, and the mode is refit"),
    (f"{MINIMAL}train: {{replay: 9 rows}}\n", "goes with mode incremental, and the mode is warm_start"),
]  # fmt: skip

BAD_RULES = [
    (instead("  - name: fresh\n    when: data.new_rows >= 100\n", "  name: fresh\n"), "must be a list, not a mapping"),
    (instead("\n  - name: fresh\n    when: data.new_rows >= 100\n", " []\n"), "`retrain` is an empty list"),
    (instead("  - name: fresh\n    when", "  - when"), "`retrain.name` is missing"),
    (instead("    when: data.new_rows >= 100\n", ""), "`retrain.when` is missing"),
    (instead("promote:\n", "  - {name: fresh, when: 'true'}\npromote:\n"), "8:5: Two rules have the name `fresh`."),
    (instead("100\n", "100\n    require: []\n"), "8:14: `retrain.require` is an empty list"),
    (with_rule_require("{metric: rmse, better_by: 0}"), "8:15: `rmse` is for regression, and `accuracy`, which is"),
    (with_rule_require("{metric: f1, better_by: 0}"), "8:15: `f1` is about one class of two"),
    (with_rule_require("{metric: acuracy, better_by: 0}"), "8:24: There is no metric `acuracy`. Did you mean"),
    (with_rule_require("{metric: accuracy, unless_worse_by: 0.1, slices: churned}"), "`slices` names the target"),
    (instead("data.new_rows >= 100", "!registry.champion_moved"), "A value that begins with `!` stands in quotes"),
    (instead("data.new_rows >= 100", "'failures > 1' && true"), "Put the whole value in quotes"),
    (instead("data.new_rows >= 100", "[a]"), "`retrain.when` must be a single value"),
]

BAD_PROMOTION = [
    (
        instead("{metric: accuracy, better_by: 0}", "accuracy"),
        "Write lines such as `- {metric: accuracy, better_by: 0}`",
    ),
    (instead(", better_by: 0", ""), "Write one, such as better_by: 0."),
    (f"{MINIMAL}  confidence: high\n", "not `high`. Write one between 50% and 99.9%."),
    (instead("accuracy", "acuracy"), "10:16: There is no metric `acuracy`. Did you mean `accuracy`?"),
    (instead("accuracy", "latency_ms_p99"), "There is no metric `latency_ms_p99`. Did you mean `latency_ms_p95`?"),
    (instead("accuracy", "flipped"), "`flipped` cannot be required by better_by. Write at_most."),
    (line("loadable", "at_most: 1"), "`loadable` cannot be required by at_most. Write at_least: 1."),
    (line("loadable", "at_least: 0.95"), "10:36: `loadable` is 1 for a model that loads, else 0; `at_least` is 0.95."),
    (line("flipped", "at_most: 5"), "`at_most` is 5, but flipped is a share between 0 and 1. Write 0.05."),
    (line("flipped", "at_most: -0.1"), "but flipped is a share between 0 and 1. Write a share such as 0.1."),
    (line("latency_ms_p95", "at_least: 3"), "cannot be required by at_least. Write better_by or not_worse_by or"),
    (line("latency_ms_p95", "at_most: 0"), "no model has so little latency_ms_p95"),
    (line("model_mb", "not_worse_by: -3"), "`not_worse_by` is -3; it cannot be negative. Write better_by: 3."),
    (line("model_mb", "unless_worse_by: 3, slices: region"), "`model_mb` is about the model, not about some of"),
    (line("latency_ms_p95", "at_most: 3, min_rows: 7"), "10:54: `latency_ms_p95` is about the model, not about some"),
    (instead("metric: accuracy, ", ""), "`promote.require.metric` is missing"),
    (instead(", better_by: 0", ""), "exactly one of better_by, not_worse_by, unless_worse_by, at_least, at_most"),
    (instead("better_by: 0", "better_by: 0, at_most: 1"), "exactly one of"),
    (instead("better_by: 0", "better_by: -1"), "Write not_worse_by: 1."),
    (instead("better_by: 0", "better_by: 5%"), "Write 0.05."),
    (instead("better_by: 0", "better_by: .inf"), "must be a number"),
    (instead("better_by: 0", "better_by: 1e999"), "finite"),
    (instead("better_by: 0", 'better_by: "0"'), "Write 0 without quotes."),
    (instead("better_by: 0", "at_least: 95"), "Write 0.95."),
    (instead("better_by: 0", "better_by: 1"), "`better_by` is 1, but accuracy lies between 0 and 1. Write 0.01."),
    (instead("better_by: 0", "unless_worse_by: 5"), "accuracy lies between 0 and 1. Write 0.05."),
    (instead("better_by: 0", "unless_worse_by: -0.1"), "Write better_by: 0.1."),
    (instead("better_by: 0", "at_most: -0.1"), "accuracy is never negative, so the line would never hold"),
    (instead("better_by: 0", "at_least: -0.1"), "accuracy is never negative, so the line would always hold"),
    (instead("better_by: 0", "better_by: 0, min_rows: 0"), "`promote.require.min_rows` is 0; it must be between 1"),
    (
        instead("better_by: 0", "not_worse_by: 0.1, slices: region"),
        "10:53: `not_worse_by` in slices lets next to nothing through: of 10,000",
    ),
    (
        instead("better_by: 0", "better_by: 0, slices: region"),
        "Write unless_worse_by: it stops a challenger",
    ),
    (instead("better_by: 0", "unless_worse_by: 0.1, slices: [region]"), "must be a single value, not a list"),
    (instead("better_by: 0", "unless_worse_by: 0.1, slices: churned"), "`slices` names the target, `churned`"),
    (with_data("group: id").replace("better_by: 0", "unless_worse_by: 0.1, slices: id"), "`slices` names the group"),
    (with_data("event_time: at").replace("better_by: 0", "unless_worse_by: 0.1, slices: at"), "in nearly every row"),
    (with_data("row_id: id").replace("better_by: 0", "unless_worse_by: 0.1, slices: id"), "in nearly every row"),
    (
        instead("better_by: 0", "unless_worse_by: 0.1, slices: region")
        + "    - {metric: accuracy, unless_worse_by: 0.2, slices: region}\n",
        "11:7: `accuracy` with unless_worse_by in slices of region is required twice",
    ),
    (
        instead("better_by: 0", "at_least: 0.9") + "    - {metric: accuracy, at_most: 0.8}\n",
        "11:7: `accuracy` must be at least 0.9 and at most 0.8. No value is both.",
    ),
    (f"{MINIMAL}    - {{metric: accuracy, better_by: 1e-3}}\n", "required twice"),
    (
        instead("data.new_rows >= 100", "champion.score.rmse > 3.0"),
        "7:11: `rmse` is for regression, and `promote.require` names accuracy.",
    ),
    (
        instead("data.new_rows >= 100", "champion.scores.f1.last(3).exists(s, s < 0.5)"),
        "7:11: `f1` is about one class of two, and the policy does not say which. Name `positive`",
    ),
    (f"{MINIMAL}    - {{metric: rmse, better_by: 0}}\n", "11:7: `rmse` is for regression, and `accuracy`, which"),
    (instead("accuracy", "f1"), "Write `target: {column: churned, positive: ...}`"),
    (instead("accuracy", "rmse").replace("churned", "{column: c, positive: 1}"), "`data.target` has a positive class"),
    (f"{MINIMAL}  confidence: 95\n", "Did you mean 95%?"),
    (f"{MINIMAL}  confidence: 40%\n", "between 50% and 99.9%"),
    (f"{MINIMAL}  confidence: 100%\n", "between 50% and 99.9%"),
    (f"{MINIMAL}  min_rows: 0\n", "must be between 1"),
    (f"{MINIMAL}  inconclusive: {{}}\n", "`promote.inconclusive` is empty. Write {judge_again_every: 2000 rows"),
    (f"{MINIMAL}  inconclusive: wait\n", "11:17: `promote.inconclusive` cannot be `wait`. Write one of: keep, ask."),
    (f"{MINIMAL}  inconclusive: {{then: aks}}\n", "Did you mean `ask`?"),
    (f"{MINIMAL}  inconclusive: {{at_most: 2}}\n", "and nothing says when. Write `judge_again_every: 2000 rows`"),
    (
        f"{MINIMAL}  inconclusive: {{judge_again_every: 2000}}\n",
        "11:37: `promote.inconclusive.judge_again_every` must be",
    ),
    (f"{MINIMAL}  inconclusive: {{judge_again_every: 2000}}\n", "not `2000`. Write 2000 rows."),
    (f"{MINIMAL}  inconclusive: {{judge_again_every: 2d}}\n", "must be a number of rows, at least 2, not `2d`"),
    (f"{MINIMAL}  inconclusive: {{judge_again_every: 9 rows, at_most: 0}}\n", "is 0; it must be between 1 and 20"),
    (f"{MINIMAL}  inconclusive: {{judge_again_every: 9 rows, at_most: 21}}\n", "it must be between 1 and 20"),
    (f"{MINIMAL}  inconclusive: {{every: 9 rows}}\n", "`every` is not a key of promote.inconclusive."),
    (f"{MINIMAL}  approval: yes\n", "`promote.approval` cannot be `yes`. Write automatic, required, or {within: 3d}."),
    (f"{MINIMAL}  approval: {{within: 3}}\n", "`promote.approval.within` must be a duration, not `3`"),
    (f"{MINIMAL}  approval: {{}}\n", "`promote.approval` is empty. Write {within: 3d}"),
    (f"{MINIMAL}  after_promotion: {{}}\n", "`promote.after_promotion` is empty. Write {watch: 5000 rows}"),
    (f"{MINIMAL}  after_promotion: rollback\n", "Write {watch: 5000 rows, if_worse: rollback}."),
    (
        f"{MINIMAL}notify: {{on: [promoted]}}\n",
        "`notify` is not a key of a policy. Who is told is said in the settings",
    ),
    (f"{MINIMAL}  after_promotion: {{if_worse: notify}}\n", "`promote.after_promotion.watch` is missing"),
    (
        f"{MINIMAL.replace('better_by: 0', 'at_least: 0.7')}  after_promotion: {{watch: 900 rows}}\n",
        "no line of `require` compares the two models on all rows. Write one with better_by",
    ),
    (f"{MINIMAL}  after_promotion: {{watch: 1 row}}\n", "must be a number of rows, at least 2, not `1 row`"),
    (f"{MINIMAL}  after_promotion: {{watch: 9 rows, if_worse: rolback}}\n", "Did you mean `rollback`?"),
    (f"{MINIMAL}  register: every\n", "`promote.register` cannot be `every`. Write one of: winners, all."),
    (
        instead("  require:\n    - {metric: accuracy, better_by: 0}\n", "  min_rows: 5\n"),
        "`promote.require` is missing",
    ),
]

BAD_YAML = [
    ("", "1:1: The file holds no policy"),
    ("just words", "The file holds no policy"),
    ("- a\n- b\n", "The file holds no policy"),
    (f"{MINIMAL}---\n{MINIMAL}", "11:1: The file holds several documents"),
    (instead("target: churned", "target: &t churned"), "4:11: `&t` is an anchor"),
    (f"{MINIMAL}pace: *fast\n", "`*fast` is an alias"),
    (f"{MINIMAL}<<: {{a: 1}}\n", "`<<` is a merge key"),
    (f"{MINIMAL}pace: !!python/object:os.system x\n", "`!!python/object:os.system` is read as a tag"),
    (f"{MINIMAL}? [a]\n: 1\n", "A key must be a single word"),
    (instead("  target", "\ttarget"), "4:1: A tab stands"),
    (instead("churned", "'churned"), "A quote is not closed"),
    (instead("better_by: 0}", "better_by: 0"), "is not closed, or a comma is missing"),
    (instead("  target", " target"), "not indented like the keys"),
    (instead("churned", "@churned"), "A value cannot begin with `@`"),
    (instead("churned", "ch\0urned"), "4:13: The file holds a NUL byte"),
    (instead("churned", "ch\x07urned"), "the character U+0007"),
    (instead("churned", "ch\ud800urned"), "the character U+D800"),
    ("a: " + "[" * 5000, "nested too deeply"),
    ("a: " + "{b: " * 5000, "nested too deeply"),
    ("- " * 5000, "nested too deeply"),
    (f"# {'x' * 1_000_001}", "1,000,000 characters"),
]


@pytest.mark.parametrize(
    ("text", "said"),
    [*BAD_TOP, *BAD_DATA, *BAD_TRAIN, *BAD_SEARCH, *BAD_RULES, *BAD_PROMOTION, *BAD_YAML],
    ids=lambda value: value[:40],
)
def test_each_mistake_is_named_with_its_place_and_what_to_write(text: str, said: str) -> None:
    problems = problems_of(text)
    assert said in "\n".join(str(problem) for problem in problems)
    assert all(problem.line >= 1 and problem.column >= 1 for problem in problems)


def test_all_problems_of_a_file_are_told_at_once_in_the_order_of_its_lines() -> None:
    text = MINIMAL.replace("churned", "[a]").replace("data.new_rows", "data.new_row").replace("accuracy", "acuracy")
    problems = problems_of(f"{text}pace: {{per_day: many}}\nsurprise: 1\n")
    assert [problem.line for problem in problems] == [4, 7, 10, 11, 12]


@pytest.mark.parametrize(
    ("written", "line", "column"),
    [
        ("when: failures > 1 && data.new_row > 1", 7, 27),
        ('when: "failures > 1 && data.new_row > 1"', 7, 28),
        ("when: 'last.outcome != ''x'' && data.new_row > 1'", 7, 37),
        ('when: "last.outcome == \\"promoted\\" && data.new_row > 1"', 7, 44),
        ("when: failures > 1\n      && data.new_row > 1", 8, 10),
        ("when: >\n      failures > 1 &&\n      data.new_row > 1", 9, 7),
        ("when: |\n      failures > 1 &&\n        data.new_row > 1", 9, 9),
        ("when: failures >", 7, 21),
    ],
)
def test_a_problem_inside_a_rule_is_placed_in_the_file(written: str, line: int, column: int) -> None:
    problem = problems_of(instead("when: data.new_rows >= 100", written))[0]
    assert (problem.line, problem.column) == (line, column)


def test_bytes_that_are_no_utf8_are_a_problem_with_a_place() -> None:
    found = read_bytes(MINIMAL.replace("churned", "\xe9").encode("latin-1"), "a.yaml", "/").problems
    assert [(problem.line, problem.column) for problem in found] == [(4, 11)]
    assert "UTF-8" in found[0].message


def test_a_byte_order_mark_does_no_harm() -> None:
    assert read_bytes(b"\xef\xbb\xbf" + MINIMAL.encode(), "a.yaml", "/").problems == ()


LINES = st.lists(
    st.sampled_from([*MINIMAL.splitlines(), "  - x", "a: {b", "pace:", "\t", "- - -", "train: ['"]), max_size=14
)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), LINES.map("\n".join), st.text(alphabet="a:-{}[]|>'\"!&*#%@` \n\t,?")))
def test_any_text_gives_a_policy_or_problems(text: str) -> None:
    reading = read_policy_text(text, "x.yaml", "/")
    assert bool(reading.policies) != bool(reading.problems)


@settings(max_examples=200, deadline=None)
@given(st.binary(), st.integers(0, len(MINIMAL)))
def test_any_bytes_in_a_policy_give_a_policy_or_problems(content: bytes, at: int) -> None:
    whole = MINIMAL.encode()
    reading = read_bytes(whole[:at] + content + whole[at:], "x.yaml", "/")
    assert (reading.policy is None) == bool(reading.problems)


def write(folder: Path, name: str, model: str = "churn", text: str = MINIMAL) -> Path:
    path = folder / name
    path.write_text(text.replace("model: churn", f"model: {model}"))
    return path


def test_a_folder_is_read_in_order_without_tests_and_hidden_files(tmp_path: Path) -> None:
    for name, model in (("b.yml", "b"), ("a.yaml", "a"), (".c.yaml", "c"), ("a.test.yaml", "t"), ("notes.txt", "n")):
        write(tmp_path, name, model)
    reading = read_policies(tmp_path)
    assert [policy.model for policy in reading.policies] == ["a", "b"]
    assert reading.policies[0].source == str(tmp_path / "a.yaml")


def test_a_path_that_does_not_exist_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no policy file or folder"):
        read_policies(tmp_path / "nowhere")


def test_two_policies_for_one_model_name_both_places(tmp_path: Path) -> None:
    first, second = write(tmp_path, "a.yaml"), write(tmp_path, "b.yaml", text=f"# more\n{MINIMAL}")
    reading = read_policies(tmp_path)
    assert reading.policies == ()
    said = [str(problem) for problem in reading.problems]
    assert said[0].startswith(f"{first}:1:8: ")
    assert f"{second}:2" in said[0]
    assert said[1].startswith(f"{second}:2:8: ")


def test_a_file_that_is_too_large_or_no_file_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path, "large.yaml", text=MINIMAL + "#" * 1_000_001)
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "dangling.yaml").symlink_to(tmp_path / "gone")
    said = [problem.message for problem in read_policies(tmp_path).problems]
    assert len(said) == 4
    assert sum("not a file" in message for message in said) == 2
    assert sum("1,000,000 bytes" in message for message in said) == 1


def test_a_strange_file_name_is_shown_on_one_line(tmp_path: Path) -> None:
    (tmp_path / "a\nb.yaml").write_text("x")
    (tmp_path / os.fsdecode(b"\xff.yaml")).write_text("x")
    said = [str(problem) for problem in read_policies(tmp_path).problems]
    assert len(said) == 2
    assert all(text.isprintable() for text in said)


def test_a_good_policy_in_a_file_whose_name_is_no_text_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.yaml")).write_text(MINIMAL)
    found = PolicyFolder(tmp_path).refresh()
    assert found.policies == ()
    assert "no text in UTF-8" in found.problems[0].message


def test_what_files_said_in_an_earlier_life_stays_in_force_while_they_are_wrong(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", text="model: ["), write(tmp_path, "b.yaml", "y")
    folder = PolicyFolder(tmp_path)
    folder.take_up({
        str(tmp_path / "a.yaml"): MINIMAL,
        str(tmp_path / "b.yaml"): MINIMAL.replace("model: churn", "model: x"),
        str(tmp_path / "gone.yaml"): MINIMAL.replace("model: churn", "model: z"),
        "/elsewhere/c.yaml": MINIMAL.replace("model: churn", "model: w"),
    })  # fmt: skip
    found = folder.refresh()
    assert [policy.model for policy in found.policies] == ["churn", "y"]
    assert found.policies[0].source == str(tmp_path / "a.yaml")
    assert found.kept == (str(tmp_path / "a.yaml"),)
    write(tmp_path, "a.yaml")
    assert folder.refresh().kept == ()


def test_what_files_said_in_an_earlier_life_stays_in_force_while_their_folder_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "policies" / "a.yaml"
    folder = PolicyFolder(path.parent)
    folder.take_up({str(path): MINIMAL})
    assert [policy.model for policy in folder.refresh().policies] == ["churn"]
    path.parent.mkdir()
    assert folder.refresh().policies == ()


def test_the_first_look_is_a_change_and_the_second_is_none(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml")
    folder = PolicyFolder(tmp_path)
    first, second = folder.refresh(), folder.refresh()
    assert (first.changed, second.changed) == (True, False)
    assert [policy.model for policy in second.policies] == ["churn"]


def test_a_good_edit_takes_effect(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yaml")
    folder = PolicyFolder(tmp_path)
    folder.refresh()
    path.write_text(MINIMAL.replace(">= 100", ">= 200"))
    found = folder.refresh()
    assert found.changed
    assert found.policies[0].rules[0].when == "data.new_rows >= 200"


def test_a_bad_edit_keeps_the_last_good_version_and_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yaml")
    folder = PolicyFolder(tmp_path)
    good = folder.refresh().policies
    path.write_text("model: [")
    found = folder.refresh()
    assert found.policies == good
    assert found.kept == (str(path),)
    assert found.changed
    assert len(found.problems) == 1
    write(tmp_path, "a.yaml")
    assert folder.refresh().kept == ()


def test_a_file_that_was_never_good_is_a_problem_and_no_policy(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", text="model: [")
    found = PolicyFolder(tmp_path).refresh()
    assert (found.policies, found.kept) == ((), ())
    assert len(found.problems) == 1


def test_a_deleted_file_retires_its_policy(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yaml")
    folder = PolicyFolder(tmp_path)
    folder.refresh()
    path.unlink()
    found = folder.refresh()
    assert (found.policies, found.problems, found.changed) == ((), (), True)


def test_a_folder_that_is_gone_keeps_every_policy_and_is_a_problem(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    write(policies, "a.yaml")
    folder = PolicyFolder(policies)
    good = folder.refresh().policies
    policies.rename(tmp_path / "elsewhere")
    found = folder.refresh()
    assert found.policies == good
    assert "cannot be read" in found.problems[0].message
    assert PolicyFolder(tmp_path / "nowhere").refresh().policies == ()


def test_a_single_file_can_be_watched(tmp_path: Path) -> None:
    folder = PolicyFolder(write(tmp_path, "a.yaml"))
    assert [policy.model for policy in folder.refresh().policies] == ["churn"]


def test_a_copy_of_a_policy_in_force_does_not_replace_it(tmp_path: Path) -> None:
    original = write(tmp_path, "m.yaml")
    folder = PolicyFolder(tmp_path)
    folder.refresh()
    write(tmp_path, "a-copy.yaml")
    found = folder.refresh()
    assert [policy.source for policy in found.policies] == [str(original)]
    assert "another policy" in found.problems[0].message
    original.unlink()
    assert [policy.source for policy in folder.refresh().policies] == [str(tmp_path / "a-copy.yaml")]


def test_two_files_that_swap_their_models_both_take_effect(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "x"), write(tmp_path, "b.yaml", "y")
    folder = PolicyFolder(tmp_path)
    folder.refresh()
    write(tmp_path, "a.yaml", "y"), write(tmp_path, "b.yaml", "x")
    found = folder.refresh()
    assert [policy.model for policy in found.policies] == ["y", "x"]
    assert found.problems == ()


def test_a_model_taken_over_from_a_broken_file_waits_until_it_is_free(tmp_path: Path) -> None:
    broken = write(tmp_path, "a.yaml", "x")
    folder = PolicyFolder(tmp_path)
    folder.refresh()
    broken.write_text("model: [")
    write(tmp_path, "b.yaml", "x")
    found = folder.refresh()
    assert [policy.source for policy in found.policies] == [str(broken)]
    broken.unlink()
    assert [policy.source for policy in folder.refresh().policies] == [str(tmp_path / "b.yaml")]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "y", "z", "[", "gone"])), max_size=12))
def test_whatever_is_edited_no_model_ever_has_two_policies(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("policies")
    folder = PolicyFolder(path)
    for name, model in edits:
        file = path / f"{name}.yaml"
        if model == "gone":
            file.unlink(missing_ok=True)
        else:
            write(path, file.name, model)
        models = [policy.model for policy in folder.refresh().policies]
        assert len(models) == len(set(models))


def test_what_networks_need_is_read_as_written() -> None:
    data = """\
  features: ["pixel_*", age]
  shape: [1, 8, 8]
  model_outputs: probabilities
  weight: trust"""
    said = "target: {column: digit, classes: [0, 1], unknown_classes: 2%}"
    text = MINIMAL.replace("target: churned", f"{said}\n{data}")
    reading = read_policy_text(text, "churn.yaml", "/etc")
    assert reading.problems == ()
    found = reading.policies[0].data
    assert (found.features, found.shape, found.weight) == (("pixel_*", "age"), (1, 8, 8), "trust")
    assert (found.target.classes, found.target.unknown_classes) == ((0, 1), 0.02)
    assert found.model_outputs == "probabilities"


def test_several_target_columns_are_the_outputs_in_their_order() -> None:
    text = MINIMAL.replace("target: churned", "target: {columns: [low, high]}").replace("accuracy", "rmse")
    assert read_policy_text(text, "churn.yaml", "/etc").policies[0].data.target.columns == ("low", "high")


def test_hyperparameters_may_be_lists_and_mappings() -> None:
    words = '{freeze: [conv_1, "b*"], early_stopping: {patience: 2, share: 10%}, learning_rate: 1e-3}'
    reading = read_policy_text(f"{MINIMAL}train: {{hyperparameters: {words}}}\n", "churn.yaml", "/etc")
    assert reading.problems == ()
    assert reading.policies[0].requested.hyperparameters == {
        "freeze": ("conv_1", "b*"),
        "early_stopping": {"patience": 2, "share": "10%"},
        "learning_rate": 0.001,
    }


def test_a_rule_sets_and_unsets_a_teams_own_code() -> None:
    text = MINIMAL.replace(
        "    when: data.new_rows >= 100\n",
        "    when: data.new_rows >= 100\n    train: {with: null, model: 'nets:build'}\n",
    )
    text += "train: {with: 'our.training:fit', python: /opt/env/bin/python}\n"
    policy = read_policy_text(text, "churn.yaml", "/etc").policies[0]
    assert (policy.requested.trainer, policy.requested.network) == ("our.training:fit", "")
    recipe = policy.rules[0].recipe
    assert (recipe.trainer, recipe.network, recipe.python) == ("", "nets:build", "/opt/env/bin/python")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("class_weight", {"low": 1, "high": 5}),
        ("clf__class_weight", {"low": 1, "high": 5}),
        ("x", {"low": 1, "mid": 2}),
    ],
)
def test_values_by_class_are_no_search_space_though_a_class_is_called_low(name: str, value: dict[str, int]) -> None:
    reading = read_policy_text(f"{MINIMAL}train: {{hyperparameters: {{{name}: {value}}}}}\n", "churn.yaml", "/etc")
    assert reading.problems == ()
    assert reading.policies[0].requested.hyperparameters == {name: value}


def test_shapes_are_not_counted_against_patterns_and_other_models_take_yes_or_no_for_early_stopping() -> None:
    text = with_data('features: ["pixel_*"]\n  shape: [8, 8]') + "train: {hyperparameters: {early_stopping: true}}\n"
    assert read_policy_text(text, "churn.yaml", "/etc").problems == ()
