"""What README and docs say agrees with the code: policies, keys, facts, metrics, modules, codes, verbs, settings."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import retrain_daemon
from retrain_daemon import errors
from retrain_daemon.cli.parser import EXIT_CODES, parse
from retrain_daemon.core.facts import ChampionState
from retrain_daemon.core.metrics import METRICS, MODEL_METRICS
from retrain_daemon.core.policy import Claim, Policy
from retrain_daemon.core.rules.vocabulary import TOLD
from retrain_daemon.core.timeline.expectations import run
from retrain_daemon.policies import (
    Problem,
    data,
    file,
    promotion,
    read_policy_text,
    requirements,
    search,
    training,
)
from retrain_daemon.policies.stories import hopes
from retrain_daemon.policies.stories import reading as stories
from retrain_daemon.policies.stories.events import EVENTS
from retrain_daemon.policies.stories.reading import read_story_text
from retrain_daemon.settings import Settings, read_settings
from retrain_daemon.settings import file as settings_file

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "retrain_daemon"
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = (
    README,
    *(DOCS / name for name in ("architecture.md", "policies.md", "operations.md", "data.md", "statistics.md")),
)
FOLDER = "/etc/retraind/policies"

Tree = dict[str, "str | Tree"]


def text_of(page: Path) -> str:
    return page.read_text("utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(page), re.DOTALL | re.MULTILINE)


def section(page: Path, heading: str) -> str:
    """The text under a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text_of(page), re.DOTALL | re.MULTILINE)
    assert found, f"{page.name} has no section {heading}"
    return found[1]


def table(page: Path, heading: str) -> list[tuple[str, ...]]:
    """The rows of the first table under a heading, without its head; cells as written."""
    lines = [line for line in section(page, heading).splitlines() if line.startswith("|")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[2:]]


def bare(cell: str) -> str:
    return cell.strip("`")


# Policies


def minimal() -> Tree:
    return {
        "model": "churn",
        "data": {"path": "/srv/drops/churn/*.csv", "target": "churned"},
        "retrain[]": {"name": "fresh", "when": "data.new_rows >= 100"},
        "promote": {"require[]": {"metric": "accuracy", "better_by": "0"}},
    }


def rendered(tree: Tree, indent: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, str):
            yield f"{indent}{key}: {value}"
            continue
        yield f"{indent}{key.removesuffix('[]')}:"
        lines = list(rendered(value, indent + "    "))
        if key.endswith("[]"):
            lines[0] = f"{indent}  - {lines[0].strip()}"
        yield from lines


def with_key(key: str, value: str) -> str:
    """A minimal policy with one key set, as text."""
    tree = minimal()
    *parents, last = key.split(".")
    if key.startswith("models"):
        del tree["model"]
        tree["data"] = {"path": "/srv/drops/{model}/*.csv", "target": "churned"}
        tree |= {"models": {"match": '"churn-*"'}} if parents else {}
    if key.startswith("train.search"):
        search = {"trials": "9", "metric": "accuracy"} if "search" in parents else {}
        tree["train"] = {"hyperparameters": "{C: {low: 0.1, high: 1}}", "search": dict(search)}
    place = tree
    for parent in parents:
        inside = place.get(parent)
        if not isinstance(inside, dict):
            inside = {"column": "churned"} if parent == "target" else {}
            place[parent] = inside
        place = inside
    if "metric" in place and "trials" not in place:
        return in_requirement(tree, place, last, value)
    if last == "model_outputs":
        place["target"] = '{column: churned, classes: ["no", "yes"]}'
    if last == "columns":
        del place["column"]
        tree["promote"] = {"require": "[{metric: rmse, better_by: 0}]"}
    beside = {
        "label_delay": {"event_time": "at"}, "replay": {"mode": "incremental"},
        "at_most": {"judge_again_every": "9 rows"}, "if_worse": {"watch": "9 rows"},
    }  # fmt: skip
    place |= beside.get(last, {})
    place[last] = value
    return "\n".join(rendered(tree)) + "\n"


def in_requirement(tree: Tree, line: Tree, key: str, value: str) -> str:
    """The same for a key of a line of `require`."""
    if key in [claim.value for claim in Claim]:
        line.pop("better_by")
    if key == "slices":
        line["unless_worse_by"] = line.pop("better_by")
    line[key] = value
    if key == "observe" and value == "true":  # beside a line that counts
        observed = "{metric: accuracy, better_by: 0, observe: true}"
        tree["promote"] = {"require": f"[{observed}, {{metric: f1_macro, better_by: 0}}]"}
    return "\n".join(rendered(tree)) + "\n"


