"""A policy held against a real MLflow and a real file: one that agrees passes, each disagreement is said at its key.

What the worker does is done here in the test's own process; the command and its workers are in
`tests/acceptance/test_check_registry.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from retrain_daemon.cli.against_registry import problem_of
from retrain_daemon.cli.questions import question_of
from retrain_daemon.policies import Problem, read_policy_text
from retrain_daemon.worker.against_policy import check_policy
from retrain_daemon.worker.job import CheckPolicy, Source
from tests import networks
from tests.box import POLICY, Box, buyers

pytestmark = pytest.mark.slow

RULE = "  - name: enough fresh rows\n    when: data.new_rows >= 500\n"
NO_CLASS = (', positive: "yes"', "")

#: Replaced pieces of a policy that make one disagreement; what stands at the place of the problem; how it begins.
WRONG = {
    "the target": ([("column: bought", "column: boght")], "column: boght", "`data.target` names 'boght'"),
    "a group": ([("  holdout", "  group: Age\n  holdout")], "group: Age", "`data.group` names 'Age'"),
    "a row id": ([("  holdout", "  row_id: [age, id]\n  holdout")], "id]", "`data.row_id[1]` names 'id'"),
    "times": ([("  holdout", "  event_time: age\n  holdout")], "event_time: age", "In a.csv: Column 'age' holds"),
    "no weight": ([("  holdout", "  weight: heft\n  holdout")], "weight: heft", "`data.weight` names 'heft'"),
    "features": ([("  holdout", "  features: [visits, agee]\n  holdout")], "agee", "`data.features[1]` names 'agee'"),
    "expect": ([("  holdout", "  expect: {agee: {at_least: 0}}\n  holdout")], "agee:", "`data.expect.agee` names"),
    "dates": ([("  holdout", "  expect: {age: {at_least: 2020-01-01}}\n  holdout")], "age:", "data.expect.age has"),
    "slices": (
        [("better_by: 0.02}", "better_by: 0.02}\n    - {metric: accuracy, unless_worse_by: 0.1, slices: town}")],
        "slices: town", "`promote.require[1].slices` names 'town'",
    ),
    "a mode": ([("mode: refit", "mode: incremental")], "mode: incremental", "Mode incremental is not possible"),
    "a rule's mode": (
        [(RULE, RULE + "    train: {mode: incremental}\n")], "mode: incremental", "Mode incremental is not possible",
    ),
    "an unknown name": (
        [("mode: refit", "mode: refit\n  hyperparameters: {C: 2}")], "C: 2", "Pipeline has no hyperparameter 'C'",
    ),
    "an impossible value": (
        [("mode: refit", "mode: refit\n  hyperparameters: {logisticregression__C: -1}")],
        "logisticregression__C: -1", "logisticregression: The 'C' parameter",
    ),
    "another step": (
        [("mode: refit", "mode: warm_start\n  hyperparameters: {standardscaler__with_mean: false}")],
        "standardscaler__with_mean", "In mode warm_start the fitted preprocessing stays",
    ),
    "a space's name": (
        [("mode: refit", "mode: refit\n  hyperparameters: {CC: {low: 1, high: 2}}\n"
          "  search: {trials: 3, metric: accuracy}")],
        "CC: ", "Pipeline has no hyperparameter 'CC'",
    ),
    "a space's bound": (
        [("mode: refit", "mode: refit\n  hyperparameters: {logisticregression__C: {low: -1.0, high: 2.0}}\n"
          "  search: {trials: 3, metric: accuracy}")],
        "logisticregression__C: ", "logisticregression: The 'C' parameter",
    ),
    "a space's choice": (
        [("mode: refit", "mode: refit\n  hyperparameters: {logisticregression__solver: {choices: [lbfgs, none]}}\n"
          "  search: {trials: 3, metric: accuracy}")],
        "logisticregression__solver: ", "logisticregression: The 'solver' parameter",
    ),
    "a search's metric": (
        [("mode: refit", "mode: refit\n  hyperparameters: {logisticregression__C: {low: 1.0, high: 2.0}}\n"
          "  search: {trials: 3, metric: rmse}"),
         ("metric: accuracy, better_by: 0.02", "metric: loadable, at_least: 1"),
         NO_CLASS],
        "metric: rmse", "`rmse` is for regression",
    ),
    "a whole estimator": (
        [("mode: refit", "mode: refit\n  hyperparameters: {standardscaler: none}")],
        "standardscaler: none", "The hyperparameter 'standardscaler' is a whole estimator",
    ),
    "a training function": (
        [("mode: refit", 'mode: refit\n  with: "team.training:fit"')], "with: ", "team.training:fit cannot be imported",
    ),
    "a network": ([("mode: refit", 'mode: refit\n  model: "team.nets:Net"')], "model: ", "team.nets:Net cannot be im"),
    "no interpreter": (
        [(RULE, RULE + "    train: {python: /opt/none/bin/python}\n")], "python: /opt", "/opt/none/bin/python is not",
    ),
    "another program": (
        [(RULE, RULE + "    train: {python: /usr/bin/env}\n")], "python: /usr", "/usr/bin/env is no Python interpreter",
    ),
    "no such class": ([('"yes"', '"maybe"')], 'positive: "maybe"', "`data.target.positive` is 'maybe'"),
    "words of networks": (
        [("  holdout", "  model_outputs: logits\n  holdout"), ('positive: "yes"', 'classes: ["no", "yes"]')],
        "model_outputs", "The policy has data.model_outputs",
    ),
    "classes": ([('positive: "yes"', 'classes: ["no", "nein"]')], "classes: ", "data.target.classes names"),
    "a metric": ([("metric: accuracy", "metric: rmse"), NO_CLASS], "metric: rmse", "`rmse` is for regression"),
    "a score": (
        [("metric: accuracy, better_by: 0.02", "metric: loadable, at_least: 1"),
         ("data.new_rows >= 500", "champion.score.rmse > 3.0"), NO_CLASS],
        "when: champion", "`rmse` is for regression",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    made = Box(tmp_path_factory.mktemp("box"))
    made.register()
    (made.folder / "drops" / "shop").mkdir()
    made.drop("a.csv", buyers(2, 300))
    return made


def found(
    box: Box,
    *changes: tuple[str, str],
    reference: str = "a.csv",
    untrusted: str = "",
    model: str = "shop",
    policy: str = POLICY,
) -> tuple[str, list[Problem]]:
    """The text of a changed policy and what is said against it."""
    text = policy.format(model=model, folder=box.folder, rows=500)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    reading = read_policy_text(text, str(box.folder / "policies" / "shop.yaml"), str(box.folder))
    assert not reading.problems
    [read] = reading.policies
    source = Source(tracking_uri=box.uri, registry_uri=box.uri, model=model, version=1)
    path = str(box.folder / "drops" / "shop" / reference) if reference else ""
    job = question_of(read, source, untrusted, path).job
    assert isinstance(job, CheckPolicy)
    with box.as_default_mlflow():
        checked = check_policy(job, lambda _progress: None)
    return text, [problem_of(read, each) for each in checked.findings]


def at(text: str, problem: Problem) -> str:
    """What stands at the place of a problem."""
    return text.split("\n")[problem.line - 1][problem.column - 1 :]


def test_a_policy_that_agrees_has_nothing_said_against_it(box: Box) -> None:
    _, problems = found(box)
    assert problems == []


@pytest.mark.parametrize("what", WRONG)
def test_each_disagreement_is_said_at_its_key(box: Box, what: str) -> None:
    changes, place, begins = WRONG[what]
    text, problems = found(box, *changes)
    [problem] = [each for each in problems if each.message.startswith(begins)]
    assert at(text, problem).startswith(place)
    assert not problem.warning


def test_a_class_of_ones_may_be_called_true_as_it_is_in_judging(box: Box) -> None:
    rows = buyers(3, 300)
    rows = rows.assign(bought=(rows["bought"] == "yes").astype(int))
    box.register("ones", rows=rows)
    rows.to_csv(box.folder / "ones.csv", index=False)
    reference = str(box.folder / "ones.csv")
    assert found(box, ('positive: "yes"', "positive: true"), model="ones", reference=reference)[1] == []
    [problem] = found(box, ('positive: "yes"', "positive: 2"), model="ones", reference=reference)[1]
    assert problem.hint == "It knows 0, 1."


def test_a_wrong_name_is_answered_by_the_one_that_was_meant(box: Box) -> None:
    _, [problem] = found(box, ("mode: refit", "mode: refit\n  hyperparameters: {logisticregression__CC: 1}"))
    assert problem.hint == "Did you mean 'logisticregression__C'?"


def test_several_wrong_hyperparameters_are_said_each_and_the_right_one_is_not(box: Box) -> None:
    given = "{C: 1, logisticregression__tol: 0.01, logisticregression__max_iter: -5}"
    text, problems = found(box, ("mode: refit", f"mode: refit\n  hyperparameters: {given}"))
    assert [at(text, each).split(":")[0] for each in problems] == ["C", "logisticregression__max_iter"]


def test_a_mode_that_only_a_request_would_use_is_a_warning(box: Box) -> None:
    changed = RULE + "    train: {mode: warm_start}\n"
    text, [problem] = found(box, ("mode: refit", "mode: incremental"), (RULE, changed))
    assert problem.warning
    assert at(text, problem) == "mode: incremental"


def test_a_rule_that_inherits_what_is_wrong_has_it_said_once(box: Box) -> None:
    changed = RULE + "    train: {retries: 1}\n"
    text, [problem] = found(box, ("mode: refit", "mode: refit\n  hyperparameters: {C: 1}"), (RULE, changed))
    assert at(text, problem).startswith("C: 1")
    assert not problem.warning


def test_nothing_of_an_untrusted_version_is_loaded_and_its_columns_are_compared(box: Box) -> None:
    text, problems = found(box, ("column: bought", "column: boght"), ("mode: refit", "mode: incremental"),
                           untrusted="version 1 is by eve, who is not among trust.users")  # fmt: skip
    assert [at(text, each)[:13] for each in problems] == ["column: boght", "model: shop"]
    assert problems[1].message == "Nothing of it is loaded: version 1 is by eve, who is not among trust.users."


def test_without_a_file_the_model_is_held_against_the_policy_all_the_same(box: Box) -> None:
    text, [problem] = found(box, ("mode: refit", "mode: incremental"), ("bought", "boght"), reference="")
    assert at(text, problem) == "mode: incremental"


def test_a_file_that_cannot_be_read_is_a_warning(box: Box) -> None:
    (box.folder / "drops" / "shop" / "b.csv").write_bytes(b"\x00\x01")
    _, problems = found(box, reference="b.csv")
    assert problems
    assert all(each.warning for each in problems)


def test_a_label_that_the_model_does_not_know_is_a_warning(box: Box) -> None:
    rows = buyers(2, 50)
    rows.loc[3, "bought"] = "perhaps"
    box.drop("c.csv", rows)
    _, [problem] = found(box, reference="c.csv")
    assert problem.warning
    assert "no classes of the model: 'perhaps'" in problem.message


def test_a_column_of_the_signature_that_the_file_lacks_is_said(box: Box) -> None:
    box.drop("d.csv", buyers(2, 50).drop(columns="age"))
    _, [problem] = found(box, reference="d.csv")
    assert "names 'age', which d.csv does not have" in problem.message


def test_the_own_interpreter_is_taken_for_what_it_is(box: Box) -> None:
    _, problems = found(box, (RULE, RULE + f"    train: {{python: {sys.executable}}}\n"))
    assert problems == []


def test_a_team_s_own_function_is_told_hyperparameters_that_no_model_has(box: Box) -> None:
    (box.folder / "policies" / "own_fit.py").write_text("def fit(champion, lesson): return champion\n")
    _, problems = found(box, ("mode: refit", 'mode: refit\n  with: "own_fit:fit"\n  hyperparameters: {passes: 3}'))
    assert problems == []


def test_paths_of_policies_may_be_relative(box: Box, tmp_path: Path) -> None:
    text = POLICY.format(model="shop", folder=box.folder, rows=500)
    [policy] = read_policy_text(text, "shop.yaml", str(tmp_path)).policies
    source = Source(tracking_uri=box.uri, registry_uri=box.uri, model="shop", version=1)
    job = question_of(policy, source, "", "").job
    assert isinstance(job, CheckPolicy)
    assert Path(job.code_folder).is_absolute()


NETWORK = POLICY.replace('positive: "yes"', 'classes: ["no", "yes"]').replace(
    "  holdout", "  features: [visits, basket, age]\n  model_outputs: logits\n  holdout"
)
#: The same for a network.
WRONG_NETWORK = {
    "no epochs": ([], "mode: refit", "Mode refit starts from fresh weights, and `epochs` is not given"),
    "an unknown word": (
        [("mode: refit", "mode: warm_start\n  hyperparameters: {epocs: 3}")], "epocs: 3", "'epocs' is no",
    ),
    "an optimizer": (
        [("mode: refit", "mode: warm_start\n  hyperparameters: {epochs: 1, optimizer: adamm}")],
        "optimizer: adamm", "There is no optimizer 'adamm'",
    ),
    "a loss": (
        [("mode: refit", "mode: warm_start\n  hyperparameters: {loss: mse, epochs: 1}")], "loss: mse", "The loss 'mse'",
    ),
    "a layer": (
        [("mode: refit", 'mode: warm_start\n  hyperparameters: {freeze: ["conv*"]}')], "freeze: ", "freeze: 'conv*'",
    ),
    "a class": (
        [("mode: refit", "mode: warm_start\n  hyperparameters: {class_weight: {maybe: 2}}")],
        "class_weight: ", "class_weight names the class 'maybe'",
    ),
    "a shape": ([("  holdout", "  shape: [1, 3]\n  holdout")], "shape: [1, 3]", "data.shape is [1, 3]"),
    "too many classes": (
        [('classes: ["no", "yes"]', 'classes: ["no", "yes", "m"]')], "classes: ", "The model gives 2 outputs a row",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("framework", "package"), [("torch", "torch"), ("keras", "tensorflow")])
def test_each_disagreement_with_a_network_is_said_at_its_key(box: Box, framework: str, package: str) -> None:
    pytest.importorskip(package)
    networks.register(box, framework, getattr(networks, f"log_{framework}"))
    good = ("mode: refit", "mode: warm_start\n  hyperparameters: {epochs: 2}")
    assert found(box, good, model=framework, policy=NETWORK)[1] == []
    for what, (changes, place, begins) in WRONG_NETWORK.items():
        text, problems = found(box, *changes, model=framework, policy=NETWORK)
        matching = [at(text, each) for each in problems if each.message.startswith(begins)]
        assert [each[: len(place)] for each in matching] == [place], (what, problems)
