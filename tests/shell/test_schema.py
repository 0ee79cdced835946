"""The JSON Schema of policies: it agrees with the reader and the reference, and editors get the copy that is kept."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from retrain_daemon.cli.main import main
from retrain_daemon.policies import read_policy_text
from retrain_daemon.policies.reference import KEYS, key_table
from retrain_daemon.policies.schema import policy_schema
from tests.shell.test_docs import DOCS, PAGES, blocks, section, with_key

EXAMPLES = Path(__file__).parents[2] / "policies"
POLICIES = sorted(path for path in EXAMPLES.glob("*.yaml") if not path.name.endswith(".test.yaml"))
MODELINE = "# yaml-language-server: $schema=policy.schema.json"
SCHEMA: Any = policy_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
FOLDER = "/etc/retraind/policies"


class Core(yaml.SafeLoader):
    """YAML 1.2's core schema, by which editors read: `no` and `12:30` are texts, 1e-3 is a number."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (as PyYAML has it)


for _tag, _pattern in {
    "null": r"|~|null|Null|NULL",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?",
}.items():
    Core.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), None)
Core.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node)))
Core.add_constructor("tag:yaml.org,2002:float", lambda loader, node: float(loader.construct_scalar(node)))


def as_editors_read(text: str) -> Any:
    return yaml.load(text, Loader=Core)


def complaints(policy: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(policy)]


