"""A search as a value: its trials with what they tried and what came of it, kept on disk while it goes on.

Knows neither how values are proposed (`proposals.py`) nor how a trial is trained and judged (`search.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from retrain_daemon.core.evidence import Searched
from retrain_daemon.core.metrics import METRICS
from retrain_daemon.core.policy import Scalar
from retrain_daemon.worker.durable import write_whole

STUDY_FILE = "search.json"
#: A trial in which the worker ended so often without a word is a failed one, such as for want of memory.
MOST_CUTS = 2


class TrialState(StrEnum):
    """How a trial ended."""

    COMPLETE = "complete"  #: it has a score
    REPEATED = "repeated"  #: the same values as an earlier trial, whose score it has; nothing was trained
    FAILED = "failed"  #: no score, and `problem` says why


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial, counted from 1: the values it tried, its score and how many seconds it took."""

    number: int
    state: TrialState
    score: float | None
    values: Mapping[str, Scalar]
    seconds: float
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Study:
    """The trials of one search by `metric`, at most `wanted`. Each learned `training_rows` of the training side and was
    judged on `judging_rows` others of it. `inputs` is a digest of all it depends on; `cuts`: so many workers began the
    trial after the last one and did not end it.
    """

    metric: str
    wanted: int
    training_rows: int
    judging_rows: int
    seed: int
    inputs: str
    notes: tuple[str, ...] = ()
    trials: tuple[Trial, ...] = ()
    cuts: int = 0

    @property
    def best(self) -> Trial | None:
        """The trial with the best score, the earliest of equals; None where none has one."""
        scored = [trial for trial in self.trials if trial.score is not None]
        sign = -1 if METRICS[self.metric].higher_is_better else 1
        return min(scored, key=lambda trial: sign * (trial.score or 0.0), default=None)

    @property
    def failed(self) -> tuple[Trial, ...]:
        """The trials without a score."""
        return tuple(trial for trial in self.trials if trial.score is None)

    def and_then(self, trial: Trial) -> Study:
        """The study after one more trial."""
        return replace(self, trials=(*self.trials, trial), cuts=0)


_STUDY: TypeAdapter[Study] = TypeAdapter(Study)


def searched(study: Study) -> Searched:
    """What the study chose; it has a best trial."""
    best = study.best
    assert best is not None and best.score is not None  # noqa: PT018
    return Searched(
        metric=study.metric,
        score=best.score,
        rows=study.judging_rows,
        trials=len(study.trials),
        failed=len(study.failed),
        chosen=best.values,
    )


def told(study: Study) -> tuple[str, ...]:
    """Sentences about the search for a reviewer."""
    chosen = searched(study)
    values = ", ".join(f"{name}={shown(value)}" for name, value in chosen.chosen.items())
    few = f" of {study.wanted} (stop_after)" if len(study.trials) < study.wanted else ""
    first = f"The search chose {values}: the best of {chosen.trials} trials{few}, {study.metric} {chosen.score:.6g}"
    rows = f" on {study.judging_rows:,} rows of the training side."
    failed = study.failed
    more = (f"{len(failed)} trials of the search failed; the first: {failed[0].problem}",) if failed else ()
    return (first + rows, *more, *study.notes)


def shown(value: Scalar) -> str:
    """A value for people: fractions with six digits."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def study_text(study: Study) -> str:
    """The study as a file that a person can read."""
    return _STUDY.dump_json(study, indent=1).decode()


def read_study(folder: Path | None, inputs: str) -> Study | None:
    """The study kept in a folder, if there is one that can be read and had the same inputs."""
    if folder is None:
        return None
    try:
        study = _STUDY.validate_json((folder / STUDY_FILE).read_bytes())
    except (OSError, ValidationError):
        return None
    return study if study.inputs == inputs else None


def write_study(folder: Path | None, study: Study) -> None:
    """Keep the study in a folder, which is made; None: nowhere."""
    if folder is None:
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(folder / STUDY_FILE, study_text(study).encode())
