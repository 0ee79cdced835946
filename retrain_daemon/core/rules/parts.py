"""The parts of a condition with their values: what holds, what does not, by how much, and what is not known.

Each part is computed by the same language as the whole, so that all of them together always say what the whole says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from retrain_daemon.core.policy import Names
from retrain_daemon.core.rules.anatomy import Anatomy, Joint, Loop, anatomy_of
from retrain_daemon.core.rules.programs import Program
from retrain_daemon.core.rules.shortfalls import shortfall, shown
from retrain_daemon.core.rules.vocabulary import Value, facts_of


@dataclass(frozen=True, kw_only=True)
class Part:
    """A condition or a part of one, by its `text` as written. `holds` is None where that is not known; then `missing`
    names the facts without a value, or a `problem` says why there is no answer.

    Of a comparison the `subject` has the `value` and misses by `gap`; `against` is the other side, unless that is a
    constant. `detail` is of what else it looks at: a list, and how many of it satisfy. What has `parts` is made of them
    as `joint` says, and has nothing else.
    """

    text: str
    holds: bool | None
    joint: Joint = Joint.NONE
    parts: tuple[Part, ...] = ()
    subject: str = ""
    value: str = ""
    against: str = ""
    gap: str = ""
    detail: str = ""
    missing: tuple[str, ...] = ()
    problem: str = ""

    def leaves(self) -> Iterator[Part]:
        """What it is made of in the end."""
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.leaves()


def parts_of(source: str, given: Names, known: Mapping[str, Value]) -> Part:
    """Given a rule that compiles with the names its policy gives, and by name the values that count as known, how each
    part stands.
    """
    return _part(anatomy_of(source, given), known, given)


def joined(joint: Joint, held: tuple[bool | None, ...]) -> bool | None:
    """Given whether the parts hold, in order, whether the whole does: a part that is not known matters only where the
    others do not settle it.
    """
    if joint is Joint.CHOICE:
        return None if held[0] is None else held[1] if held[0] else held[2]
    if joint is Joint.NOT:
        return None if held[0] is None else not held[0]
    settles = joint is Joint.ANY
    if settles in held:
        return settles
    return None if None in held else not settles


def conjuncts(condition: Part) -> tuple[Part, ...]:
    """What must all hold for a condition to hold: its parts where they are joined so, else itself."""
    return condition.parts if condition.joint is Joint.ALL else (condition,)


def missed(part: Part) -> Iterator[str]:
    """A text for each comparison with a constant that is not met and would help if it were."""
    if part.joint in (Joint.ALL, Joint.ANY):
        for each in part.parts:
            yield from missed(each)
    elif part.gap and not part.against:
        yield f"{part.subject} is {part.value}, {part.gap}"


def _part(anatomy: Anatomy, known: Mapping[str, Value], given: Names) -> Part:
    if anatomy.program is not None:
        return _leaf(anatomy, anatomy.program, known, given)
    parts = tuple(_part(each, known, given) for each in anatomy.parts)
    return Part(
        text=anatomy.text,
        holds=joined(anatomy.joint, tuple(part.holds for part in parts)),
        joint=anatomy.joint,
        parts=parts,
    )


def _leaf(anatomy: Anatomy, program: Program, known: Mapping[str, Value], given: Names) -> Part:
    computed = program.compute(known)
    if computed.truth is None:
        missing = tuple(name for name in _facts(program, given) if name not in known)
        return Part(text=anatomy.text, holds=None, missing=missing, problem="" if missing else computed.problem)
    detail = _gone_over(anatomy.loop, known) if anatomy.loop else ""
    if anatomy.sides is None:
        return Part(text=anatomy.text, holds=computed.truth, detail=detail or _mentioned(program, known, given))
    sides = anatomy.sides
    left, right = _value(sides.left, known), _value(sides.right, known)
    return Part(
        text=anatomy.text,
        holds=computed.truth,
        subject=sides.left.text,
        value=shown(left),
        against="" if sides.limited else shown(right),
        gap="" if computed.truth else shortfall(left, sides.sign, right),
        detail=detail,
    )


def _value(side: Program, known: Mapping[str, Value]) -> object:
    return known[side.text] if side.text in known else side.compute(known).value


def _mentioned(program: Program, known: Mapping[str, Value], given: Names) -> str:
    """The values of the facts that something else than a comparison is about; a fact by itself is what it holds."""
    names = (name for name in _facts(program, given) if name != program.text)
    return ", ".join(f"{name} is {shown(known.get(name))}" for name in names)


def _facts(program: Program, given: Names) -> list[str]:
    """The facts that it mentions."""
    return sorted(program.names & facts_of(given).keys())


def _gone_over(loop: Loop, known: Mapping[str, Value]) -> str:
    """`1 of 3: 0.7, 0.9, 0.85`: so many satisfy."""
    values = loop.over.compute(known).value
    if not isinstance(values, list | tuple | Mapping):
        return ""
    satisfying = loop.satisfying.compute(known).value if loop.satisfying else None
    count = f"{len(satisfying)} of {len(values)}: " if isinstance(satisfying, list | tuple) else ""
    return f"{count}{shown(values)}"