def is_accepted(text: str) -> bool:
    return not read_policy_text(text, "churn.yaml", FOLDER).problems


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_the_copy_beside_the_examples_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert (EXAMPLES / "policy.schema.json").read_text("utf-8") == capsys.readouterr().out, (
        "run: retraind schema > policies/policy.schema.json"
    )


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.name)
def test_every_example_names_the_schema_and_keeps_to_it(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.splitlines()[0] == MODELINE
    assert complaints(as_editors_read(text)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_policy_that_is_shown_keeps_to_it(page: Path) -> None:
    for text in blocks(page, "yaml"):
        assert complaints(as_editors_read(text)) == []


def test_the_key_table_is_made_of_the_same_declarations() -> None:
    shown = [line for line in section(DOCS / "policies.md", "Keys").splitlines() if line.startswith("|")]
    assert shown == list(key_table()), "run: python -m retrain_daemon.policies.reference"


def keys_of(schema: Mapping[str, Any], name: str = "") -> Iterator[str]:
    """The dotted keys of mappings, those that name a shared part followed once."""
    for form in (schema, *schema.get("anyOf", ())):
        for key, value in form.get("properties", {}).items():
            full = f"{name}.{key}" if name else key
            yield full
            if full.startswith("retrain.") and "$ref" in json.dumps(value):
                continue
            yield from keys_of(_followed(value), full)
        if "items" in form:
            yield from keys_of(_followed(form["items"]), name)


def _followed(value: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in value:
        return SCHEMA["$defs"][value["$ref"].rpartition("/")[2]]  # type: ignore[no-any-return]
    return value


def test_every_key_is_in_it_and_no_other() -> None:
    declared = {key.name.replace("[]", "") for key in KEYS}
    sections = {name.rpartition(".")[0] for name in declared} - {""}
    inline = {"upstream", "schedules", "pace.quiet_hours", "data.expect"}
    found = {key for key in keys_of(SCHEMA) if key.rpartition(".")[0] not in inline}
    assert found == declared | sections


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_every_key_is_described_and_its_example_and_default_are_taken(key: Any) -> None:
    assert key.meaning.endswith(".")
    assert complaints(as_editors_read(with_key(key.name, key.example))) == []
    if key.default.startswith("`"):
        assert complaints(as_editors_read(with_key(key.name, key.default.strip("`")))) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("modle", "churn"),
        ("model", "models:/churn"),
        ("alias", "challenger"),
        ("data.pth", "x"),
        ("data.path", "/srv/drops/churn"),
        ("data.complete", "30s"),
        ("data.complete.settle", "30"),
        ("data.complete.settle", "half an hour"),
        ("data.polling", '"true"'),
        ("data.polling", "yes"),
        ("data.window", "180"),
        ("data.holdout", "95%x"),
        ("data.holdout", "2.0"),
        ("data.shape", "8"),
        ("data.shape", "[8, 0]"),
        ("data.features", "age"),
        ("data.missing", "ignore"),
        ("data.model_outputs", "logit"),
        ("data.expect", "{age: {at_lest: 0}}"),
        ("data.expect", "{}"),
        ("train.mode", "warm-start"),
        ("train.retries", "-1"),
        ("train.retries", '"2"'),
        ("train.retries", "1.5"),
        ("train.hyperparameters", "[1]"),
        ("train.limits.memory", "8"),
        ("train.limits.memory", "8 gigabytes"),
        ("train.limits.gpus", "65"),
        ("train.with", "our_package.training"),
        ("train.python", "python3"),
        ("retrain[].wen", "data.new_rows > 0"),
        ("retrain[].observe", "maybe"),
        ("retrain[].train", "refit"),
        ("retrain[].train", "{mode: new}"),
        ("retrain[].require", "[{metric: acuracy, better_by: 0}]"),
        ("retrain[].require", "[]"),
        ("pace.per_day", "0"),
        ("pace.per_day", "four"),
        ("promote.require[].metric", "acuracy"),
        ("promote.require[].better_by", "-1"),
        ("promote.require[].better_by", '"0"'),
        ("promote.require[].min_rows", "none"),
        ("promote.confidence", "20%x"),
        ("promote.inconclusive", "retry"),
        ("promote.inconclusive", "{}"),
        ("promote.inconclusive.then", "drop"),
        ("promote.approval", "manual"),
        ("promote.after_promotion", "5000 rows"),
        ("promote.after_promotion", "{if_worse: notify}"),
        ("promote.register", "some"),
        ("schedules", "0 3 * * sun"),
        ("schedules", '{weekly: {corn: "0 3 * * sun"}}'),
        ("schedules", '{"every week": "0 3 * * sun"}'),
        ("schedules", "{weekly: {timezone: UTC}}"),
        ("pace.quiet_hours", '"22:00-06:00"'),
        ("pace.quiet_hours", '{from: "22:00"}'),
        ("pace.quiet_hours", "{from: ten, to: six}"),
        ("train.search", "40"),
        ("train.search", "{trials: 0, metric: log_loss}"),
        ("train.search", "{trials: 4, metric: model_mb}"),
        ("train.search", "{trials: 4, metric: log_loss, timeout: 1h}"),
        ("models", "{except: x}"),
        ("upstream", "embeddings"),
        ("upstream", "{text-embeddings: x}"),
        ("upstream", "{a: {alias: champion}}"),
    ],
)
def test_typical_mistakes_are_refused_by_the_reader_and_underlined_by_editors(key: str, value: str) -> None:
    text = with_key(key, value)
    assert not is_accepted(text)
    assert complaints(as_editors_read(text))


def test_a_line_needs_exactly_one_claim_and_a_policy_its_sections() -> None:
    text = with_key("promote.require[].metric", "accuracy")
    two = text.replace("better_by: 0", "better_by: 0\n        at_least: 0.5")
    for changed in (two, text.replace("      better_by: 0\n", ""), text.partition("promote:")[0]):
        assert changed != text
        assert not is_accepted(changed)
        assert complaints(as_editors_read(changed))


# What the reader takes the schema takes: policies changed at random.

LEAVES = st.sampled_from(
    [
        "x", "age", "30s", "2h", "14d", "20%", "0.2", "5000 rows", "12 files", "all", "keep", "ask", "required",
        "refit", "incremental", "accuracy", "rmse", "log_loss", "model_mb", "yes", "true", "logits", "value", "8GiB",
        "winners", "skip", "rollback", "data.new_rows > 10", "a.b:c", "/usr/bin/python3", "{name}.done", "/srv/x/*.csv",
        0, 1, 2, 7, 300, -1, 0.5, 0.001, 95.5, True, False, ["a", "b"], [1, 2], ["x"], [8, 8], [], {}, {"newest": "7d"},
        {"column": "y"}, {"settle": "5s"}, {"within": "2d"}, {"age": {"at_least": 0}}, {"a": "text-embeddings"},
        {"metric": "mae", "better_by": 0}, [{"metric": "accuracy", "at_least": 0.5}], {"watch": "500 rows"},
        {"a": {"model": "m", "alias": "best"}}, {"low": 1}, {"epochs": 3},
    ]
)  # fmt: skip
NAMES = st.sampled_from(sorted({word for key in KEYS for word in key.name.replace("[]", "").split(".")} | {"other"}))
TREES = [as_editors_read(path.read_text("utf-8")) for path in POLICIES]
TREES += [as_editors_read(text) for page in PAGES for text in blocks(page, "yaml")]
TREES += [as_editors_read(with_key(key.name, key.example)) for key in KEYS]


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with a key or an index in it."""
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inside:
        yield tree, key
        yield from places(value)


@st.composite
def changed_policies(draw: st.DrawFn) -> Any:
    tree = copy.deepcopy(draw(st.sampled_from(TREES)))
    for _ in range(draw(st.integers(1, 2))):
        container, key = draw(st.sampled_from(list(places(tree)) or [(tree, "model")]))
        match draw(st.sampled_from(["replace", "replace", "add", "remove"])):
            case "remove":
                container.pop(key)
            case "add" if isinstance(container, dict):
                container[draw(NAMES)] = copy.deepcopy(draw(LEAVES))
            case _:
                container[key] = copy.deepcopy(draw(LEAVES))
    return tree


@given(changed_policies())
@settings(max_examples=400, deadline=None)
def test_what_the_reader_takes_editors_do_not_underline(policy: Any) -> None:
    if is_accepted(json.dumps(policy)):
        assert complaints(policy) == []


@given(st.sampled_from(TREES), st.data())
@settings(max_examples=200, deadline=None)
def test_a_key_that_is_none_is_underlined_wherever_the_reader_refuses_it(tree: Any, data: st.DataObject) -> None:
    policy = copy.deepcopy(tree)
    container, key = data.draw(st.sampled_from(list(places(policy))))
    place = container[key] if isinstance(container[key], dict) else policy
    place["not_a_key"] = {"x": "y"}
    assert is_accepted(json.dumps(policy)) == (complaints(policy) == [])