def problems_of(text: str) -> tuple[Problem, ...]:
    return read_policy_text(text, "churn.yaml", FOLDER).problems


def policy_of(text: str) -> Policy:
    reading = read_policy_text(text, "churn.yaml", FOLDER)
    assert [str(problem) for problem in reading.problems] == []
    policies = (*reading.policies, *(fleet.template for fleet in reading.fleets))
    return dataclasses.replace(policies[0], text="", digest="")


KEY_ROWS = table(DOCS / "policies.md", "Keys")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_policy_shown_is_accepted(page: Path) -> None:
    for text in blocks(page, "yaml"):
        assert [str(problem) for problem in problems_of(text)] == []


def recipes() -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```$", section(DOCS / "policies.md", "Recipes"), re.DOTALL | re.MULTILINE)


def test_there_are_ten_recipes_and_none_of_them_gets_a_warning() -> None:
    assert len(recipes()) >= 10
    for text in recipes():
        assert [str(warning) for warning in read_policy_text(text, "recipe.yaml", FOLDER).warnings] == []


def test_readme_and_reference_show_whole_policies() -> None:
    assert blocks(README, "yaml")
    assert blocks(DOCS / "policies.md", "yaml")


@pytest.mark.parametrize("row", KEY_ROWS, ids=lambda row: bare(row[0]))
def test_the_example_of_a_key_is_accepted_and_its_default_changes_nothing(row: tuple[str, ...]) -> None:
    key, _, default, example = row
    policy_of(with_key(bare(key), bare(example)))
    if default.startswith("`"):
        assert policy_of(with_key(bare(key), bare(default))) == policy_of("\n".join(rendered(minimal())) + "\n")


def test_every_key_the_reader_takes_is_listed_and_no_other() -> None:
    top = {key for key in file._KEYS if key not in ("data", "train", "retrain", "pace", "promote")}
    train = {f"train.{key}" for key in training._KEYS if key != "limits"}
    data_keys = {f"data.{key}" for key in data._KEYS}
    promote = {f"promote.{key}" for key in promotion._KEYS if key != "require"}
    require = {f"promote.require[].{key}" for key in requirements._KEYS}
    nested = {
        "data.complete.settle", "data.complete.marker", "data.target.column", "data.target.columns",
        "data.target.positive",
        "data.target.classes", "data.target.unknown_classes",
        "data.holdout.newest",
        "train.limits.run_for", "train.limits.memory",
        "train.limits.processes", "train.limits.cpus", "train.limits.gpus",
        "retrain[].name", "retrain[].when",
        "retrain[].train", "retrain[].require", "retrain[].observe",
        "pace.cooldown", "pace.per_day", "pace.quiet_hours",
        *(f"train.search.{key}" for key in search.SEARCH_KEYS),
        *(f"promote.inconclusive.{key}" for key in promotion._INCONCLUSIVE), "promote.approval.within",
        "models.match", "models.except",
        "promote.after_promotion.watch", "promote.after_promotion.if_worse",
    }  # fmt: skip
    assert {bare(row[0]) for row in KEY_ROWS} == top | train | data_keys | promote | require | nested


def test_the_table_of_facts_is_the_vocabulary() -> None:
    rows = table(DOCS / "policies.md", "Facts a rule may use")
    documented = [(bare(name), kind, meaning, bare(example)) for name, kind, meaning, example in rows]
    assert documented == [(name, fact.kind.value, fact.meaning, fact.example) for name, fact in TOLD.items()]


def test_the_table_of_metrics_is_the_list_of_metrics() -> None:
    rows = table(DOCS / "policies.md", "Metrics")
    documented = {bare(row[0]): row[1:] for row in rows}
    assert documented == {
        name: (
            metric.task.value,
            metric.needs.value,
            "higher" if metric.higher_is_better else "lower",
            "yes" if metric.binary_only else "no",
        )
        for name, metric in METRICS.items()
    }


