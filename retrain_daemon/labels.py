"""What runs, versions, history and log lines say of an attempt: tags, descriptions and pairs. Text only."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from retrain_daemon.core.attempts import Attempt, Effect, State
from retrain_daemon.core.judge import Outcome
from retrain_daemon.worker.attempt_words import version_description
from retrain_daemon.worker.job import ATTEMPT_TAG, KEY_TAG

__all__ = [
    "APPROVAL_TAG",
    "ATTEMPT_TAG",
    "KEY_TAG",
    "REPLACES_TAG",
    "ROLLED_BACK_TAG",
    "SUMMARY_TAG",
    "VERDICT_TAG",
    "VOID",
    "WAITS",
    "answer_text",
    "detail",
    "outcome_pairs",
    "run_tags",
    "version_description",
    "version_tags",
]

#: On a version that became champion: the one before it.
REPLACES_TAG = "retraind.replaces"
#: On a version that was champion and was rolled back.
ROLLED_BACK_TAG = "retraind.rolled_back"
VERDICT_TAG = "retraind.verdict"
SUMMARY_TAG = "retraind.summary"
#: On a version that a person must approve: WAITS until they change it, VOID where nobody's answer counts any more.
APPROVAL_TAG, WAITS, VOID = "retraind.approval", "waiting", "void"


def run_tags(attempt: Attempt, fingerprints: Iterable[str]) -> dict[str, str]:
    """What a run carries so that MLflow alone tells where it came from."""
    data = sha256("\n".join(fingerprints).encode()).hexdigest()
    return {
        ATTEMPT_TAG: attempt.id,
        "retraind.model": attempt.model,
        "retraind.parent": str(attempt.champion_version),
        "retraind.policy": attempt.policy.source,
        "retraind.policy_digest": attempt.policy.digest,
        "retraind.rule": attempt.rule,
        "retraind.mode": attempt.recipe.mode.value,
        "retraind.data_digest": data,
        **{f"retraind.upstream.{name}": str(version) for name, version in attempt.upstream.items()},
    }


def version_tags(attempt: Attempt, fingerprints: Iterable[str]) -> dict[str, str]:
    """What a version carries: where it came from, and the verdict that let it in."""
    assert attempt.verdict is not None
    tags = run_tags(attempt, fingerprints)
    del tags["retraind.model"]
    return {**tags, VERDICT_TAG: attempt.verdict.outcome.value}


def detail(attempt: Attempt, effect: Effect) -> str:
    """What an effect does, for the history."""
    match effect:
        case Effect.VERDICT:
            return attempt.verdict.outcome.value if attempt.verdict else ""
        case Effect.REGISTER:
            return attempt.challenger.model_uri if attempt.challenger else ""
        case Effect.WAITING:
            return f"version {attempt.version}"
        case Effect.ANSWERED:
            return f"version {attempt.version}, {answer_text(attempt)}"
        case Effect.REPLACES:
            return f"version {attempt.version} replaces {attempt.champion_version}"
        case Effect.ALIAS:
            was = f"from version {attempt.champion_version} to" if attempt.champion_version else "for the first time to"
            return f"{attempt.policy.alias} {was} {attempt.version}"
        case Effect.PREVIOUS:
            return f"version {attempt.champion_version}"
        case Effect.UNOFFER:
            return f"from version {attempt.offered}"


def answer_text(attempt: Attempt) -> str:
    """What became of the question whether a version may be promoted."""
    return (attempt.asked.said if attempt.asked is not None else "") or VOID


def outcome_pairs(attempt: Attempt, state: State) -> dict[str, str | int | float | None]:
    """What a promotion's log line shows: versions, and the finding that settled it."""
    if state is not State.PROMOTED or attempt.verdict is None:
        return {}
    pairs: dict[str, str | int | float | None] = {"version": attempt.version, "was": attempt.champion_version or None}
    counting = (each for each in attempt.verdict.findings if not each.observed)
    finding = next((each for each in counting if each.metric and each.low is not None), None)
    if attempt.verdict.outcome is Outcome.PROMOTE and finding is not None and attempt.champion_version:
        shown = finding.value
        pairs |= {"metric": finding.metric, "gain": round(shown, 4) if shown is not None else None}
        if finding.low is not None and finding.high is not None:
            pairs["interval"] = f"{finding.low:.4f}..{finding.high:.4f}"
    return pairs


def unique_name(attempt: Attempt) -> str:
    """A journal restored from a backup gives numbers again that attempts after the backup had; the moment it was
    decided tells them apart.
    """
    return f"{attempt.id}.{attempt.started_at:%Y%m%dT%H%M%S%f}"
