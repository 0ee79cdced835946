"""Words about an attempt that both daemon and worker write into MLflow. Text only; imports no framework."""

from __future__ import annotations

import re

from retrain_daemon.core.attempts import Attempt


def plain(text: str) -> str:
    """Text as Markdown shows it letter by letter: names come from files and may hold links or HTML."""
    return re.sub(r"([\\`*_\[\]<>#|~!])", r"\\\1", " ".join(text.split()))


def version_description(attempt: Attempt) -> str:
    """A version's description, for people in MLflow."""
    assert attempt.verdict is not None
    how = "learned anew with the recipe of" if attempt.continues is None else "continues"
    observed = "".join(f". {each.sentence}" for each in attempt.verdict.findings if each.observed)
    return (
        f"Attempt {plain(attempt.id)}, rule “{plain(attempt.rule)}”: {how} version {attempt.champion_version}"
        f" ({attempt.recipe.mode.value}). {plain(attempt.verdict.summary + observed)}"
    )