def test_the_table_of_metrics_of_stored_models_is_their_list_with_what_may_be_asked() -> None:
    rows = table(DOCS / "policies.md", "Metrics of the stored model")
    documented = {bare(name): (what, set(re.findall(r"`(\w+)`", claims))) for name, what, claims in rows}
    assert documented == {
        name: (metric.unit, {claim.value for claim in requirements._TAKEN_BY.get(name, requirements._OF_FILES)})
        for name, metric in MODEL_METRICS.items()
    }


# Architecture


def modules() -> set[str]:
    found = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    return {name for name in found if not name.endswith("__init__.py")}


def test_the_layout_names_every_module_once_and_no_other() -> None:
    layout = section(DOCS / "architecture.md", "Layout")
    named = re.findall(r"^\| `([\w/]+\.(?:py|sql))` \|", layout, re.MULTILINE)
    assert sorted(named) == sorted({*modules(), "journal/schema.sql"})


def all_errors(kind: type[errors.RetrainError] = errors.RetrainError) -> set[type[errors.RetrainError]]:
    return {kind}.union(*(all_errors(child) for child in kind.__subclasses__() if child.__module__ == errors.__name__))


def test_the_table_of_exit_codes_agrees_with_the_errors() -> None:
    rows = table(DOCS / "architecture.md", "Exit codes")
    documented = {int(code): set(re.findall(r"`(\w+)`", named)) for code, _, named in rows}
    expected: dict[int, set[str]] = {0: set(), 2: set(), 130: set()}
    for kind in all_errors():
        expected.setdefault(kind.exit_code, set()).add(kind.__name__)
    assert documented == expected


def test_the_help_text_and_the_operations_page_have_the_same_exit_codes() -> None:
    in_help = {int(code) for code in re.findall(r"(?:^|  )(\d)  \w", EXIT_CODES, re.MULTILINE)}
    in_table = {int(row[0]) for row in table(DOCS / "operations.md", "Exit codes")}
    assert in_help == in_table - {130}
    assert in_table == {int(row[0]) for row in table(DOCS / "architecture.md", "Exit codes")}


def test_the_example_of_a_tested_policy_passes_its_tests(tmp_path: Path) -> None:
    shown = section(DOCS / "policies.md", "Testing policies")
    (policy,), (tests,) = (
        re.findall(rf"^```{kind}\n(.*?)^```$", shown, re.DOTALL | re.MULTILINE) for kind in ("yaml", "yml")
    )
    (tmp_path / "churn.yaml").write_text(policy, "utf-8")
    read = read_story_text(tests, "churn.test.yaml", tmp_path)
    assert [str(problem) for problem in read.problems] == []
    assert read.policy is not None
    assert [run(read.policy, story).differences for story in read.stories] == [()] * len(read.stories)
    assert read.stories


def test_every_event_and_expectation_of_tests_is_listed_and_no_other() -> None:
    assert {bare(row[0]) for row in table(DOCS / "policies.md", "What is given")} == set(EVENTS)
    assert {bare(row[0]) for row in table(DOCS / "policies.md", "What is expected")} == set(hopes._KEYS)
    keys = {bare(row[0]) for row in table(DOCS / "policies.md", "Testing policies")}
    assert keys | {"name", "given", "expect"} == {*stories._KEYS, *stories._TEST_KEYS}


