"""What can be seen wrong in a rule word by word, without knowing its types.

Each check names what to write instead; what needs the grammar or the types is left to CEL.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import pairwise

from retrain_daemon.core.complaints import ExpressionProblem, closest, problem_at
from retrain_daemon.core.tokens import Sort, Token, closing, is_decimal, is_zero
from retrain_daemon.core.vocabulary import FACTS, OUTCOMES, TOLD, Kind

_INSTEAD = {"and": "&&", "or": "||", "not": "!", "=": "==", "=>": ">=", "=<": "<=", "<>": "!=", "&": "&&", "|": "||"}
_CAPITALS = {"True": "true", "False": "false", "TRUE": "true", "FALSE": "false", "None": "null"}
#: What goes over each value of a list.
LOOPS = frozenset({"all", "exists", "exists_one", "map", "filter"})
#: A loop in a loop is enough: each one more takes as many times longer as a list is long.
_DEEPEST = 2
_DECIMALS = frozenset({Kind.DECIMAL, Kind.LIST, Kind.MAP})
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def check_words(source: str, tokens: tuple[Token, ...]) -> None:
    """Raise ExpressionProblem for what can be seen word by word, before CEL reads the rule."""
    if not tokens:
        raise ExpressionProblem("The rule is empty.", "Write a comparison, such as data.new_rows >= 10000.")
    for index, token in enumerate(tokens):
        before = tokens[index - 1] if index else None
        after = tokens[index + 1] if index + 1 < len(tokens) else None
        for check in _CHECKS[token.sort]:
            found = check(token, before, after)
            if found:
                raise problem_at(source, token.start, *found)
    _refuse_unsafe_division(source, tokens)


_Found = tuple[str, str] | None
_Neighbour = Token | None


def _foreign_word(token: Token, before: _Neighbour, after: _Neighbour) -> _Found:
    if token.text in _INSTEAD:
        return f"`{token.text}` is not an operator of rules.", f"Write {_INSTEAD[token.text]}."
    if token.text in _CAPITALS:
        return f"`{token.text}` is not known.", f"Write {_CAPITALS[token.text]}."
    return None


def _open_quote(token: Token, before: _Neighbour, after: _Neighbour) -> _Found:
    if token.text in ('"', "'"):
        return "A quote is not closed.", "Write the text on one line with a quote at each end."
    return None


def _hidden_type(token: Token, before: _Neighbour, after: _Neighbour) -> _Found:
    if token.text == "dyn" and after is not None and after.text == "(":
        return "`dyn` hides a type from the check.", "Compare values of one type; int(), double() and string() convert."
    return None


def _glued(token: Token, before: _Neighbour, after: _Neighbour) -> _Found:
    if after is None or after.start != token.end or after.sort is not Sort.NAME:
        return None
    written = token.text + after.text
    if after.text in _UNITS:
        return f"`{written}` is not a duration in a rule.", f"Write {_UNITS[after.text]}({token.text})."
    if re.fullmatch(r"_[\d_]+", after.text):
        return f"`{written}` is not a number.", f"Write {written.replace('_', '')}."
    return f"`{written}` is not a number.", "Write all digits, such as 10000."


def _endless(token: Token, before: _Neighbour, after: _Neighbour) -> _Found:
    decimal = token.text.rstrip("uU")
    if "x" not in decimal.lower() and not math.isfinite(float(decimal)):
        return f"`{token.text}` is too large.", "Write a finite number."
    return None


def _zero_divisor(token: Token, before: _Neighbour, after: _Neighbour) -> _Found:
    if before is not None and before.text in "/%" and is_zero(token):
        return "The rule divides by zero.", "Write another divisor."
    return None


_Check = Callable[[Token, _Neighbour, _Neighbour], _Found]
_CHECKS: dict[Sort, tuple[_Check, ...]] = {
    Sort.NAME: (_foreign_word, _hidden_type),
    Sort.NUMBER: (_glued, _endless, _zero_divisor),
    Sort.SIGN: (_foreign_word, _open_quote),
    Sort.QUOTED: (),
}


def _refuse_unsafe_division(source: str, tokens: tuple[Token, ...]) -> None:
    """Decimal numbers divided by zero give infinity, and infinity is larger than any threshold: it would hold."""
    decimal = any(token.text == "double" or is_decimal(token) or _is_fact_of_decimals(token) for token in tokens)
    for token, after in pairwise(tokens):
        if decimal and token.text == "/" and after.sort is not Sort.NUMBER:
            raise problem_at(
                source,
                token.start,
                "A decimal number is divided by something that can be zero.",
                "Multiply instead: write a * 10 > b for a / b > 0.1.",
            )


def _is_fact_of_decimals(token: Token) -> bool:
    """Such as champion.score.roc_auc and champion.scores.roc_auc.last."""
    names = (token.text, token.text.rsplit(".", 1)[0]) if token.sort is Sort.NAME else ()
    return any(FACTS[name].kind in _DECIMALS for name in names if name in FACTS)


def check_lists(source: str, tokens: tuple[Token, ...]) -> None:
    """Raise ExpressionProblem for loops in loops in loops, a name in a loop that is a fact's, and `last` of none."""
    ends: list[int] = []
    for index, token in enumerate(tokens[:-1]):
        ends = [end for end in ends if end > index]
        word = token.text.rsplit(".", 1)[-1] if token.sort is Sort.NAME else ""
        if tokens[index + 1].text != "(":
            continue
        if word == "last" and (tokens[index + 2].text == "-" or is_zero(tokens[index + 2])):
            raise problem_at(source, tokens[index + 2].start, "`last` takes how many of the newest.", "Write last(5).")
        if word not in LOOPS:
            continue
        ends.append(closing(tokens, index + 1) or len(tokens))
        if len(ends) > _DEEPEST:
            raise problem_at(source, token.start, f"`{word}` stands in {len(ends) - 1} others.", "Split the rule.")
        _refuse_taken_name(source, tokens[index + 2])


def _refuse_taken_name(source: str, name: Token) -> None:
    """What a loop calls a value would hide the fact."""
    taken = {fact.split(".", 1)[0] for fact in TOLD}
    if name.text in taken:
        raise problem_at(source, name.start, f"`{name.text}` is the name of facts.", "Write another one, such as s.")


def check_outcomes(source: str, tokens: tuple[Token, ...]) -> None:
    """Raise ExpressionProblem where last.outcome is compared with a text it can never be."""
    for first, sign, second in zip(tokens, tokens[1:], tokens[2:], strict=False):
        for name, text in ((first, second), (second, first)):
            if name.text != "last.outcome" or sign.text not in ("==", "!=") or text.sort is not Sort.QUOTED:
                continue
            if text.text.strip("\"'") not in OUTCOMES:
                close = closest(text.text.strip("\"'"), OUTCOMES)
                hint = f'Did you mean "{close}"?' if close else f"It is one of: {', '.join(OUTCOMES)}."
                raise problem_at(source, text.start, f"last.outcome is never {text.text}.", hint)
