"""What every registry does alike: the fake, MLflow on a SQLite file, and MLflow behind a server."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import pytest

from retrain_daemon.errors import NotFound, Refused
from retrain_daemon.registry import spell_alias
from tests.fakes import FakeRegistry
from tests.mlflow_server import running_server
from tests.registry_worlds import NUMBERS, FakeWorld, MlflowWorld, World


@pytest.fixture(scope="module", params=["fake", "sqlite", pytest.param("server", marks=pytest.mark.slow)])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("mlflow")
    if request.param == "fake":
        yield FakeWorld()
    elif request.param == "sqlite":
        yield MlflowWorld(f"sqlite:///{folder}/mlflow.db")
    else:
        with running_server(folder) as uri:
            yield MlflowWorld(uri)


@pytest.fixture
def model(world: World) -> str:
    """A registered model of this test's own with versions 1 and 2."""
    name = f"churn-{next(NUMBERS)}"
    world.add_model(name)
    create(world, name)
    create(world, name)
    return name


def create(world: World, model: str, tags: Mapping[str, str] | None = None) -> int:
    source, run_id = world.log_model()
    made = world.registry.create_version(model, source=source, run_id=run_id, tags=tags or {}, description="why")
    return made.number


def aliases(world: World, model: str) -> Mapping[str, int]:
    return world.registry.models([model])[model].aliases


def test_aliases_and_tags_of_many_models_come_together(world: World, model: str) -> None:
    other = f"{model}-other"
    world.add_model(other)
    world.registry.set_alias(model, "champion", 2)
    found = world.registry.models([model, other, "unknown"])
    assert set(found) == {model, other}
    assert found[model].aliases == {"champion": 2}
    assert found[model].tags == {}
    assert (found[other].aliases, found[other].tags) == ({}, {})


def test_no_names_ask_for_nothing(world: World) -> None:
    assert world.registry.models([]) == {}


def test_a_version_says_where_it_came_from_and_when(world: World, model: str) -> None:
    source, run_id = world.log_model()
    tags = {"retraind.attempt": "churn-1"}
    made = world.registry.create_version(model, source=source, run_id=run_id, tags=tags, description="")
    assert made == world.registry.version(model, 3)
    assert (made.model, made.number, made.source, made.run_id, made.tags) == (model, 3, source, run_id, tags)
    assert made.model_id == source.removeprefix("models:/")
    assert made.ready
    assert abs(made.created_at - datetime.now(UTC)) < timedelta(minutes=5)


def test_numbers_are_numbers_in_every_store(world: World, model: str) -> None:
    world.move_alias(model, "champion", 1)
    assert isinstance(aliases(world, model)["champion"], int)
    assert isinstance(world.registry.version(model, 1).number, int)


def test_an_unknown_version_or_model_is_not_found(world: World, model: str) -> None:
    with pytest.raises(NotFound):
        world.registry.version(model, 99)
    with pytest.raises(NotFound):
        world.registry.version("unknown", 1)
    with pytest.raises(NotFound):
        world.registry.tag_version(model, 99, "a", "b")
    with pytest.raises(NotFound):
        world.registry.tag_run("0123456789abcdef0123456789abcdef", {"a": "b"})


def test_an_alias_never_points_to_a_version_that_is_not_there(world: World, model: str) -> None:
    world.registry.set_alias(model, "champion", 1)
    with pytest.raises(NotFound):
        world.registry.set_alias(model, "champion", 99)
    assert aliases(world, model) == {"champion": 1}


@pytest.mark.parametrize("alias", ["latest", "v1", "with space", ""])
def test_a_reserved_or_impossible_alias_is_refused(world: World, model: str, alias: str) -> None:
    with pytest.raises(Refused):
        world.registry.set_alias(model, alias, 1)
    assert aliases(world, model) == {}


def test_the_last_move_of_an_alias_wins(world: World, model: str) -> None:
    world.registry.set_alias(model, "champion", 1)
    world.move_alias(model, "champion", 2)
    assert aliases(world, model) == {"champion": 2}


def test_aliases_in_two_spellings_are_two_aliases(world: World, model: str) -> None:
    world.registry.set_alias(model, "champion", 1)
    world.registry.set_alias(model, "Champion", 2)
    assert aliases(world, model) == {"champion": 1, "Champion": 2}


