"""Evidence: what a worker measured on champion and challenger over the same judging rows.

Values only; `judge.py` says what follows. None always means "could not be computed", never zero.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MetricEvidence:
    """One metric on the same rows for both models.

    `gain` is positive when the challenger is better, whatever the metric's direction. `gain_low`/`gain_high` and
    `challenger_low`/`challenger_high` are one-sided bounds, each at `Evidence.confidence`. `method` names how the
    bounds were made; `problem` says why values are missing.
    """

    metric: str
    champion: float | None = None
    challenger: float | None = None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    challenger_low: float | None = None
    challenger_high: float | None = None
    method: str = ""
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything `judge` may look at. `rows` judged; `excluded` rows were left out because one of the two, or an
    ancestor it continued from, learned from them; `too_early` because they are older than an ancestor whose learning
    is not recorded. `groups` counts units where rows are grouped. Digests identify the stored model files;
    `not_a_number` counts judging rows for which a model predicted NaN or infinity. `checked_keys`: so many keys of what
    the two and their ancestors learned were looked for among the judging rows right before the comparison, and none was
    found; None where a version that did not look made the evidence.
    """

    champion_version: int
    champion_digest: str
    challenger_digest: str
    rows: int
    confidence: float
    metrics: tuple[MetricEvidence, ...]
    groups: int | None = None
    excluded: int = 0
    too_early: int = 0
    classes: int | None = None
    identical_predictions: bool = False
    champion_not_a_number: int = 0
    challenger_not_a_number: int = 0
    checked_keys: int | None = None


@dataclass(frozen=True, kw_only=True)
class Challenger:
    """A challenger that is trained and logged, but registered nowhere yet. `digest` is over its stored files.

    `unit` names what the keys in `learned_file` stand for: the group, or the features with their names. `offered` is
    the registered version that a person put up as challenger, None for our own: nobody trained it here, so
    `learned_file` and `unit` are empty, and so is `digest` until it was loaded.
    """

    run_id: str
    model_uri: str
    digest: str
    learned_file: str
    training_rows: int
    unit: str = ""
    offered: int | None = None
