"""`retraind history | show`: what the journal knows, also while a daemon is running."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retrain_daemon.cli.arguments import Arguments
from retrain_daemon.cli.composition import clock, journal_to_read
from retrain_daemon.cli.outlook import power
from retrain_daemon.cli.output import moment, print_json
from retrain_daemon.cli.recipes import how_trained
from retrain_daemon.cli.rule_lines import rule_lines
from retrain_daemon.core.attempts import Attempt
from retrain_daemon.core.budget import Prospect, left_of
from retrain_daemon.core.decide import awaiting
from retrain_daemon.core.judge import Finding
from retrain_daemon.core.policy import promotion_of
from retrain_daemon.errors import NotFound
from retrain_daemon.journal import HistoryLine, Journal
from retrain_daemon.journal.decisions import DecisionRow
from retrain_daemon.journal.drops import DropRow
from retrain_daemon.journal.reports import reported
from retrain_daemon.journal.tenures import Comparison
from retrain_daemon.journal.watches import LookRow
from retrain_daemon.labels import APPROVAL_TAG
from retrain_daemon.prospects import shown_by
from retrain_daemon.settings import Settings
from retrain_daemon.watch_asker import how_it_stands


@dataclass(frozen=True, kw_only=True)
class AttemptShown:
    """Everything about one attempt. `comparisons` are what it spent of the error budget; `power` is what its lines
    could show by the rows it was judged on; `watch` and `looks` are about the version it promoted.
    """

    attempt: Attempt
    decision: DecisionRow | None
    drops: tuple[DropRow, ...]
    comparisons: tuple[Comparison, ...]
    power: tuple[Prospect, ...]
    history: tuple[HistoryLine, ...]
    watch: str = ""
    looks: tuple[LookRow, ...] = ()


def watched(journal: Journal, model: str | None) -> str | None:
    """The model as it was named; raises NotFound for one that was never watched."""
    names = [row.name for row in journal.models.all()]
    if model is not None and model not in names:
        raise NotFound(f"no model {model} was ever watched.", f"There are: {', '.join(names) or 'none'}.")
    return model


def history(arguments: Arguments, settings: Settings) -> int:
    """Print what happened, oldest first."""
    journal = journal_to_read(settings)
    lines = journal.history(watched(journal, arguments.model), arguments.limit)
    if arguments.json:
        print_json(lines)
        return 0
    for line in lines:
        print(f"{moment(line.at)}  {line.model}  {line.event}  {_subject(line)}{line.detail}".rstrip())
    return 0


def _subject(line: HistoryLine) -> str:
    return "" if line.subject == line.model else f"{Path(line.subject).name}  "


def show(arguments: Arguments, settings: Settings) -> int:
    """Print one attempt: why it began, with what, and what settled it."""
    journal = journal_to_read(settings)
    attempt = journal.attempts.find(arguments.attempt)
    if attempt is None:
        raise NotFound(f"there is no attempt {arguments.attempt}.", "`retraind history` shows those there are.")
    watch = journal.watches.of_attempt(attempt.id)
    found = (journal.drops.by_id(number) for number in journal.attempts.drops_of(attempt.id))
    comparisons = journal.tenures.of_attempt(attempt.id)
    shown = AttemptShown(
        attempt=attempt,
        decision=journal.decisions.of_attempt(attempt.id),
        drops=tuple(drop for drop in found if drop is not None),
        comparisons=comparisons,
        power=shown_by(attempt, comparisons[-1].number if comparisons else None),
        history=journal.history_of(attempt.id),
        watch=how_it_stands(journal, watch, clock()) if watch is not None else "",
        looks=journal.watches.looks(attempt.id),
    )
    if arguments.json:
        print_json(shown)
    else:
        _print_attempt(shown)
    return 0


def _print_attempt(shown: AttemptShown) -> None:
    attempt = shown.attempt
    print(f"{attempt.id}: {'awaiting approval' if attempt.awaits_approval else attempt.state.value}")
    print(f"  {attempt.reason}" if attempt.reason else "  under way")
    champion = f"champion version {attempt.champion_version}" if attempt.champion_version else "no champion"
    print(f"  model {attempt.model}, {champion}", end="")
    print(f", registered as version {attempt.version}" if attempt.version else ", not registered")
    if shown.decision:
        print(f"decided {moment(shown.decision.at)}: {shown.decision.sentence}")
        for rule in shown.decision.rules:
            for told in rule_lines(rule):
                print(f"  {told}")
    print(f"{_how(attempt)}; policy {attempt.policy.source} ({attempt.policy.digest[:12]})")
    if attempt.upstream:
        seen = (f"{name} ({attempt.policy.upstream[name].model}) version {version}"
                for name, version in attempt.upstream.items())  # fmt: skip
        print(f"upstream: {', '.join(seen)}")
    print(f"data, {len(shown.drops)} in all: {', '.join(Path(drop.path).name for drop in shown.drops[-10:])}")
    _print_verdict(attempt)
    _print_budget(shown)
    if shown.watch:
        print(shown.watch)
    for look in shown.looks:
        print(f"  {look.sentence} (chance of an error: {look.look.alpha:.4f})")
    _print_approval(attempt)
    _print_report(attempt)
    for note in attempt.notes:
        print(f"note: {note}")
    for line in shown.history:
        print(f"  {moment(line.at)}  {line.event}  {line.detail}".rstrip())


def _print_approval(attempt: Attempt) -> None:
    asked = attempt.asked
    if asked is None:
        return
    print(f"approval asked {moment(asked.asked_at)} of the evidence {asked.evidence[:12]}: {asked.said or 'no answer'}")
    if attempt.awaits_approval:
        print(f"  {awaiting(attempt.id, asked.expires_at)}")
        print(f"  or set the tag {APPROVAL_TAG} of version {attempt.version} in MLflow to approve or reject;"
              f" --evidence {asked.evidence[:12]} answers to nothing else than is shown here")  # fmt: skip


def _print_report(attempt: Attempt) -> None:
    report = reported(attempt)
    if report is not None:
        print(f"report: not written: {report.problem}" if report.problem else f"report: in MLflow run {report.run_id}")


def _how(attempt: Attempt) -> str:
    if attempt.again_of is not None:
        return f"nothing was trained: look {attempt.look} at the challenger of attempt {attempt.again_of}"
    if attempt.offered is not None:
        return f"nothing was trained: version {attempt.offered} is judged as someone registered it"
    return f"recipe: {how_trained(attempt)}"


def _print_budget(shown: AttemptShown) -> None:
    attempt = shown.attempt
    whole = 1 - promotion_of(attempt.policy, attempt.rule).confidence
    for each in shown.comparisons:
        print(f"comparison {each.number} of its champion's tenure, which may err with {each.alpha:.3%};"
              f" {left_of(whole, each.number):.2%} of {whole:.2%} are left after it")  # fmt: skip
    for line in shown.power:
        print(f"  {power(line, attempt.champion_version)}")


def _print_verdict(attempt: Attempt) -> None:
    if attempt.challenger and attempt.offered is None:
        print(f"MLflow run {attempt.challenger.run_id}, learned from {attempt.challenger.training_rows:,} rows")
    evidence = attempt.evidence
    if evidence is None:
        return
    print(f"judged on {evidence.rows:,} rows; left out: {evidence.excluded:,} that a model learned from,"
          f" {evidence.too_early:,} older than a record of what was learned")  # fmt: skip
    if evidence.checked_keys is not None:
        print(f"checked against {evidence.checked_keys:,} keys of what both and their ancestors learned: none is among"
              " the judging rows")  # fmt: skip
    findings: tuple[Finding, ...] = attempt.verdict.findings if attempt.verdict else ()
    for finding in findings:
        mark = {True: "yes", False: "no ", None: "?  "}[finding.holds]
        print(f"  {mark} {finding.sentence}")