def logged_events() -> set[str]:
    """The names of events in calls of a logger; the open end of an f-string is written as *."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and node.args and re.fullmatch(r"_?log(ger)?|level", _owner(node.func)):
                found.add(_event(node.args[0]))
    return {name for name in found if re.fullmatch(r"[a-z_]+\.[a-z_*]+", name)}


def _owner(function: ast.expr) -> str:
    while isinstance(function, ast.Attribute):
        function = function.value
    return function.id if isinstance(function, ast.Name) else ""


def _event(argument: ast.expr) -> str:
    if isinstance(argument, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in argument.values)
    return str(argument.value) if isinstance(argument, ast.Constant) else ""


def test_every_event_that_is_logged_is_in_the_table_and_no_other() -> None:
    documented = {bare(row[0]) for row in table(DOCS / "architecture.md", "Log events")}
    logged = logged_events()
    assert "drop.recorded" in logged
    named = {name for name in logged if "*" not in name}
    ends = {"attempt.promoted", "attempt.rejected", "attempt.inconclusive", "attempt.abandoned"}
    assert documented == named | ends | {"library.message"}
    assert {name for name in logged if "*" in name} == {"attempt.*"}


def test_the_runbook_names_the_reasons_for_which_a_model_waits() -> None:
    codes = set(re.findall(r'_Reason\(\s*"(\w+)"', text_of(PACKAGE / "core/decide.py")))
    codes |= set(re.findall(r'Hindrance\("(\w+)"', text_of(PACKAGE / "core/pace.py")))
    codes |= {f"champion_{state.value}" for state in ChampionState if state.value not in ("found", "unknown")}
    unshown = {"attempt_open", "held", "new_rows_unknown", "judging_rows_unknown"}
    assert unshown < codes
    named = " ".join(row[0] for row in table(DOCS / "operations.md", "When something is wrong"))
    shown = {word.replace(" ", "_") for word in re.findall(r"`([^`]+)`", named)}
    assert shown - codes == {"quarantined", "retraind_drop_list", "paused", "failed", "abandoned"}
    assert codes - shown == unshown


# Commands and settings


def commands() -> set[str]:
    return {
        found
        for page in PAGES
        for found in re.findall(r"\bretraind ((?:drop )?[a-z]+)\b(?! run, process)", _code(text_of(page)))
    }


def _code(text: str) -> str:
    """Only what is set as code: blocks of commands, and words in backticks."""
    shell = re.findall(r"^```(?:sh|console)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return "\n".join([*shell, *re.findall(r"`([^`\n]+)`", text)])


def test_every_command_that_is_named_exists(capsys: pytest.CaptureFixture[str]) -> None:
    named = commands()
    assert {"run", "adopt", "status", "rollback", "drop list", "drop retract"} <= named
    for command in named:
        with pytest.raises(SystemExit) as ended:
            parse([*command.split(), "--help"])
        assert ended.value.code == 0, f"retraind {command}: {capsys.readouterr().err}"


def test_every_verb_is_explained_on_the_operations_page(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    verbs = set(re.findall(r"^    ([a-z]+) ", capsys.readouterr().out, re.MULTILINE))
    assert "run" in verbs
    explained = {bare(row[0]).split()[1] for row in table(DOCS / "operations.md", "Commands")}
    assert explained == verbs


def test_the_table_of_settings_is_what_is_read() -> None:
    rows = table(DOCS / "operations.md", "Settings")
    documented = {(bare(table_name), bare(key), bare(variable)) for table_name, key, variable, _ in rows}
    assert documented == {(f"[{one.table}]", one.written, one.variable) for one in settings_file._OPTIONS}


def test_the_defaults_in_the_table_of_settings_are_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    read = read_settings(None, {"HOME": "/home/ann"}, system_file=tmp_path / "absent.toml")
    shown = {
        "tracking_uri": "sqlite:///STATE/mlflow.db", "registry_uri": "the tracking URI",
        "state": "~/.local/state/retraind", "policies": "./policies", "poll_registry": "15s", "rescan": "60s",
        "retry_backoff": "1m", "log_format": "auto", "backups": "7", "slots": "1", "keep_warm": "5m",
        "inspections": "2", "memory": "no limit", "processes": "512", "nice": "10", "gpus": "none", "users": "none",
        "listen": "127.0.0.1:9464", "command": "none",
        "on": "promoted, awaiting_approval, rolled_back, held, champion_lost, champion_worse",
        "timeout": "10s",
    }  # fmt: skip
    documented = {bare(key): default for _, key, _, default in table(DOCS / "operations.md", "Settings")}
    assert {key: bare(default.split("`,")[0]) for key, default in documented.items()} == shown
    assert read == Settings(
        tracking_uri="sqlite:////home/ann/.local/state/retraind/mlflow.db",
        registry_uri="sqlite:////home/ann/.local/state/retraind/mlflow.db",
        state=Path("/home/ann/.local/state/retraind"),
        policies=tmp_path / "policies",
    )


@pytest.mark.parametrize("page", [README, DOCS / "operations.md"], ids=lambda page: page.name)
def test_the_settings_files_shown_are_accepted(page: Path, tmp_path: Path) -> None:
    assert blocks(page, "toml")
    for text in blocks(page, "toml"):
        file = tmp_path / "retraind.toml"
        file.write_text(text, "utf-8")
        assert read_settings(file, {"HOME": "/home/ann"}).file == file


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text_of(page)):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_version_of_the_changelog_is_the_version_of_the_package() -> None:
    assert f"## [{retrain_daemon.__version__}]" in text_of(ROOT / "CHANGELOG.md")
