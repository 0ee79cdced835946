"""What can be seen wrong in the form of a rule before CEL reads it: brackets, chains, percentages, loops.

Like `words.py`, but about how words stand together. Each check names what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from retrain_daemon.core.rules.complaints import ExpressionProblem, problem_at
from retrain_daemon.core.rules.tokens import Sort, Token, closing
from retrain_daemon.core.rules.vocabulary import FACTS, Kind

#: What goes over each value of a list.
LOOPS = frozenset({"all", "exists", "exists_one", "map", "filter"})
#: Rules see the scores of so many files.
_MOST_SCORES = 20
_PAIRS = {"(": ")", "[": "]", "{": "}"}
_ORDER = frozenset({"<", "<=", ">", ">="})
_JOINS = frozenset({"&&", "||", "?", ":", ",", "!"})


def check_brackets(source: str, tokens: tuple[Token, ...]) -> None:
    """Raise ExpressionProblem at the first bracket without its other half."""
    opened: list[Token] = []
    for token in tokens:
        if token.text in _PAIRS:
            opened.append(token)
        elif token.text in _PAIRS.values() and (not opened or _PAIRS[opened.pop().text] != token.text):
            raise problem_at(source, token.start, f"Nothing was opened that `{token.text}` closes.", "Take it out.")
    if opened:
        other = _PAIRS[opened[-1].text]
        raise problem_at(source, opened[-1].start, f"A `{other}` is missing.", f"Write `{other}` where it closes this.")


def check_forms(source: str, tokens: tuple[Token, ...]) -> None:
    """Raise ExpressionProblem for words that are well by themselves and not together."""
    for check in (_percentages, _chains, _thousands, _positions, _loops, _lists, _needless):
        for problem in check(source, tokens):
            raise problem


def _percentages(source: str, tokens: tuple[Token, ...]) -> Iterator[ExpressionProblem]:
    """Behind a number `%` is the rest of a division where something follows that can divide."""
    for index, (number, sign) in enumerate(pairwise(tokens)):
        after = tokens[index + 2] if index + 2 < len(tokens) else None
        divides = after is not None and (after.sort is not Sort.SIGN or after.text in ("(", "-"))
        if number.sort is Sort.NUMBER and sign.text == "%" and not divides:
            share = float(number.text.rstrip("uU")) / 100 if "x" not in number.text.lower() else 0.05
            yield problem_at(source, number.start, "A rule has no percentages.", f"Write {share:g}.")


def _chains(source: str, tokens: tuple[Token, ...]) -> Iterator[ExpressionProblem]:
    """`0 < x < 5` compares what is true or false with 5."""
    begun: list[list[Token]] = [[]]
    for token in tokens:
        if token.text in _PAIRS:
            begun.append([])
        elif token.text in _PAIRS.values():
            begun.pop()
        elif token.text in _JOINS:
            begun[-1] = []
        elif token.text in _ORDER:
            begun[-1].append(token)
            if len(begun[-1]) == 2:
                yield _chain(source, tokens, *begun[-1])


def _chain(source: str, tokens: tuple[Token, ...], first: Token, second: Token) -> ExpressionProblem:
    at, to = tokens.index(first), tokens.index(second)
    low = tokens[at - 1].text if at else "a"
    high = tokens[to + 1].text if to + 1 < len(tokens) else "b"
    middle = source[first.end : second.start].strip()
    if not middle:
        written = source[first.start : second.end]
        return problem_at(source, first.start, f"`{written}` is not an operator of rules.", f"Write {first.text}.")
    hint = f"Write {low} {first.text} {middle} && {middle} {second.text} {high}."
    return problem_at(source, second.start, "Comparisons do not make chains.", hint)


def _thousands(source: str, tokens: tuple[Token, ...]) -> Iterator[ExpressionProblem]:
    """A comma in a number, where nothing takes a list."""
    depth = sum(token.text in _PAIRS for token in tokens[:1])
    for index, token in enumerate(tokens[1:-1], 1):
        depth += (token.text in _PAIRS) - (token.text in _PAIRS.values())
        first, second = tokens[index - 1], tokens[index + 1]
        glued = first.end == token.start and token.end == second.start
        if token.text != "," or depth or not glued or {first.sort, second.sort} != {Sort.NUMBER}:
            continue
        whole = len(second.text) == 3 and first.text != "0"
        hint = f"Write {first.text}{second.text} without a comma." if whole else f"Write {first.text}.{second.text}."
        yield problem_at(source, first.start, f"`{first.text},{second.text}` is not a number.", hint)


def _positions(source: str, tokens: tuple[Token, ...]) -> Iterator[ExpressionProblem]:
    """Scores are counted from 0, the oldest first: none stands below that, nor behind the most that are kept."""
    for index, (name, bracket) in enumerate(pairwise(tokens)):
        end = closing(tokens, index + 1) if bracket.text == "[" and name.text.startswith("champion.scores.") else None
        place = "".join(token.text for token in tokens[index + 2 : end]) if end else ""
        if not re.fullmatch(r"-?\d{1,9}", place) or 0 <= int(place) < _MOST_SCORES:
            continue
        message = f"`{name.text}[{place}]` is never there: of at most {_MOST_SCORES} scores the oldest is [0]."
        yield problem_at(source, tokens[index + 2].start, message, f"The newest is {name.text}.last(1)[0].")


def _loops(source: str, tokens: tuple[Token, ...]) -> Iterator[ExpressionProblem]:
    """all, exists and the others take a name for each value before what is asked of it."""
    for index, (token, after) in enumerate(pairwise(tokens)):
        word = token.text.rsplit(".", 1)[-1]
        if token.sort is Sort.NAME and word in LOOPS and after.text == "(" and word != token.text:
            inside = tokens[index + 2 : closing(tokens, index + 1)]
            if not any(part.text == "," for part in inside):
                place = token.end - len(word)
                message = f"`{word}` takes a name for each value, and what is asked of it."
                yield problem_at(source, place, message, f"Write .{word}(s, s < 0.8).")


def _lists(source: str, tokens: tuple[Token, ...]) -> Iterator[ExpressionProblem]:
    """A list after `in` stands in square brackets."""
    for index, (token, after) in enumerate(pairwise(tokens)):
        if token.text != "in" or after.text != "(":
            continue
        end = closing(tokens, index + 1)
        inside = tokens[index + 2 : end]
        if end is not None and any(part.text == "," for part in inside):
            listed = source[after.end : tokens[end].start]
            yield problem_at(source, after.start, "A list stands in square brackets.", f"Write [{listed}].")


def _needless(source: str, tokens: tuple[Token, ...]) -> Iterator[ExpressionProblem]:
    """`has` asks for the key of a map; of a fact it asks nothing."""
    for first, _, name in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if first.text == "has" and name.text in FACTS and FACTS[name.text].kind is not Kind.MAP:
            hint = "Leave it out: a rule over a fact that is not known does not hold anyway."
            yield problem_at(source, first.start, f"`has` cannot ask whether {name.text} is known.", hint)
