"""JSON Schemas of single values of a policy, as `units.py` and its neighbours read them.

YAML gives texts, numbers and truth values where this project reads what is written; so a text may look like a number
here. What only a comparison with other keys shows is left to the reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from retrain_daemon.core.metrics import METRICS, MODEL_METRICS

#: A JSON value; schemas are such.
Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]
Schema = Mapping[str, Json]

_NUMBER = r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?"

TEXT: Schema = {"type": ["string", "number", "boolean"]}
SCALAR: Schema = {"type": ["string", "number", "boolean", "null"]}
LABEL: Schema = {"type": ["string", "number", "boolean"]}
NUMBER: Schema = {"type": "number"}
SWITCH: Schema = {"type": "boolean"}
NOTHING: Schema = {"type": "null"}
DURATION: Schema = {"type": "string", "pattern": "^[0-9]{1,9} ?(s|m|h|d|w)$"}
SIZE: Schema = {"type": "string", "pattern": "^[0-9]{1,9} ?(MB|GB|MiB|GiB)$"}
ROWS: Schema = {"type": "string", "pattern": "^[0-9]{1,12} ?rows?$"}
WINDOW: Schema = {"type": "string", "pattern": "^(all|[0-9]{1,9} ?(s|m|h|d|w)|[0-9]{1,12} ?(rows?|files?))$"}
MODEL: Schema = {"type": ["string", "number", "boolean"], "pattern": "^[^/:]+$", "maxLength": 250}
ALIAS: Schema = {
    "type": ["string", "number", "boolean"],
    "not": {"enum": ["previous_champion", "challenger", "latest"]},
}
PATH: Schema = {"type": "string", "pattern": r"\.(csv|csv\.gz|parquet|jsonl|arrow|feather|npz)$"}
MARKER: Schema = {"type": "string", "pattern": r"\{name\}"}
REFERENCE: Schema = {"type": "string", "pattern": r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"}
INTERPRETER: Schema = {"type": "string", "pattern": "^/"}
CRON: Schema = {"type": "string", "pattern": r"^\s*\S+(\s+\S+){4}\s*$"}
TIME_OF_DAY: Schema = {"type": "string", "pattern": "^[0-9]{1,2}:[0-9]{2}$"}
BOUND: Schema = {"type": ["number", "string"]}
METRIC: Schema = {"enum": [*METRICS, *MODEL_METRICS]}
PREDICTED_METRIC: Schema = {"enum": [*METRICS]}
#: What an expression can name.
NAME: Schema = {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}


def count(least: int, most: int = 10**12) -> Schema:
    """A whole number within bounds."""
    return {"type": "integer", "minimum": least, "maximum": most}


def number(least: float, most: float | None = None) -> Schema:
    """A number within bounds."""
    return {"type": "number", "minimum": least, **({} if most is None else {"maximum": most})}


def share(least: float, most: float) -> Schema:
    """A part of the whole, as a percentage or a number."""
    percentage = {"type": "string", "pattern": rf"^([0-9]{{1,3}}(\.[0-9]{{1,6}})? ?%|{_NUMBER})$"}
    return either(number(least, most), percentage)


def one_of(values: Iterable[str]) -> Schema:
    """One of some words."""
    return {"enum": [str(value) for value in values]}


def either(*schemas: Schema) -> Schema:
    """A value that any of these takes."""
    return {"anyOf": list(schemas)}


def list_of(item: Schema, least: int = 1, most: int | None = None) -> Schema:
    """A list."""
    return {"type": "array", "items": item, "minItems": least, **({} if most is None else {"maxItems": most})}


def named(value: Schema, names: Schema | None = None) -> Schema:
    """A mapping whose keys are names that the policy gives."""
    return {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": value,
        **({} if names is None else {"propertyNames": names}),
    }


def section(properties: Mapping[str, Json], required: Sequence[str] = (), **more: Json) -> Schema:
    """A mapping that takes these keys and no other."""
    needed: Schema = {"required": list(required)} if required else {}
    return {"type": "object", "properties": properties, **needed, "additionalProperties": False, **more}
