"""The page `report.html` of one attempt: what it says and in which order; how it looks is in `page/`.

Every text in it may come from data, so the templates escape everything; only numbers reach drawings unescaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from retrain_daemon.core.approval import Answer
from retrain_daemon.core.attempts import State
from retrain_daemon.core.evidence import Evidence, MetricEvidence
from retrain_daemon.core.findings import LEFT_ASIDE, percent
from retrain_daemon.core.judge import Finding, Outcome
from retrain_daemon.core.policy import Claim
from retrain_daemon.worker.report_data import ReportData
from retrain_daemon.worker.report_figures import Interval, interval, number
from retrain_daemon.worker.report_job import WriteReport
from retrain_daemon.worker.report_plots import over_versions, plots

_FOLDER = Path(__file__).parent / "page"
_ABSOLUTE = frozenset({Claim.AT_LEAST, Claim.AT_MOST})
_CLAIMS = {
    "better_by": "better by more than {}",
    "not_worse_by": "not worse by {}",
    "unless_worse_by": "unless shown worse by {}",
    "at_least": "at least {}",
    "at_most": "at most {}",
}
_STATES = {
    State.PROMOTED: ("promoted", "good"),
    State.REJECTED: ("rejected", "bad"),
    State.INCONCLUSIVE: ("inconclusive", "open"),
    State.ABANDONED: ("abandoned", "bad"),
}
_DRIFT_COLUMNS = 15


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A requirement with its interval. `mark` is "good", "bad" or "open"."""

    name: str
    asked: str
    mark: str
    word: str
    sentence: str
    drawn: Interval | None
    numbers: str


@dataclass(frozen=True, kw_only=True)
class SliceShown:
    """One slice with the interval of its gain."""

    where: str
    metric: str
    asked: str
    rows: int | None
    champion: float | None
    challenger: float | None
    gain: float | None
    p_harm: float | None
    problem: str
    drawn: Interval | None


def render(job: WriteReport, data: ReportData) -> str:
    """The whole page as HTML."""
    attempt = job.attempt
    word, mark = _STATES.get(attempt.state, ("waits for approval", "open"))
    return _template().render(
        job=job,
        attempt=attempt,
        data=data,
        evidence=attempt.evidence,
        word=word,
        mark=mark,
        sentence=_sentence(job),
        requirements=tuple(_shown(each, attempt.evidence) for each in _findings(job)),
        slices=_slices(attempt.evidence),
        plots=plots(data),
        versions=over_versions(job),
        drift=_drift(job),
        took=_span(attempt.ended_at - attempt.started_at) if attempt.ended_at else "",
    )


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(
        autoescape=True, loader=FileSystemLoader(_FOLDER), undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"number": number, "moment": _moment, "signed": lambda value: number(value, signed=True),
                            "count": lambda value: f"{value:,}", "span": _span, "label": _label}  # fmt: skip
    return environment.get_template("report.html.jinja")


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _span(span: timedelta) -> str:
    seconds = span.total_seconds()
    if seconds < 120:
        return f"{seconds:.1f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _label(text: str) -> str:
    """The words of a tick or a class where there is little room."""
    return text if len(text) <= 16 else f"{text[:15]}…"


def _sentence(job: WriteReport) -> str:
    """The verdict in one sentence."""
    attempt = job.attempt
    summary = attempt.verdict.summary if attempt.verdict else ""
    version = f"Version {attempt.version}" if attempt.version else "The challenger"
    champion = attempt.champion_version
    replaces = f"replace version {champion}" if champion else "become the first champion"
    stays = f"Version {champion} stays champion" if champion else "There is no champion yet"
    match attempt.state:
        case State.PROMOTED:
            became = f"replaced version {champion}" if champion else "became the first champion"
            asked = job.approval
            by = f", as {asked.by} approved" if asked is not None and asked.answer == Answer.APPROVE else ""
            return f"Version {attempt.version} {became}{by}: {summary}."
        case State.REJECTED:
            return f"{stays}: {attempt.reason or summary}."
        case State.INCONCLUSIVE:
            return f"{stays}, nothing was shown: {attempt.reason or summary}."
        case State.ABANDONED:
            return f"The attempt was given up: {attempt.reason}"
        case _:
            shown = attempt.verdict is not None and attempt.verdict.outcome is Outcome.PROMOTE
            unshown = "" if shown else "Nothing was shown, so a person is asked. "
            return f"{unshown}{version} would {replaces} if a person approves: {summary}."


