"""Facts: what is known of one model at one moment. None always means "not known" and never triggers (law 6).

How facts are gathered lives in `observe.py`; what follows from them in `decide.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from retrain_daemon.core.policy import Recipe

#: So many abandoned attempts in a row hold a model.
ABANDONED_TO_HOLD = 3


class ChampionState(StrEnum):
    """What the registry says about the champion's alias."""

    FOUND = "found"  #: the alias points to a version
    NONE = "none"  #: the model has no such alias and never had one as far as is known
    LOST = "lost"  #: the alias was there and is gone, or points to a version that is not there or does not load
    UNTRUSTED = "untrusted"  #: the alias points to a version of an author whom the settings do not name
    MISSPELLED = "misspelled"  #: the alias exists in another spelling only
    NO_MODEL = "no_model"  #: no registered model has this name
    UNKNOWN = "unknown"  #: the registry did not answer


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The champion as the registry shows it; `detail` completes the sentence of a state that is not FOUND.

    `challenger` is the version under the alias `challenger` at the same moment: that alias belongs to people.
    `against_challenger` is what stands against loading that version, as a sentence, where this was asked.
    """

    state: ChampionState
    version: int | None = None
    created_at: datetime | None = None
    detail: str = ""
    challenger: int | None = None
    against_challenger: str = ""


@dataclass(frozen=True, kw_only=True)
class LastLook:
    """The newest judging of an offered version, against the present champion and under the present policy: `rows` could
    judge, `reason` is how it ended, and at most `more` rows have come since that may judge.
    """

    attempt: str
    rows: int
    more: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Offered:
    """A version that a person put up as challenger. `code` and `obstacle` (a sentence) say why it is not judged,
    whatever the rows; empty where nothing stands against it. At most `judging_rows` rows may judge it and the champion.
    """

    version: int
    run_id: str = ""
    code: str = ""
    obstacle: str = ""
    judging_rows: int | None = None
    last_look: LastLook | None = None


@dataclass(frozen=True, kw_only=True)
class Undecided:
    """The newest challenger of ours that has come to an end, where nothing was shown of it: trained by the attempt
    `first` under `rule`, judged last by `attempt`, the `look`-th time, against version `champion` on `rows` rows.

    `codes` are those of the findings. At most `more` rows may judge that were not there then; None where that is not
    known. `stale`: what it was compared with, or what either had learned, is not what it was.
    """

    first: str
    attempt: str
    look: int
    rule: str
    recipe: Recipe
    policy_digest: str
    champion: int
    rows: int
    codes: tuple[str, ...] = ()
    more: int | None = None
    stale: bool = False


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """Counts of rows over the drops in use. Each is None when not known.

    `new_rows`: rows no judged attempt has had. `unlearned_rows`: training rows the champion has not learned.
    `since_last`: new rows that the last attempt, whatever its end, did not have. `judging_rows`: at most so many
    rows may judge the present champion. `waiting`: age of the oldest unused drop. `retracted_since`: a file of the
    last attempt was retracted. `missing_files`: recorded, gone and waited for; `skipped_files`: recorded, gone and
    left out of all counts; `skipped_since`: the last attempt had one of these. `young_files`: not counted yet, as
    their labels are not final; the next are at `young_until`. `measuring`: how the names of the facts
    begin that are not known yet, as their measurement is due or under way.
    `folder_problem` and `trouble` (drops cannot be inspected, with its code) are sentences.
    """

    new_rows: int | None = None
    unlearned_rows: int | None = None
    since_last: int | None = None
    judging_rows: int | None = None
    waiting: timedelta | None = None
    quarantined: int | None = None
    usable_drops: int = 0
    uninspected: int = 0
    folder_problem: str = ""
    retracted_since: bool = False
    missing_files: tuple[str, ...] = ()
    skipped_files: tuple[str, ...] = ()
    skipped_since: bool = False
    young_files: int = 0
    young_until: datetime | None = None
    trouble: str = ""
    trouble_code: str = ""
    measuring: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LastAttempt:
    """The newest attempt that has ended. `champion_after`: the version it made champion, else that it stood against."""

    id: str
    outcome: str
    started_at: datetime
    ended_at: datetime
    policy_digest: str
    champion_after: int | None
    reason: str = ""


@dataclass(frozen=True)
class Hold:
    """Why nothing may start until someone resumes the model: a pause by a person or after a rollback, or failures."""

    since: datetime
    by: str
    why: str


@dataclass(frozen=True)
class RetrainRequest:
    """A person asks for a retrain now; `key` tells one request from the next."""

    key: str
    by: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What the champion scored by one metric on rows that came since it was cut: `score` on all of them, `latest` file
    by file, oldest first, and `baseline` on the first of them.
    """

    score: float | None = None
    latest: tuple[float, ...] = ()
    baseline: float | None = None


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far new rows are from the newest that the last judged attempt learned from: the distance (PSI, finite and not
    negative) of each column. Without any an `obstacle` says why it is not known, a clause.
    """

    columns: Mapping[str, float] = field(default_factory=dict)
    obstacle: str = ""

    @property
    def worst(self) -> str:
        """The column that is farthest, "" where none is known."""
        return max(self.columns, key=lambda name: self.columns[name], default="")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that `decide` may look at beside the policy and the time. `resumed_since_last`: someone resumed the model
    after the last attempt had ended. `awaits_until`: until when the open attempt awaits a person's approval. `starts`
    are of the last 24 hours, and in any case the newest. `upstream` says by the policy's name for a model whether its
    champion changed since the last attempt that was not abandoned, None where that is not known, and
    `upstream_unknown` why, a clause; `upstream_since_last`: one changed since the last attempt that ended, whatever its
    end. `scores` are by metric.
    """

    model: str
    champion: Champion
    data: DataFacts
    champion_moved: bool | None = None
    last: LastAttempt | None = None
    resumed_since_last: bool = False
    failures: int = 0
    open_attempt: str | None = None
    awaits_until: datetime | None = None
    hold: Hold | None = None
    request: RetrainRequest | None = None
    starts: tuple[datetime, ...] = ()
    upstream: Mapping[str, bool | None] = field(default_factory=dict)
    upstream_unknown: Mapping[str, str] = field(default_factory=dict)
    upstream_since_last: bool = False
    offered: Offered | None = None
    undecided: Undecided | None = None
    scores: Mapping[str, Scores] = field(default_factory=dict)
    drift: Drift = Drift()