def test_a_deleted_version_takes_its_aliases_along(world: World, model: str) -> None:
    world.registry.set_alias(model, "champion", 2)
    world.registry.set_alias(model, "previous_champion", 1)
    world.delete_version(model, 2)
    assert aliases(world, model) == {"previous_champion": 1}
    with pytest.raises(NotFound):
        world.registry.version(model, 2)


def test_the_number_of_a_deleted_version_is_not_given_again(world: World, model: str) -> None:
    world.delete_version(model, 2)
    assert create(world, model) == 3


def test_the_same_registration_twice_makes_two_versions(world: World, model: str) -> None:
    source, run_id = world.log_model()
    for number in (3, 4):
        made = world.registry.create_version(model, source=source, run_id=run_id, tags={}, description="")
        assert made.number == number


def test_a_version_of_an_unknown_model_is_not_made(world: World) -> None:
    source, run_id = world.log_model()
    with pytest.raises(NotFound):
        world.registry.create_version("unknown", source=source, run_id=run_id, tags={}, description="")
    assert world.registry.models(["unknown"]) == {}


def test_own_versions_are_found_by_their_tag(world: World, model: str) -> None:
    first = create(world, model, {"retraind.attempt": "churn-42"})
    create(world, model, {"retraind.attempt": "churn-4"})
    second = create(world, model)
    world.registry.tag_version(model, second, "retraind.attempt", "churn-42")
    found = world.registry.versions_with_tag(model, "retraind.attempt", "churn-42")
    assert [version.number for version in found] == [first, second]
    assert world.registry.versions_with_tag(model, "retraind.attempt", "churn") == ()
    assert world.registry.versions_with_tag("unknown", "retraind.attempt", "churn-42") == ()


def test_a_deleted_version_is_not_found_by_its_tag(world: World, model: str) -> None:
    number = create(world, model, {"retraind.attempt": "churn-7"})
    world.delete_version(model, number)
    assert world.registry.versions_with_tag(model, "retraind.attempt", "churn-7") == ()


def test_a_version_tag_is_replaced(world: World, model: str) -> None:
    world.registry.tag_version(model, 1, "retraind.replaces", "7")
    world.registry.tag_version(model, 1, "retraind.replaces", "8")
    assert world.registry.version(model, 1).tags == {"retraind.replaces": "8"}
    assert world.registry.version(model, 2).tags == {}


