"""Models that depend on other models: a champion that changes upstream trains what depends on it, once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from retrain_daemon.core.attempts import State
from retrain_daemon.core.policy import Upstream
from retrain_daemon.errors import RegistryUnreachable
from retrain_daemon.policies import Reading, read_policies, read_policy_text
from retrain_daemon.policies.upstream import circle_of
from retrain_daemon.worker.job import Failed
from tests.fake_box import POLICY, FakeBox
from tests.made import a_metric, a_policy, some_evidence

UPSTREAM = "text-embeddings"
CHANGED = "upstream.embeddings.changed"


def depending(upstream: str = UPSTREAM, when: str = CHANGED) -> str:
    text = POLICY.replace("data.new_rows >= 1000", when)
    return text.replace("model: churn\n", f"model: churn\nupstream: {{{{embeddings: {upstream}}}}}\n")


class Box(FakeBox):
    """The model churn depends on text-embeddings, whose champion is version 1; enough rows are recorded."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.depend()
        for _ in range(4):
            self.registry.create_version_by_hand(UPSTREAM)
        self.registry.move_alias_by_hand(UPSTREAM, "champion", 1)

    def depend(self, upstream: str = UPSTREAM, when: str = CHANGED) -> None:
        self.write_policy(depending(upstream, when).format(folder=self.root / "drops"))

    def promote_upstream(self, version: int) -> None:
        self.registry.move_alias_by_hand(UPSTREAM, "champion", version)

    def outcomes(self) -> list[tuple[State, dict[str, int]]]:
        return [(attempt.state, dict(attempt.upstream)) for attempt in self.attempts()]


@pytest.fixture
def box(tmp_path: Path) -> Box:
    made = Box(tmp_path)
    made.record_champion()
    made.drop()
    made.live()
    assert made.attempts() == ()
    return made


def test_a_champion_that_changes_upstream_trains_what_depends_on_it_once(box: Box) -> None:
    box.promote_upstream(2)
    box.live()
    assert box.outcomes() == [(State.PROMOTED, {"embeddings": 2})]
    assert box.trainings()[0].tags["retraind.upstream.embeddings"] == "2"
    box.live()
    assert len(box.attempts()) == 1
    box.promote_upstream(3)
    box.live()
    assert [seen["embeddings"] for _, seen in box.outcomes()] == [2, 3]


def test_a_champion_that_changes_upstream_while_no_daemon_runs_is_seen_at_the_next_start(box: Box) -> None:
    box.promote_upstream(2)
    for _ in range(3):
        box.live(2)
    assert box.outcomes() == [(State.PROMOTED, {"embeddings": 2})]


def test_the_same_rows_train_again_after_a_rejection_once_the_champion_upstream_is_another(box: Box) -> None:
    box.evidence = some_evidence(a_metric(low=-0.3, gain=-0.2, high=-0.1))
    box.promote_upstream(2)
    box.live()
    assert box.outcomes() == [(State.REJECTED, {"embeddings": 2})]
    assert box.standing()[0] == "nothing_new"
    assert "here or upstream" in box.standing()[1]
    box.promote_upstream(4)
    box.live()
    assert [seen for _, seen in box.outcomes()] == [{"embeddings": 2}, {"embeddings": 4}]


def test_a_change_upstream_during_an_attempt_starts_the_next_one(box: Box) -> None:
    box.promote_upstream(2)
    moved = []

    def reached(point: str) -> None:
        if point == "after start" and box.trainings() and not moved:
            moved.append(point)
            box.promote_upstream(3)

    box.reached = reached
    box.live()
    assert [seen for _, seen in box.outcomes()] == [{"embeddings": 2}, {"embeddings": 3}]


def test_a_change_whose_training_was_abandoned_is_still_to_be_trained_on_once_something_is_new(box: Box) -> None:
    box.failure = Failed(message="the loss is NaN", temporary=False)
    box.promote_upstream(2)
    box.live()
    assert box.outcomes() == [(State.ABANDONED, {"embeddings": 2})]
    box.live()
    assert len(box.attempts()) == 1
    assert box.standing()[0] == "nothing_new"
    box.failure = None
    box.drop("b.csv", "x,churned\n2,no\n")
    box.live()
    assert box.outcomes()[1:] == [(State.PROMOTED, {"embeddings": 2})]