def _findings(job: WriteReport) -> tuple[Finding, ...]:
    return job.attempt.verdict.findings if job.attempt.verdict else ()


def _shown(finding: Finding, evidence: Evidence | None) -> Shown:
    mark, word = _word(finding)
    if finding.observed:
        mark, word = "open", f"{word}, only observed"
    asked = _CLAIMS.get(finding.claim, finding.claim).format(number(finding.threshold)) if finding.claim else ""
    metric = _metric(finding, evidence)
    strict = metric.gain_strict if metric and finding.claim == Claim.BETTER_BY and not finding.observed else None
    return Shown(
        name=_name(finding),
        asked=asked,
        mark=mark,
        word=word,
        sentence=finding.sentence,
        drawn=_drawn(finding, strict),
        numbers=_numbers(finding, strict, evidence),
    )


def _word(finding: Finding) -> tuple[str, str]:
    """How a finding stands: what must not be shown is worded the other way around."""
    if finding.code == LEFT_ASIDE:
        return "open", "left aside"
    words = {True: ("good", "shown"), False: ("bad", "shown not to hold"), None: ("open", "not shown")}
    if finding.claim == Claim.UNLESS_WORSE_BY:
        words = {True: ("good", "no harm shown"), False: ("bad", "harm shown"), None: ("open", "not known")}
    elif not finding.claim:
        words |= {False: ("bad", "refused"), None: ("open", "not judged")}
    return words[finding.holds]


def _name(finding: Finding) -> str:
    """Of which metric, against whom, and where: two lines may be about the same metric."""
    against = f" against version {finding.against}" if finding.against is not None else ""
    where = f" where {finding.slices} = {finding.slice}" if finding.slice else ""
    return f"{finding.metric}{against}{where}" if finding.metric else finding.code.replace("_", " ")


def _metric(finding: Finding, evidence: Evidence | None) -> MetricEvidence | None:
    metrics = evidence.metrics if evidence else ()
    return next((each for each in metrics if each.metric == finding.metric), None)


def _drawn(finding: Finding, strict: float | None) -> Interval | None:
    if finding.low is None or finding.high is None:
        return None
    relative = finding.claim not in _ABSOLUTE
    return interval(
        finding.low, finding.high, finding.value, _border(finding.claim, finding.threshold), strict=strict,
        relative=relative, upwards=finding.claim != Claim.AT_MOST,
    )  # fmt: skip


def _border(claim: str, threshold: float | None) -> float | None:
    """Where the good side begins: a gain may be as low as minus what is tolerated."""
    return -threshold if threshold is not None and claim in ("not_worse_by", "unless_worse_by") else threshold


def _numbers(finding: Finding, strict: float | None, evidence: Evidence | None) -> str:
    if finding.low is None or finding.high is None:
        return ""
    what = "value" if finding.claim in _ABSOLUTE else "gain"
    said = [f"{what} {number(finding.value)}", f"bounds {number(finding.low)} to {number(finding.high)}"]
    if (border := _border(finding.claim, finding.threshold)) is not None:
        said.append(f"threshold {number(border)}")
    if strict is not None:
        at = f" at {percent(evidence.strict_confidence)}" if evidence and evidence.strict_confidence else ""
        said.append(f"strict lower bound {number(strict)}{at}")
    return " · ".join(said)


def _slices(evidence: Evidence | None) -> tuple[SliceShown, ...]:
    if evidence is None:
        return ()
    shown = []
    for each in evidence.slices:
        one = each.measured
        drawn = None
        if one.gain_low is not None and one.gain_high is not None:
            drawn = interval(one.gain_low, one.gain_high, one.gain, -each.threshold)
        shown.append(SliceShown(
            where=f"{each.column} = {each.value}", metric=one.metric, asked=number(each.threshold), rows=one.rows,
            champion=one.champion, challenger=one.challenger, gain=one.gain, p_harm=each.p_harm, problem=one.problem,
            drawn=drawn,
        ))  # fmt: skip
    return tuple(shown)


def _drift(job: WriteReport) -> tuple[tuple[str, float, float], ...]:
    """The columns that are farthest: name, distance, and its share of the farthest in percent."""
    columns: Mapping[str, float | None] = job.drift.columns if job.drift else {}
    known = sorted(((value, name) for name, value in columns.items() if value is not None), reverse=True)
    most = known[0][0] if known and known[0][0] > 0 else 1.0
    return tuple((name, value, round(100 * value / most, 1)) for value, name in known[:_DRIFT_COLUMNS])
