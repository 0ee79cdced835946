"""One policy file: its text becomes a Policy, or problems with line and column, all at once.

Pure given the text. Finding and watching files is for `folder.py`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from retrain_daemon.core.names import has_wildcards
from retrain_daemon.core.policy import (
    DEFAULT_ALIAS,
    PREVIOUS_ALIAS,
    DataSpec,
    Names,
    Pace,
    Policy,
    Promotion,
    Recipe,
    Rule,
    Schedule,
    Upstream,
)
from retrain_daemon.core.rules.expression import ExpressionProblem, compile_rule
from retrain_daemon.core.rules.vocabulary import metric_of
from retrain_daemon.policies.data import read_data
from retrain_daemon.policies.fleet import TEMPLATE, Fleet, check_templates, read_match
from retrain_daemon.policies.names import names_in
from retrain_daemon.policies.nodes import Document, MappingNode, Node, Problem, Scalar, Sequence, Wrong, read_nodes
from retrain_daemon.policies.promotion import (
    check_metrics,
    check_rule_metrics,
    check_scores,
    check_watch,
    read_promotion,
)
from retrain_daemon.policies.requirements import read_requirements
from retrain_daemon.policies.schedules import read_quiet_hours, read_schedules
from retrain_daemon.policies.search import check_search_metrics
from retrain_daemon.policies.training import read_recipe
from retrain_daemon.policies.units import at_most, count, duration, mapping, sequence, switch, text, word
from retrain_daemon.policies.upstream import check_fleet, read_upstream
from retrain_daemon.policies.warnings import warnings_of
from retrain_daemon.secrets import has_credentials

MAX_BYTES = 1_000_000
_MOST_RULES = 100
#: All rules of a file together: reading and deciding is one model's turn, and others wait for it.
_MOST_RULE_LETTERS = 20_000

_KEYS = ("model", "models", "alias", "description", "schedules", "upstream", "data", "train", "retrain", "pace",
         "promote")  # fmt: skip
_REQUIRED = {
    "data": "Write `data:` and under it `path: /srv/drops/churn/*.csv` and `target: churned`.",
    "retrain": "Write `retrain:` and under it rules such as `- {name: fresh rows, when: data.new_rows >= 10000}`.",
    "promote": "Write `promote:` and under it `require:` with lines such as `- {metric: accuracy, better_by: 0}`.",
}
# What people look for in a policy that is said elsewhere.
_ELSEWHERE = {
    "notify": "Who is told is said in the settings, `[notify]`, for all models.",
}
# Ends of lines that only some programs take for such would give each of them other numbers of lines.
_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\r(?!\n)")


@dataclass(frozen=True)
class FileReading:
    """What one file says: a policy or a fleet of them, perhaps with warnings, or why there is none; `line` and `column`
    are where it names its models. `names` is the one model it is about, also where something else in it is wrong; ""
    for a fleet, and where that cannot be told.
    """

    policy: Policy | None
    problems: tuple[Problem, ...]
    line: int = 1
    column: int = 1
    warnings: tuple[Problem, ...] = ()
    fleet: Fleet | None = None
    names: str = ""


def read_bytes(content: bytes, source: str, folder: str) -> FileReading:
    """Given the bytes of a policy file, what it says; `source` is its path, `folder` the one it lies in."""
    if len(content) > MAX_BYTES:
        message = f"The file has more than {MAX_BYTES:,} bytes: it is no policy."
        return FileReading(None, (Problem(source, 0, 0, message),))
    try:
        decoded = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        problem = Problem(source, line, column, "The file is not valid UTF-8 text.", "Save it as UTF-8.")
        return FileReading(None, (problem,))
    return read_text(decoded, source, folder)


def read_text(content: str, source: str, folder: str) -> FileReading:
    """Given the text of a policy file, what it says; never raises for what is in the text."""
    document = Document(source, content.removeprefix("\ufeff"))
    _note_credentials(document)
    if len(content) > MAX_BYTES:
        document.problem(1, 1, f"The file has more than {MAX_BYTES:,} characters: it is no policy.")
    elif found := _UNPRINTABLE.search(document.text):
        line = document.text.count("\n", 0, found.start()) + 1
        column = found.start() - document.text.rfind("\n", 0, found.start())
        name = "a NUL byte" if found[0] == "\0" else f"the character U+{ord(found[0]):04X}"
        document.problem(line, column, f"The file holds {name}, which no text has.", "Save it as plain text.")
    else:
        return _read_document(document, folder)
    return FileReading(None, tuple(document.problems))


def _note_credentials(document: Document) -> None:
    """The whole text is kept in the journal and in MLflow, comments too: no password may stand in it."""
    for number, line in enumerate(document.text.split("\n"), 1):
        if has_credentials(line):
            document.problem(
                number,
                1,
                "The line holds credentials, and the text of a policy is kept in the journal and in MLflow.",
                "Take them out; secrets that a training needs belong into the daemon's environment.",
            )


def _read_document(document: Document, folder: str) -> FileReading:
    root = read_nodes(document)
    if document.problems and root is None:
        return FileReading(None, tuple(document.problems))
    if not isinstance(root, MappingNode):
        document.problem(1, 1, "The file holds no policy.", "Begin with a line such as `model: churn`.")
        return FileReading(None, tuple(document.problems))
    policy, match = _policy(root, folder), read_match(root)
    if policy is not None and match is not None:
        check_fleet(root, match, policy.upstream)
    model = root.entries.get("models" if match else "model", root)
    problems = tuple(sorted(document.problems, key=lambda problem: (problem.line, problem.column)))
    reading = FileReading(None, problems, model.line, model.column, names=_named(root))
    if policy is None or problems:
        return reading
    digest = hashlib.sha256(document.text.encode()).hexdigest()
    named = replace(policy, source=document.source, text=document.text, digest=digest)
    warned = replace(reading, warnings=warnings_of(named))
    if match is not None:
        return replace(warned, fleet=Fleet(match, named, model.line, model.column))
    return replace(warned, policy=named)


def _named(root: MappingNode) -> str:
    """The one model that a file is about, whatever else is wrong in it."""
    try:
        return _model(root.entries["model"]) if "model" in root.entries else ""
    except Wrong:
        return ""


def _policy(root: MappingNode, folder: str) -> Policy | None:
    """The policy of a file; where problems were noted it is none, or holds placeholders."""
    root.expect(_KEYS, _ELSEWHERE).require(**_REQUIRED)
    check_templates(root)
    requested = root.take("train", lambda node: read_recipe(node, Recipe()), Recipe())
    data = root.take("data", lambda node: read_data(mapping(node), folder), None)
    promote = root.take("promote", read_promotion, None)
    if data is not None and promote is not None:
        check_metrics(root.entries["promote"], promote, data)
    model = root.take("model", _model, TEMPLATE)
    alias = root.take("alias", _alias, DEFAULT_ALIAS)
    description = root.take("description", text, "")
    schedules = root.take("schedules", read_schedules, _NO_SCHEDULES)
    upstream = root.take("upstream", lambda node: read_upstream(node, model, _model, _alias), _NO_UPSTREAM)
    given = Names(names_in(root.entries.get("schedules")), names_in(root.entries.get("upstream")))
    rules = root.take("retrain", lambda node: _rules(node, requested, given), _NO_RULES)
    if data is not None and promote is not None:
        _check_rules(root.entries.get("retrain"), rules, promote, data, given)
        check_watch(root.entries["promote"], promote, rules)
        check_search_metrics(root, promote, data)
    pace = root.take("pace", _pace, Pace())
    if data is None or promote is None:
        return None
    return Policy(
        model=model,
        alias=alias,
        description=description,
        data=data,
        requested=requested,
        rules=rules,
        pace=pace,
        promote=promote,
        schedules=schedules,
        upstream=upstream,
    )


def _model(node: Node) -> str:
    value = word(node)
    if "{" in value or has_wildcards(value):
        raise Wrong(f"`{node.name}` is one registered model.", 'Several are `models: {match: "churn-*"}`.')
    if value != value.strip() or any(sign in value for sign in "/:") or value in (".", "..") or len(value) > 250:
        message = f"`{node.name}` is no name of a registered model."
        raise Wrong(message, "MLflow takes neither `/` nor `:` nor spaces at the ends, and at most 250 characters.")
    return value


def _alias(node: Node) -> str:
    value = word(node)
    if value in (PREVIOUS_ALIAS, "challenger"):
        owner = "the daemon's way back" if value == PREVIOUS_ALIAS else "people's own candidates"
        raise Wrong(f"`{node.name}` cannot be `{value}`: it is kept for {owner}.", f"Write {DEFAULT_ALIAS}.")
    if value.lower() == "latest" or re.fullmatch(r"[vV]\d+", value):
        raise Wrong(f"`{node.name}` cannot be `{value}`: MLflow keeps it for itself.", f"Write {DEFAULT_ALIAS}.")
    if not re.fullmatch(r"[\w-]{1,255}", value):
        raise Wrong(f"`{node.name}` is no alias of MLflow.", "Write letters, digits, `_` and `-` only.")
    return value


_NO_RULES: tuple[Rule, ...] = ()
_NO_UPSTREAM: Mapping[str, Upstream] = {}
_NO_SCHEDULES: Mapping[str, Schedule] = {}


def _rules(node: Node, requested: Recipe, given: Names) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    names: set[str] = set()
    items = at_most(_MOST_RULES, sequence(node))
    _refuse_too_long(node, items)
    for item in items:
        rule = item.read(lambda entry: _rule(entry, requested, given), None)
        if rule is not None and rule.name and rule.name in names:
            item.problem(f"Two rules have the name `{rule.name}`.", "Name each rule after what it is for.")
        if rule is not None:
            rules.append(rule)
            names.add(rule.name)
    return tuple(rules)


def _refuse_too_long(node: Node, items: list[Node]) -> None:
    entries = (item.entries.get("when") for item in items if isinstance(item, MappingNode))
    letters = sum(len(when.value) for when in entries if isinstance(when, Scalar))
    if letters > _MOST_RULE_LETTERS:
        message = f"The rules of `{node.name}` have {letters:,} characters together; at most {_MOST_RULE_LETTERS:,} are"
        raise Wrong(f"{message} read.", "Write fewer or shorter rules.")


def _check_rules(
    node: Node | None, rules: tuple[Rule, ...], promote: Promotion, data: DataSpec, given: Names
) -> None:  # fmt: skip
    """Note rules over scores that there cannot be, and requirements of theirs that do not fit the policy."""
    items = node.items if isinstance(node, Sequence) and rules else []
    for item in filter(_is_mapping, items):
        when = item.entries.get("when") if isinstance(item, MappingNode) else None
        if isinstance(when, Scalar):
            with suppress(ExpressionProblem):  # noted before
                names = compile_rule(when.value, given).names
                check_scores(when, tuple(dict.fromkeys(filter(None, map(metric_of, names)))), promote, data)
    for item, rule in zip(filter(_is_mapping, items), rules, strict=True):
        check_rule_metrics(item, rule.require, promote, data)


def _is_mapping(node: Node) -> bool:
    """Whether it is a rule at all: nothing else was read as one."""
    return isinstance(node, MappingNode)


def _rule(node: Node, requested: Recipe, given: Names) -> Rule:
    section = mapping(node).expect(("name", "when", "train", "require", "observe"))
    section.require(
        name="Write what the rule is for, such as `name: enough fresh rows`.",
        when="Write a condition over facts, such as `when: data.new_rows >= 10000`.",
    )
    return Rule(
        name=section.take("name", word, ""),
        when=section.take("when", lambda entry: _when(entry, given), ""),
        recipe=section.take("train", lambda entry: read_recipe(entry, requested), requested),
        require=section.take("require", read_requirements, ()),
        observe=section.take("observe", switch, False),
    )


def _when(node: Node, given: Names) -> str:
    source = text(node)
    try:
        return compile_rule(source, given).source
    except ExpressionProblem as problem:
        raise Wrong(problem.message, problem.hint, (problem.line, problem.column)) from None


def _pace(node: Node) -> Pace:
    section = mapping(node).expect(("cooldown", "per_day", "quiet_hours"))
    return Pace(
        cooldown=section.take("cooldown", duration, None),
        per_day=section.take("per_day", count(1, 10_000), None),
        quiet_hours=section.take("quiet_hours", read_quiet_hours, ()),
    )