def test_only_the_runs_of_one_attempt_are_ended(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    attempt = f"churn-{next(NUMBERS)}"
    mine = world.start_run({"retraind.attempt": attempt})
    other = world.start_run({"retraind.attempt": f"{attempt}0"})
    assert world.registry.end_runs_of("retraind.attempt", attempt) == (mine,)
    assert capsys.readouterr().out == ""  # MLflow likes to print links to runs between the lines of a command
    assert (world.run_status(mine), world.run_status(other)) == ("KILLED", "RUNNING")
    assert world.registry.end_runs_of("retraind.attempt", attempt) == ()


@pytest.mark.parametrize(
    "name", ["it's", 'say "x"', "both ' and \"", "back\\nslash", "x' OR name LIKE '%", "a, (b); -- c", "tick`s", "Maß"]
)
def test_any_name_that_mlflow_takes_is_read_and_found(world: World, name: str) -> None:
    name = f"{name} {next(NUMBERS)}"
    world.add_model(name)
    number = create(world, name, {"retraind.attempt": f"it's {name.replace(chr(34), '')}"})
    world.registry.set_alias(name, "champion", number)
    assert set(world.registry.models([name, "unknown", "a/b", "a:b", " "])) == {name}
    found = world.registry.versions_with_tag(name, "retraind.attempt", f"it's {name.replace(chr(34), '')}")
    assert [version.number for version in found] == [number]


def test_a_thousand_names_are_one_question(world: World, model: str) -> None:
    names = [model, *(f"a-model-of-some-length-{number:04d}" for number in range(999))]
    assert set(world.registry.models(names)) == {model}


def test_models_are_listed_by_patterns_of_their_names(world: World) -> None:
    before = f"fleet{next(NUMBERS)}"
    names = [f"{before}-{end}" for end in ("de", "fr", "DE", "d_e", "d%e", "it's", "[x]")]
    for name in (*names, f"{before.upper()}-de", f"other-{before}-de"):
        world.add_model(name)

    def listed(*patterns: str) -> set[str]:
        return {
            name.removeprefix(f"{before}-") for name in world.registry.matching([f"{before}-{p}" for p in patterns])
        }

    assert listed("*") == {"de", "fr", "DE", "d_e", "d%e", "it's", "[x]"}
    assert listed("?e", "nothing*") == {"de"}
    assert listed("d?e") == {"d_e", "d%e"}
    assert listed("[x]", "*'s", "fr") == {"[x]", "it's", "fr"}
    assert set(world.registry.matching([f"*{before}-de"])) == {f"{before}-de", f"other-{before}-de"}
    assert world.registry.matching([]) == {}


def test_a_listed_model_is_told_with_its_aliases(world: World, model: str) -> None:
    world.registry.set_alias(model, "champion", 2)
    assert world.registry.matching([f"{model}*"]) == world.registry.models([model])


@pytest.mark.parametrize(
    ("present", "spelling"),
    [({"Champion": 1}, "Champion"), ({"CHAMPION": 1, "champion": 2}, None), ({"challenger": 1}, None), ({}, None)],
)
def test_an_alias_in_another_case_is_told(present: Mapping[str, int], spelling: str | None) -> None:
    assert spell_alias(present, "champion") == spelling


def test_an_alias_with_other_dashes_is_told() -> None:
    assert spell_alias({"Previous-Champion": 1}, "previous_champion") == "Previous-Champion"


def test_the_environment_is_as_before_after_a_registration(world: World, model: str) -> None:
    before = dict(os.environ)
    create(world, model)
    assert {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"} == {
        k: v for k, v in before.items() if k != "PYTEST_CURRENT_TEST"
    }


def test_a_cut_before_or_after_an_effect_leaves_it_undone_or_done() -> None:
    world = FakeWorld()
    world.add_model("churn")
    create(world, "churn")

    def cut(name: str) -> None:
        raise KeyboardInterrupt(name)

    world.fake.before = cut
    with pytest.raises(KeyboardInterrupt):
        world.registry.set_alias("churn", "champion", 1)
    assert aliases(world, "churn") == {}
    world.fake.before, world.fake.after = None, cut
    with pytest.raises(KeyboardInterrupt):
        world.registry.set_alias("churn", "champion", 1)
    assert aliases(world, "churn") == {"champion": 1}
    assert world.fake.calls[1:] == ["set_alias(churn, champion, 1)"]


def test_a_registry_that_fails_answers_nothing() -> None:
    fake = FakeRegistry()
    fake.fail_with = Refused("down")
    with pytest.raises(Refused, match="down"):
        fake.models(["churn"])
    with pytest.raises(Refused, match="down"):
        fake.set_alias("churn", "champion", 1)
    assert fake.calls == []


def test_a_run_is_found_by_the_tag_it_was_given_later(world: World) -> None:
    run, value = world.start_run({}), f"churn-{next(NUMBERS)}"
    world.registry.tag_run(run, {"retraind.key": "another", "retraind.verdict": "reject"})
    world.registry.tag_run(run, {"retraind.key": value})
    assert world.registry.end_runs_of("retraind.key", "another") == ()
    assert world.registry.end_runs_of("retraind.key", value) == (run,)


def test_an_alias_is_removed_and_one_that_is_not_there_is_no_error(world: World, model: str) -> None:
    world.registry.set_alias(model, "challenger", 1)
    world.registry.delete_alias(model, "challenger")
    world.registry.delete_alias(model, "challenger")
    assert aliases(world, model) == {}
    with pytest.raises(NotFound):
        world.registry.delete_alias("unknown", "challenger")


def test_the_author_of_a_version_is_the_user_of_its_run(world: World, model: str) -> None:
    source, _ = world.log_model()
    for tags, author in (({"mlflow.user": "ada"}, "ada"), ({}, "")):
        run = world.start_run(tags)
        made = world.registry.create_version(model, source=source, run_id=run, tags={}, description="")
        assert world.registry.author(made) == author


def test_a_run_id_that_the_store_refuses_leaves_the_author_unknown(world: World, model: str) -> None:
    source, _ = world.log_model()
    made = world.registry.create_version(model, source=source, run_id="nightly run 7", tags={}, description="")
    assert world.registry.author(made) == ""
