"""The JSON Schema of a policy file, for editors that complete and underline: made of the keys in `reference.py`.

It is no second reader: what only keys together show, such as a metric that does not fit the target, it does not know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from retrain_daemon.core.policy import Claim
from retrain_daemon.policies.reference import KEYS, Key
from retrain_daemon.policies.value_schemas import Json, Schema, either, list_of, section

#: Keys of which a mapping needs one, or exactly one.
_CLAIMS = tuple(claim.value for claim in Claim)
_EXACTLY_ONE = {
    "": ("model", "models"),
    "promote.require[]": _CLAIMS,
    "data.complete": ("settle", "marker"),
    "data.target": ("column", "columns"),
}
#: Not required where something else stands for it, or another mapping that this one is merged over.
_ALTERNATIVES = frozenset({"data.target.column", "train.search.trials", "train.search.metric"})
_REQUIRED_SECTIONS = ("data", "retrain", "promote")
_NOT_EMPTY = ("promote.inconclusive", "promote.approval", "data.complete")
#: What rules say as well.
_SHARED = ("train", "promote.require")
_TITLES = {
    "data": "Where labelled rows come from and what they mean.",
    "train": "How to train: the defaults for every rule, and the recipe of a person's request.",
    "train.limits": "What a training may take.",
    "retrain": "When to retrain: the first rule that holds decides.",
    "pace": "How often attempts may start.",
    "promote": "What must hold before the alias moves, and what follows.",
    "promote.require": "Every line must hold.",
}


@dataclass
class _Place:
    """A key, or a mapping without a declaration of its own, and what is below it."""

    key: Key | None = None
    below: dict[str, _Place] = field(default_factory=dict)


def policy_schema() -> Schema:
    """The schema, as a JSON value."""
    root = _Place()
    for key in KEYS:
        place = root
        for word in key.name.split("."):
            place = place.below.setdefault(word, _Place())
        place.key = key
    shared = {
        "train": _schema("train", root.below["train"]),
        "require": list_of(_schema("promote.require[]", root.below["promote"].below["require[]"])),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A policy of retrain_daemon",
        **_mapping("", root),
        "$defs": shared,
    }


def schema_text() -> str:
    """The schema as it is printed."""
    return json.dumps(policy_schema(), indent=1, ensure_ascii=False) + "\n"


def _schema(name: str, place: _Place) -> Schema:
    """What a key takes: a value, a mapping of the keys below it, or either."""
    forms: list[Schema] = []
    if place.key is not None and place.key.value is not None:
        forms.append(place.key.value)
    if place.below:
        forms.append(_mapping(name, place))
    taken = forms[0] if len(forms) == 1 else either(*forms)
    return {**_said(name, place), **taken}


def _said(name: str, place: _Place) -> Mapping[str, Json]:
    if place.key is None:
        return {"description": _TITLES[name]} if name in _TITLES else {}
    default = place.key.default
    return {
        "description": place.key.meaning,
        **({"default": _value(default.strip("`"))} if default.startswith("`") else {}),
        "examples": [_value(place.key.example)],
    }


def _value(written: str) -> Json:
    value: Json = yaml.safe_load(written)
    return value


def _mapping(name: str, place: _Place) -> Schema:
    prefix = f"{name}." if name else ""
    properties: dict[str, Json] = {}
    required: list[str] = [] if name else [*_REQUIRED_SECTIONS]
    for word, each in place.below.items():
        full = f"{prefix}{word}"
        plain = word.removesuffix("[]")
        properties[plain] = _property(full, each)
        if name and full not in _ALTERNATIVES and _is_required(full, each):
            required.append(plain)
    more: dict[str, Json] = {"minProperties": 1} if name in _NOT_EMPTY else {}
    if name in _EXACTLY_ONE:
        more["oneOf"] = [{"required": [key]} for key in _EXACTLY_ONE[name]]
    return section(properties, required, **more)


def _property(full: str, place: _Place) -> Schema:
    plain = full.removesuffix("[]")
    if plain in _SHARED:
        return {"description": _TITLES[plain], "$ref": f"#/$defs/{plain.rpartition('.')[2]}"}
    if full != plain:
        return {"description": _TITLES[plain], **list_of(_schema(full, place))}
    return _schema(full, place)


def _is_required(full: str, place: _Place) -> bool:
    if place.key is not None:
        return place.key.is_required
    return full == "promote.require[]"
