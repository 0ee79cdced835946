"""CEL: compiled texts over the facts of `vocabulary.py`, and what they give for values. No clock, no I/O.

The only module that knows the CEL package. In it an absent fact does not raise but gives a value of type ERROR whose
plain value is a truthy text, so whatever computes a value here asks for its type first.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial

from cel_expr_python import cel

from retrain_daemon.core.policy import Names
from retrain_daemon.core.rules.checked import Node, references_of, tree_of
from retrain_daemon.core.rules.vocabulary import HELPERS, NO_NAMES, Kind, Value, facts_of

_TYPES = {
    Kind.NUMBER: cel.Type.INT,
    Kind.TEXT: cel.Type.STRING,
    Kind.TRUTH: cel.Type.BOOL,
    Kind.SPAN: cel.Type.DURATION,
    Kind.MOMENT: cel.Type.TIMESTAMP,
    Kind.DECIMAL: cel.Type.DOUBLE,
    Kind.LIST: cel.Type.List(cel.Type.DOUBLE),
    Kind.MAP: cel.Type.Map(cel.Type.STRING, cel.Type.DOUBLE),
}
_FAILURES = (RuntimeError, TypeError, ValueError, OverflowError)
_ABSENT = re.compile(r'Key not found in map : (".*")')


class NotCompiled(Exception):
    """A text is no expression; says what CEL's compiler says."""


@dataclass(frozen=True)
class Computed:
    """A value, or where there is none a `problem` as a clause."""

    value: object = None
    problem: str = ""

    @property
    def truth(self) -> bool | None:
        """The value, if it is true or false."""
        return self.value if isinstance(self.value, bool) else None


@dataclass(frozen=True)
class Program:
    """A compiled text. `result` is CEL's name of the type of its value."""

    text: str
    result: str
    compiled: cel.Expression = field(compare=False, repr=False)

    @property
    def is_truth(self) -> bool:
        """Whether its value is true or false."""
        return self.result == str(cel.Type.BOOL)

    @cached_property
    def names(self) -> frozenset[str]:
        """The facts it refers to, and the variables of its loops."""
        return references_of(self.compiled.serialize())

    @cached_property
    def tree(self) -> Node:
        """Its outermost operator or function."""
        return tree_of(self.compiled.serialize())

    def compute(self, known: Mapping[str, Value]) -> Computed:
        """What it gives for the known values by name."""
        try:
            result = self.compiled.eval(data={name: _plain(known[name]) for name in self.names & known.keys()})
            value = result.plain_value()
        except _FAILURES as error:
            return Computed(problem=f"it cannot be computed: {error}")
        if result.type() != cel.Type.ERROR:
            return Computed(value)
        said = str(value).split(": ", 1)[-1]
        if absent := _ABSENT.search(said):
            return Computed(problem=f"no column {absent[1]} was measured")
        return Computed(problem=f"it cannot be computed: {said}")


@lru_cache(maxsize=16384)
def program_of(text: str, given: Names = NO_NAMES) -> Program:
    """Given a text and the names its policy gives, the program; raises NotCompiled."""
    try:
        compiled = _environment(given).compile(text)
    except _FAILURES as error:
        raise NotCompiled(str(error)) from error
    return Program(text, str(compiled.return_type()), compiled)


def is_known(value: Value) -> bool:
    """Whether a value counts: there is one, and no number in it is NaN or infinite."""
    if isinstance(value, tuple):
        return all(map(math.isfinite, value))
    if isinstance(value, Mapping):
        return all(map(math.isfinite, value.values()))
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _plain(value: Value) -> object:
    """As CEL takes it."""
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


@lru_cache(maxsize=256)
def _environment(given: Names) -> cel.Env:
    """The language of rules: the facts with their types, and the helper functions."""
    functions = [
        cel.FunctionDecl(
            name,
            [cel.Overload(f"{name}_int", cel.Type.DURATION, [cel.Type.INT], impl=partial(operator.mul, unit))],
        )
        for name, unit in HELPERS.items()
    ]
    numbers = _TYPES[Kind.LIST]
    last = cel.Overload("list_last_int", numbers, [numbers, cel.Type.INT], is_member=True, impl=_last)
    functions.append(cel.FunctionDecl("last", [last]))
    variables = {name: _TYPES[fact.kind] for name, fact in facts_of(given).items()}
    return cel.NewEnv(variables=variables, functions=functions)


def _last(values: list[float], count: int) -> list[float]:
    """The newest `count` of a list, or all where they are fewer. Of none every condition would hold."""
    if count < 1:
        raise ValueError(f"last({count}) is none of the newest")
    return values[-count:]