def test_a_champion_that_changes_upstream_is_noticed_at_the_next_poll(box: Box) -> None:
    with box.life() as daemon:
        for _ in range(3):
            daemon.turn()
        box.promote_upstream(2)
        box.clock.now += timedelta(seconds=20)
        for _ in range(4):
            daemon.turn()
    assert box.outcomes()[0][1] == {"embeddings": 2}


def test_a_promotion_of_ours_upstream_trains_what_depends_on_it(box: Box) -> None:
    folder = box.root / "upstream-drops"
    folder.mkdir()
    text = POLICY.replace("model: churn", f"model: {UPSTREAM}").format(folder=folder)
    (box.root / "policies" / "embeddings.yaml").write_text(text, "utf-8")
    box.live()
    (folder / "a.csv").write_text("x,churned\n5,yes\n", "utf-8")
    box.live(8)
    with box.journal() as journal:
        (ours,) = journal.attempts.of_model(UPSTREAM, 10)
    assert ours.state is State.PROMOTED
    assert box.outcomes() == [(State.PROMOTED, {"embeddings": ours.version})]


@pytest.mark.parametrize("never", ["no champion", "another spelling", "no model"])
def test_an_upstream_model_without_champion_starts_nothing_and_is_named(tmp_path: Path, never: str) -> None:
    box = Box(tmp_path)
    if never == "no model":
        box.registry.delete_model_by_hand(UPSTREAM)
    else:
        box.registry.delete_alias_by_hand(UPSTREAM, "champion")
    if never == "another spelling":
        box.registry.move_alias_by_hand(UPSTREAM, "Champion", 2)
    box.record_champion()
    box.drop()
    box.live()
    assert box.attempts() == ()
    code, sentence = box.standing()
    assert code == "no_rule_holds"
    why = {
        "no champion": f"{UPSTREAM} has no alias champion",
        "another spelling": f"{UPSTREAM} has no alias champion; there is an alias Champion: aliases are case-sensitive",
        "no model": f"no registered model is named {UPSTREAM}",
    }[never]
    assert f"upstream.embeddings.changed not known: {why}" in sentence


def test_an_alias_that_is_gone_for_a_while_and_comes_back_to_the_same_version_is_no_change(box: Box) -> None:
    box.promote_upstream(2)
    box.live()
    box.registry.delete_alias_by_hand(UPSTREAM, "champion")
    box.depend(when="data.new_rows >= 1000 || upstream.embeddings.changed")
    box.drop("b.csv", "x,churned\n2,no\n")
    box.live()
    assert [seen for _, seen in box.outcomes()] == [{"embeddings": 2}, {"embeddings": 2}]
    box.promote_upstream(2)
    box.live()
    assert len(box.attempts()) == 2
    box.promote_upstream(3)
    box.live()
    assert len(box.attempts()) == 3


def test_a_registry_that_does_not_answer_starts_nothing_and_its_change_is_seen_afterwards(box: Box) -> None:
    box.promote_upstream(2)
    box.registry.fail_with = RegistryUnreachable("the registry does not answer.")
    box.live()
    assert box.attempts() == ()
    assert box.standing()[0] == "registry_unknown"
    box.registry.fail_with = None
    box.live()
    assert box.outcomes() == [(State.PROMOTED, {"embeddings": 2})]


