"""Parts of a rule that mention no fact: computed when the rule is read, not at night."""

from __future__ import annotations

from retrain_daemon.core.complaints import problem_at
from retrain_daemon.core.programs import NotCompiled, program_of
from retrain_daemon.core.tokens import Sort, Token, closing
from retrain_daemon.core.vocabulary import HELPERS


def check_constants(source: str, tokens: tuple[Token, ...]) -> None:
    """Compute every call whose arguments hold no fact, such as duration("7d"); raises ExpressionProblem."""
    for index, token in enumerate(tokens[:-1]):
        end = closing(tokens, index + 1) if tokens[index + 1].text == "(" else None
        if token.sort is not Sort.NAME or "." in token.text or end is None or not _is_constant(tokens[index : end + 1]):
            continue
        text = source[token.start : tokens[end].end]
        if not _is_computable(text):
            raise problem_at(source, token.start, f"`{text}` cannot be computed.", _hint(token.text))


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
    return "Write smaller numbers." if function in HELPERS else ""
