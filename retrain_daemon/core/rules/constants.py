"""Parts of a rule that mention no fact: computed when the rule is read, not at night."""

from __future__ import annotations

import re

from retrain_daemon.core.rules.complaints import problem_at
from retrain_daemon.core.rules.programs import NotCompiled, program_of
from retrain_daemon.core.rules.tokens import Sort, Token, closing
from retrain_daemon.core.rules.vocabulary import HELPERS

UNKNOWN_ZONE = "The time zone is not known.", "Write one such as Europe/Berlin."
WRONG_PATTERN = "The search pattern is not valid.", "Write it in the syntax of RE2, with every bracket closed."
# Of so few days there is a duration; a compiler need not be asked.
_SURE = re.compile(r"[0-9]{1,6}")
_A_MOMENT = 'timestamp("2026-01-31T00:00:00Z")'


def check_constants(source: str, tokens: tuple[Token, ...]) -> None:
    """Compute every call whose arguments hold no fact, such as duration("7d"); raises ExpressionProblem."""
    for index, token in enumerate(tokens[:-1]):
        end = closing(tokens, index + 1) if tokens[index + 1].text == "(" else None
        if token.sort is not Sort.NAME or "." in token.text or end is None or not _is_constant(tokens[index : end + 1]):
            continue
        if token.text in HELPERS and end == index + 3 and _SURE.fullmatch(tokens[index + 2].text):
            continue
        text = source[token.start : tokens[end].end]
        if not _is_computable(text):
            raise problem_at(source, token.start, f"`{text}` cannot be computed.", _hint(token.text))


def check_texts(source: str, tokens: tuple[Token, ...]) -> None:
    """Try time zones and search patterns: CEL reads them only when it comes to them, which may be years from now.
    Raises ExpressionProblem.
    """
    for name, bracket, text in zip(tokens, tokens[1:], tokens[2:], strict=False):
        method = name.text.rpartition(".")[2] if name.sort is Sort.NAME else ""
        if bracket.text != "(" or text.sort is not Sort.QUOTED or not method.startswith(("get", "matches")):
            continue
        searched = method == "matches"
        if not _is_computable(f'"".matches({text.text})' if searched else f"{_A_MOMENT}.{method}({text.text})"):
            raise problem_at(source, text.start, *(WRONG_PATTERN if searched else UNKNOWN_ZONE))


def _is_constant(tokens: tuple[Token, ...]) -> bool:
    """Whether every name among the tokens is a function being called."""
    following = (*tokens[1:], tokens[-1])
    return all(token.sort is not Sort.NAME or after.text == "(" for token, after in zip(tokens, following, strict=True))


def _is_computable(text: str) -> bool:
    """Whether it has a value, or makes no sense alone."""
    try:
        return not program_of(text).compute({}).problem
    except NotCompiled:
        return True


def _hint(function: str) -> str:
    if function == "duration":
        return 'Write days(7), or duration("168h30m") in hours, minutes and seconds.'
    if function == "timestamp":
        return 'Write timestamp("2026-01-31T00:00:00Z").'
    if function in ("int", "double", "uint"):
        return "Write the number itself."
    return "Write smaller numbers." if function in HELPERS else ""