def test_a_model_that_the_policy_names_only_now_counts_from_its_first_sight(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.write_policy(POLICY.format(folder=box.root / "drops"))
    box.record_champion()
    box.drop()
    box.live()
    assert box.outcomes() == [(State.PROMOTED, {})]
    box.depend()
    box.live()
    assert len(box.attempts()) == 1, "nothing changed since it is known"
    box.promote_upstream(2)
    box.live()
    assert box.outcomes()[1:] == [(State.PROMOTED, {"embeddings": 2})]


def test_another_model_under_the_same_name_is_no_change_of_champion(box: Box) -> None:
    box.promote_upstream(2)
    box.live()
    for _ in range(9):
        box.registry.create_version_by_hand("image-embeddings")
    box.registry.move_alias_by_hand("image-embeddings", "champion", 9)
    box.depend("image-embeddings")
    box.live()
    box.live()
    assert len(box.attempts()) == 1


def reading(section: str, model: str = "churn") -> Reading:
    text = POLICY.format(folder="/drops").replace("model: churn", f"model: {model}\nupstream: {section}")
    return read_policy_text(text, "churn.yaml", "/etc/retraind")


def test_upstream_models_are_named_with_or_without_their_alias() -> None:
    (policy,) = reading("{a: text-embeddings, b_2: {model: prices, alias: production}}").policies
    assert policy.upstream == {"a": Upstream("text-embeddings"), "b_2": Upstream("prices", "production")}


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("text-embeddings", "must be a mapping"),
        ("{}", "`upstream` is empty"),
        ("{embeddings: churn}", "is churn, the model that the policy is about"),
        ("{text-embeddings: text-embeddings}", "is no name that rules can use"),
        ('{"": x}', "is no name that rules can use"),
        ("{in: prices}", "`in` is a word of CEL"),
        ("{a: [x, y]}", "must be a single value"),
        ("{a: {alias: champion}}", "`upstream.a.model` is missing"),
        ("{a: {model: x, allias: y}}", "Did you mean `alias`"),
        ("{a: {model: x, alias: latest}}", "cannot be `latest`"),
        ("{a: models:/x}", "is no name of a registered model"),
        ('{a: "x/y"}', "is no name of a registered model"),
    ],
)
def test_what_is_wrong_in_upstream_is_said(section: str, said: str) -> None:
    problems = [str(problem) for problem in reading(section).problems]
    assert len(problems) == 1
    assert said in problems[0]


def test_a_rule_that_asks_about_a_model_which_the_policy_does_not_name_is_refused() -> None:
    text = depending(when="upstream.embedings.changed").format(folder="/drops")
    (problem,) = read_policy_text(text, "churn.yaml", "/etc/retraind").problems
    assert problem.hint == "Did you mean `upstream.embeddings.changed`?"


@pytest.mark.parametrize(
    ("needs", "circle"),
    [
        ({"a": "b", "b": "c", "c": ""}, set()),
        ({"a": "b", "b": "c", "c": "b"}, {"b", "c"}),
        ({"a": "bc", "b": "d", "c": "d", "d": ""}, set()),
        ({"a": "bc", "b": "", "c": "a"}, {"a", "c"}),
    ],
)
def test_models_that_depend_on_each_other_in_a_circle_are_found(needs: dict[str, str], circle: set[str]) -> None:
    policies = [
        a_policy(model=model, upstream={each: Upstream(each) for each in upstream}) for model, upstream in needs.items()
    ]
    assert set(circle_of(policies)) == circle


def test_a_model_of_a_fleet_that_would_depend_on_itself_is_refused() -> None:
    text = POLICY.format(folder="/drops/{model}").replace(
        "model: churn", "models: churn-*\nupstream: {base: churn-base}"
    )
    (problem,) = read_policy_text(text, "churn.yaml", "/etc/retraind").problems
    assert "`upstream.base` is churn-base, which `models` matches" in problem.message
    assert "models.except" in problem.hint


def test_models_that_depend_on_each_other_in_a_circle_get_a_warning(tmp_path: Path) -> None:
    for model, upstream in (("a", "b"), ("b", "a"), ("c", "a")):
        text = depending(upstream).replace("model: churn", f"model: {model}")
        (tmp_path / f"{model}.yaml").write_text(text.format(folder=f"/drops/{model}"), "utf-8")
    reading = read_policies(tmp_path)
    assert (len(reading.policies), reading.problems) == (3, ())
    (warning,) = reading.warnings
    assert warning.warning
    assert "in a circle (a on b on a)" in warning.message
    assert (Path(warning.file).name, warning.line) == ("a.yaml", 3)
