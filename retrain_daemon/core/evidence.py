"""Evidence: what a worker measured on champion and challenger over the same judging rows.

Values only; `judge.py` says what follows. None always means "could not be computed", never zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from retrain_daemon.core.policy import Scalar


@dataclass(frozen=True, kw_only=True)
class MetricEvidence:
    """One metric on the same rows for both models.

    `gain` is positive when the challenger is better, whatever the metric's direction. `gain_low`/`gain_high` and
    `challenger_low`/`challenger_high` are one-sided bounds, each at `Evidence.confidence`; `gain_strict` is the lower
    bound of the gain at `Evidence.strict_confidence`, which claims of improvement are held to. `standard_error` is the
    gain's. `rows` are those the metric is about: of recall the positive ones, of precision those that either model
    predicts as positive. `method` names how the bounds were made; `problem` says why values are missing.
    """

    metric: str
    champion: float | None = None
    challenger: float | None = None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    gain_strict: float | None = None
    standard_error: float | None = None
    challenger_low: float | None = None
    challenger_high: float | None = None
    rows: int | None = None
    method: str = ""
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class SliceEvidence:
    """One metric on the rows of one value of a column, for one line of requirements.

    `p_harm` is the one-sided p-value of "the challenger is not worse by more than the line's threshold": the smaller,
    the surer is the harm. None where it could not be computed, as `measured.problem` says.
    """

    column: str
    value: str
    threshold: float
    measured: MetricEvidence
    p_harm: float | None = None


@dataclass(frozen=True, kw_only=True)
class AnchorEvidence:
    """The challenger against an earlier champion, so that small losses do not add up: over those judging rows that this
    version has not learned either. In `metrics`, "champion" is the anchor. `problem`: why nothing was measured.
    """

    version: int
    rows: int = 0
    metrics: tuple[MetricEvidence, ...] = ()
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything `judge` may look at. `rows` judged; `excluded` rows were left out because one of the two, or an
    ancestor it continued from, learned from them; `too_early` because they are older than an ancestor whose learning
    is not recorded. `groups` counts units where rows are grouped. Digests identify the stored model files;
    `not_a_number` counts judging rows for which a model predicted NaN or infinity. `checked_keys`: so many keys of what
    the two and their ancestors learned were looked for among the judging rows right before the comparison, and none was
    found; None where a version that did not look made the evidence. `comparison`: the how manieth against this champion
    it is, as the error budget counts, which `strict_confidence` follows from; None where nothing spends it. Without a
    champion (`champion_version` 0) only the challenger's own values are known.
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
    comparison: int | None = None
    strict_confidence: float | None = None
    slices: tuple[SliceEvidence, ...] = ()
    anchor: AnchorEvidence | None = None


@dataclass(frozen=True, kw_only=True)
class Searched:
    """What a search chose: the values of the best of `trials` by `metric`, `failed` of which gave no score. `score` is
    over `rows` of the training side, which the challenger learned afterwards: it is nothing to judge it by.
    """

    metric: str
    score: float
    rows: int
    trials: int
    failed: int
    chosen: Mapping[str, Scalar]


@dataclass(frozen=True, kw_only=True)
class Challenger:
    """A challenger that is trained and logged, but registered nowhere yet. `digest` is over its stored files.

    `unit` names what the keys in `learned_file` stand for: the group, or the features with their names. `offered` is
    the registered version that a person put up as challenger, None for our own: nobody trained it here, so
    `learned_file` and `unit` are empty, and so is `digest` until it was loaded. `searched`: what a search chose for it.
    """

    run_id: str
    model_uri: str
    digest: str
    learned_file: str
    training_rows: int
    unit: str = ""
    offered: int | None = None
    searched: Searched | None = None
