"""What MLflow itself tells of an attempt, without this project: descriptions of runs and versions, and datasets.

Texts and values only, all in one place; what is sent to MLflow, and when, is in `challenger_run.py` and `report.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256

from mlflow.entities import Dataset, DatasetInput, InputTag

from retrain_daemon.core.attempts import Attempt, State
from retrain_daemon.core.policy import DataSpec, Scalar
from retrain_daemon.worker.attempt_words import plain, version_description

#: MLflow shows this tag of a run as its description.
NOTE_TAG = "mlflow.note.content"
#: Dataset inputs of a run, by the names MLflow's own integrations use.
CONTEXT_TAG = "mlflow.data.context"
_DIGEST = 16

_ENDS = {
    State.PROMOTED: "was promoted",
    State.REJECTED: "was rejected",
    State.INCONCLUSIVE: "is inconclusive",
    State.ABANDONED: "was given up",
}


def first_note(attempt: str, model: str, rule: str, version: int | None) -> str:
    """A run's description before there is a verdict."""
    return (
        f"Attempt **{plain(attempt)}** of {plain(model)}, rule “{plain(rule)}”: a challenger of version {version}. "
        "The verdict is not known yet."
    )


def run_note(attempt: Attempt, experiment: str, run: str, page: str) -> str:
    """A run's description once there is a verdict, with a link to the report high up: MLflow folds what is long."""
    summary = attempt.verdict.summary if attempt.verdict else attempt.reason
    end = _ENDS.get(attempt.state, "waits for approval")
    lines = [
        f"Attempt **{plain(attempt.id)}** of {plain(attempt.model)}, rule “{plain(attempt.rule)}”, **{end}**: "
        f"{plain(summary)}.",
        f"[Read the report]({report_link(experiment, run, page)}) ({page}, and decision.json for programs).",
        _versions(attempt),
    ]
    return "\n\n".join(lines)


def _versions(attempt: Attempt) -> str:
    champion = attempt.champion_version
    judged = f"Judged against version {champion}" if champion else "Judged without a champion"
    if attempt.offered is not None:
        return f"{judged}; the challenger is version {attempt.offered}, which someone registered."
    how = f"continues version {attempt.continues}" if attempt.continues is not None else "was learned anew"
    became = f" and became version {attempt.version}" if attempt.version else ""
    return f"{judged}; the challenger {how} ({attempt.recipe.mode.value}){became}."


def report_link(experiment: str, run: str, page: str) -> str:
    """Where MLflow's own pages show a report."""
    return f"#/experiments/{experiment}/runs/{run}/artifacts/{page}"


def version_note(attempt: Attempt, experiment: str, run: str, page: str) -> str:
    """A version's description with a link to the report."""
    return f"{version_description(attempt)}\n\n[Read the report]({report_link(experiment, run, page)})"


def datasets(data: DataSpec, model: str, manifest: Sequence[Mapping[str, Scalar]], rows: Mapping[str, int]) -> dict[
    str, DatasetInput
]:  # fmt: skip
    """The rows of each side, such as {"training": 300}, as datasets by the same names: known by a digest of the files'
    fingerprints and the side. Nothing is read.
    """
    files = "\n".join(f"{file['fingerprint']} {file['rows']}" for file in manifest)
    source = json.dumps({"uri": f"{data.folder}/{data.pattern}"})
    return {
        side: DatasetInput(
            Dataset(
                name=f"{model} {side} rows"[:250],
                digest=sha256(f"{side} {count}\n{files}".encode()).hexdigest()[:_DIGEST],
                source_type="local",
                source=source,
                profile=json.dumps({"num_rows": count, "files": len(manifest)}),
            ),
            [InputTag(CONTEXT_TAG, side)],
        )
        for side, count in rows.items()
    }
