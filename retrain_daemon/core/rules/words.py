"""What can be seen wrong in a rule word by word, without knowing its types.

Each check names what to write instead; what needs the grammar or the types is left to CEL.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from itertools import pairwise

from retrain_daemon.core.rules.complaints import ExpressionProblem, closest, problem_at
from retrain_daemon.core.rules.forms import LOOPS, check_brackets, check_forms
from retrain_daemon.core.rules.instead import span_of
from retrain_daemon.core.rules.tokens import Sort, Token, closing, is_decimal, is_zero
from retrain_daemon.core.rules.vocabulary import FACTS, HELPERS, OUTCOMES, TOLD, Kind

_INSTEAD = {
    "and": "&&", "or": "||", "not": "!", "is": "==", "=": "==", "=>": ">=", "=<": "<=", "<>": "!=", "&": "&&",
    "|": "||", ";": "&&", "\u2265": ">=", "\u2264": "<=", "\u2260": "!=", "\u2227": "&&", "\u2228": "||",
    "\u00ac": "!", "\u2212": "-", "\u00d7": "*", "\u201c": '"', "\u201d": '"', "\u201e": '"', "\u2018": "'",
    "\u2019": "'",
}  # fmt: skip
#: Words of other languages, with what a rule has for them.
_WORDS = {
    "if": "A rule is one condition: write what must hold, without `if`.",
    "between": "Write data.new_rows >= 1000 && data.new_rows <= 5000.",
    "timedelta": "Write days(7), hours(12) or minutes(30).",
    "null": "A rule over a fact that is not known does not hold anyway: leave the comparison out.",
    "NaN": "A rule over a number that is not known does not hold anyway: leave the comparison out.",
    "nan": "A rule over a number that is not known does not hold anyway: leave the comparison out.",
}
_SIGNS = {"#": "A comment begins with //.", "$": "A fact is written by its name alone.", "^": "Multiply instead."}
_CAPITALS = {"True": "true", "False": "false", "TRUE": "true", "FALSE": "false", "None": "null"}
_LARGEST = 2**63 - 1
#: A loop in a loop is enough: each one more takes as many times longer as a list is long.
_DEEPEST = 2
_DECIMALS = frozenset({Kind.DECIMAL, Kind.LIST, Kind.MAP})


def check_words(source: str, tokens: tuple[Token, ...]) -> None:
    """Raise ExpressionProblem for what can be seen word by word, before CEL reads the rule."""
    if not tokens:
        raise ExpressionProblem("The rule is empty.", "Write a comparison, such as data.new_rows >= 10000.")
    check_brackets(source, tokens)
    for index, token in enumerate(tokens):
        before = tokens[index - 1] if index else None
        after = tokens[index + 1] if index + 1 < len(tokens) else None
        for check in _CHECKS[token.sort]:
            found = check(token, before, after)
            if found:
                raise problem_at(source, token.start, *found)
    check_forms(source, tokens)
    _refuse_unsafe_division(source, tokens)


_Found = tuple[str, str] | None
_Neighbour = Token | None


def _foreign_word(token: Token, before: _Neighbour, after: _Neighbour) -> _Found:
    if token.text == "not" and after is not None and after.text == "in":
        return "`not in` is not an operator of rules.", "Write !(failures in [1, 2])."
    if token.text in _INSTEAD:
        return f"`{token.text}` is not an operator of rules.", f"Write {_INSTEAD[token.text]}."
    if token.text in _CAPITALS:
        return f"`{token.text}` is not known.", f"Write {_CAPITALS[token.text]}."
    hint = _WORDS.get(token.text) or _SIGNS.get(token.text)
    return (f"`{token.text}` is not a word of rules.", hint) if hint else None


def _open_quote(token: Token, before: _Neighbour, after: _Neighbour) -> _Found:
    if token.text in ('"', "'"):
        return "A quote is not closed.", "Write the text on one line with a quote at each end."
    return None


def _hidden_type(token: Token, before: _Neighbour, after: _Neighbour) -> _Found:
    if token.text == "dyn" and after is not None and after.text == "(":
        return "`dyn` hides a type from the check.", "Compare values of one type; int(), double() and string() convert."
    return None


def _glued(token: Token, before: _Neighbour, after: _Neighbour) -> _Found:
    """A number and what is written behind it, as `7d`, `7 days` and `1 000`."""
    if after is None or after.text in _INSTEAD or after.text in _WORDS or after.text == "in":
        return None
    gap = " " if after.start > token.end else ""
    written = f"{token.text}{gap}{after.text}"
    if after.sort is Sort.NUMBER and before is not None:
        return f"`{written}` is not a number.", f"Write {token.text}{after.text.lstrip('.')}."
    if after.sort is not Sort.NAME:
        return (f"`{written}` is not a number.", f"Write {token.text}.") if written.endswith(".") else None
    if span := span_of(token.text, after.text):
        return f"`{written}` is not a duration in a rule.", f"Write {span}."
    if gap:
        return f"`{after.text}` is not expected behind a number.", f"Write {token.text} alone, or join with && or ||."
    if re.fullmatch(r"_[\d_]+", after.text):
        return f"`{written}` is not a number.", f"Write {written.replace('_', '')}."
    return f"`{written}` is not a number.", "Write all digits, such as 10000."


def _endless(token: Token, before: _Neighbour, after: _Neighbour) -> _Found:
    decimal = token.text.rstrip("uU")
    if "x" not in decimal.lower() and not math.isfinite(float(decimal)):
        return f"`{token.text}` is too large.", "Write a finite number."
    if not is_decimal(token) and int(decimal, 0 if "x" in decimal.lower() else 10) > _LARGEST:
        return f"`{token.text}` is too large.", f"Whole numbers end at {_LARGEST}."
    return None


def _zero_divisor(token: Token, before: _Neighbour, after: _Neighbour) -> _Found:
    if before is not None and before.text in "/%" and is_zero(token):
        return "The rule divides by zero.", "Write another divisor."
    return None


def _number_behind(token: Token, before: _Neighbour, after: _Neighbour) -> _Found:
    if token.text in HELPERS and after is not None and after.sort is Sort.NUMBER:
        return f"`{token.text} {after.text}` is not a duration in a rule.", f"Write {token.text}({after.text})."
    return None


_Check = Callable[[Token, _Neighbour, _Neighbour], _Found]
_CHECKS: dict[Sort, tuple[_Check, ...]] = {
    Sort.NAME: (_foreign_word, _hidden_type, _number_behind),
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
    for text in _compared_with_outcome(tokens):
        if text.sort is Sort.QUOTED and text.text.strip("\"'") not in OUTCOMES:
            close = closest(text.text.strip("\"'"), OUTCOMES)
            hint = f'Did you mean "{close}"?' if close else f"It is one of: {', '.join(OUTCOMES)}."
            raise problem_at(source, text.start, f"last.outcome is never {text.text}.", hint)


def _compared_with_outcome(tokens: tuple[Token, ...]) -> Iterator[Token]:
    """What stands on the other side of a comparison, and the entries of a list that it may be in."""
    for index, (first, sign, second) in enumerate(zip(tokens, tokens[1:], tokens[2:], strict=False)):
        if sign.text in ("==", "!=") and "last.outcome" in (first.text, second.text):
            yield second if first.text == "last.outcome" else first
        if first.text == "last.outcome" and sign.text == "in" and second.text == "[":
            yield from tokens[index + 3 : closing(tokens, index + 2)]
