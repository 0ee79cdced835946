"""Fleets become policies: of each registered model that matches, one of its own.

Pure given which models there are. A policy that names a model goes before every fleet; two fleets never settle by
themselves which of them a model belongs to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from retrain_daemon.core.names import Listing, has_wildcards, matches, why_no_folder
from retrain_daemon.core.policy import Policy
from retrain_daemon.policies.fleet import Fleet
from retrain_daemon.policies.nodes import Problem, shown_path
from retrain_daemon.policies.units import shown_text

#: So many models are named in one sentence.
_NAMED = 3


@dataclass(frozen=True)
class Expanded:
    """The policy of each model, models that several fleets claim, and what is legal but surely not meant."""

    policies: Mapping[str, Policy]
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def expand(
    policies: Collection[Policy], fleets: Collection[Fleet], named: Collection[str],
    models: Mapping[str, Listing], before: Mapping[str, Policy], had: Mapping[str, str],
) -> Expanded:  # fmt: skip
    """Given what files say, and by each fleet's file what is known of the models there are, the policy of each model.

    `named` are models that some file names: no fleet takes them up, as what the file says may only be wrong at the
    moment. A model that was in force by one of the fleets that match it stays with that one: `had` is the file of each
    model that was in force, also in an earlier life.
    """
    own = {policy.model: policy for policy in policies}
    taken = {fleet.source: sorted(filter(fleet.models.takes, models[fleet.source].names)) for fleet in fleets}
    possible = {file: [name for name in names if not why_no_folder(name)] for file, names in taken.items()}
    claims = _claims(possible, own.keys(), named, had)
    holders = {name: _holder(files, had.get(name)) for name, files in claims.items()}
    by_file = {fleet.source: fleet for fleet in fleets}
    of = {name: _policy(by_file[file], name, before) for name, file in holders.items() if file is not None}
    warnings = (*_left_out(fleets, taken), *_without_models(fleets, models))
    return Expanded({**own, **of}, _clashes(claims, holders, by_file), warnings)


def _claims(
    possible: Mapping[str, Iterable[str]], own: Collection[str], named: Collection[str], had: Mapping[str, str]
) -> dict[str, list[str]]:
    """The files of the fleets that each model may belong to."""
    claims: dict[str, list[str]] = {}
    for file, names in possible.items():
        for name in names:
            if name not in own and (name not in named or had.get(name) == file):
                claims.setdefault(name, []).append(file)
    return claims


def _holder(files: list[str], before: str | None) -> str | None:
    """The one fleet, or of several the one that the model was in before."""
    if len(files) == 1:
        return files[0]
    return before if before in files else None


def _policy(fleet: Fleet, model: str, before: Mapping[str, Policy]) -> Policy:
    """The one from before, where the file says the same: with a thousand models it is cheap to compare."""
    known = before.get(model)
    if known is not None and (known.source, known.digest) == (fleet.source, fleet.template.digest):
        return known
    return fleet.policy_for(model)


def _clashes(
    claims: Mapping[str, list[str]], holders: Mapping[str, str | None], fleets: Mapping[str, Fleet]
) -> tuple[Problem, ...]:
    """For each fleet that does not get models, another one that matches them as well."""
    clashes: dict[tuple[str, str], list[str]] = {}
    for name, files in claims.items():
        for file in files:
            if len(files) > 1 and file != holders[name]:
                other = holders[name] or next(each for each in files if each != file)
                clashes.setdefault((file, other), []).append(name)
    return tuple(_clash(fleets[file], fleets[other], names) for (file, other), names in clashes.items())


def _clash(fleet: Fleet, other: Fleet, names: list[str]) -> Problem:
    said = "model matches" if len(names) == 1 else "models match"
    message = f"The {said} {shown_path(other.source)}:{other.line} as well: {_listed(names)}."
    return _problem(fleet, message, "Name them in `except` of one of the two, or narrow a pattern.")


def _left_out(fleets: Iterable[Fleet], taken: Mapping[str, Iterable[str]]) -> Iterable[Problem]:
    """Models whose names cannot stand in a path."""
    for fleet in fleets:
        reasons: dict[str, list[str]] = {}
        for name in taken[fleet.source]:
            if why := why_no_folder(name):
                reasons.setdefault(why, []).append(name)
        for why, names in reasons.items():
            said = f"A model is left out, as its name {why}" if len(names) == 1 else f"Left out where the name {why}"
            hint = "Name it in `except`, or write a policy of its own."
            yield _problem(fleet, f"{said}: {_listed(names)}.", hint, warning=True)


def _without_models(fleets: Iterable[Fleet], models: Mapping[str, Listing]) -> Iterable[Problem]:
    for fleet in fleets:
        known = models[fleet.source]
        if known.covers(fleet.models.match) and (empty := [p for p in fleet.models.match if not _has(known, p)]):
            message = f"No registered model matches {_listed(empty)}."
            yield _problem(fleet, message, "Register one, or mind the spelling.", warning=True)


def _has(known: Listing, pattern: str) -> bool:
    """Whether any model matches."""
    if not has_wildcards(pattern):
        return pattern in known.names
    alone = frozenset((pattern,))
    return any(matches(name, alone) for name in known.names)


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"`{shown_text(name)}`" for name in names[:_NAMED])
    return f"{shown} and {len(names) - _NAMED:,} more" if len(names) > _NAMED else shown


def _problem(fleet: Fleet, message: str, hint: str, *, warning: bool = False) -> Problem:
    return Problem(shown_path(fleet.source), fleet.line, fleet.column, message, hint, warning=warning)
