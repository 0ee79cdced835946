"""`data.target` of a policy: the columns to predict, the classes in the order of the model's outputs."""

from __future__ import annotations

from retrain_daemon.core.policy import DataSpec, Outputs, Target
from retrain_daemon.policies.nodes import MappingNode, Node, Scalar, Wrong
from retrain_daemon.policies.units import anything, mapping, sequence, share, twice, word, words

Label = str | int | float | bool

NO_TARGET = Target(column="")
_KEYS = ("column", "columns", "positive", "classes", "unknown_classes")
_NO_CLASSES: tuple[Label, ...] = ()
_NO_COLUMNS: tuple[str, ...] = ()


def read_target(node: Node) -> Target:
    """A column by name, or a mapping that says more; what is wrong is noted."""
    if isinstance(node, Scalar):
        return Target(column=word(node))
    section = mapping(node).expect(_KEYS)
    columns = section.take("columns", _columns, _NO_COLUMNS)
    if "columns" not in section.entries:
        section.require(column="Write the name of the column to predict, such as `column: churned`.")
    elif "column" in section.entries:
        section.problem(f"`{section.name}` has both column and columns.", "Write columns for several outputs.")
    target = Target(
        column=columns[0] if columns else section.take("column", word, ""),
        positive=section.take("positive", _label, None),
        more=columns[1:],
        classes=section.take("classes", _classes, _NO_CLASSES),
        unknown_classes=section.take("unknown_classes", share(0.0, 0.5), 0.0),
    )
    _check(section, target)
    return target


def check_outputs(section: MappingNode, data: DataSpec) -> None:
    """Note where `model_outputs` and the target contradict each other."""
    outputs, target = data.model_outputs, data.target
    if outputs is None:
        return
    if outputs is Outputs.VALUE and target.classes:
        message = f"`{section.name}.model_outputs` is value, and the target has classes."
        section.entries["model_outputs"].problem(message, "Write logits or probabilities, or leave classes out.")
    if outputs is not Outputs.VALUE and not _says_outputs(section.entries.get("target")):
        message = f"`{section.name}.model_outputs` is {outputs.value}, and the target names no classes."
        hint = f"Write target: {{column: {target.column or 'X'}, classes: [...]}}, each in the order of the outputs."
        section.entries["model_outputs"].problem(message, hint)
    if outputs is not Outputs.VALUE and target.more:
        message = (
            f"`{section.name}.model_outputs` is {outputs.value}, and the target has {1 + len(target.more)} columns."
        )
        section.entries["model_outputs"].problem(message, "Several columns are values: write value.")


def _says_outputs(node: Node | None) -> bool:
    """Whether a target names classes or several columns, well or not: what is wrong with them is noted already."""
    return node is None or (isinstance(node, MappingNode) and bool(node.entries.keys() & {"classes", "columns"}))


def _check(section: MappingNode, target: Target) -> None:
    if target.more:
        for key in ("positive", "classes", "unknown_classes"):
            if key in section.entries:
                message = f"`{section.name}.{key}` is about classes, and several columns are values."
                section.entries[key].problem(message, "Leave it out, or name one column.")
    named = [_text(label) for label in target.classes]
    if target.positive is not None and named and _text(target.positive) not in named:
        message = f"`{section.name}.positive` is none of the classes ({', '.join(named)})."
        section.entries["positive"].problem(message, "Name one of them.")


def _columns(node: Node) -> tuple[str, ...]:
    names = words(node)
    if len(names) < 2:
        raise Wrong(f"`{node.name}` names one column.", f"Write `column: {names[0]}`.")
    return names


def _label(node: Node) -> Label:
    value = anything(node)
    if value is None or value == "":
        raise Wrong(f"`{node.name}` must be a class.", 'Write it as in the column, such as 1 or "yes".')
    return value


def _classes(node: Node) -> tuple[Label, ...]:
    labels = tuple(_label(item) for item in sequence(node))
    again = twice(tuple(map(_text, labels)))
    if again is not None:
        raise Wrong(f"`{node.name}` names `{again}` twice.", "Name each class once, in the order of the outputs.")
    if len(labels) < 2:
        raise Wrong(f"`{node.name}` names one class.", "Name every class, in the order of the model's outputs.")
    return labels


def _text(label: Label) -> str:
    """A class by its text, as it is compared with the labels of a file: 1 and 1.0 are the same."""
    if isinstance(label, bool):
        return str(label).lower()
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)
