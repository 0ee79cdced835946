"""Words about an attempt that both daemon and worker write into MLflow. Text only; imports no framework."""

from __future__ import annotations

from retrain_daemon.core.attempts import Attempt


def version_description(attempt: Attempt) -> str:
    """A version's description, for people in MLflow."""
    assert attempt.verdict is not None
    how = "learned anew with the recipe of" if attempt.continues is None else "continues"
    return (
        f"Attempt {attempt.id}, rule “{attempt.rule}”: {how} version {attempt.champion_version}"
        f" ({attempt.recipe.mode.value}). {attempt.verdict.summary}"
    )
