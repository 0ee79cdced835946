"""`retraind retrain | rollback | pause | resume | adopt | approve | reject | drop retract | drop release`: orders, with
a daemon or without one.

A running daemon takes them from the journal. Without one, this process takes the lock and carries them out itself.
"""

from __future__ import annotations

import getpass
import os
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from retrain_daemon.approvals import refuse_unless_waiting
from retrain_daemon.cli.arguments import Arguments
from retrain_daemon.cli.composition import (
    clock,
    executor_of,
    journal_to_write,
    notifier_of,
    readable_policies,
    registry_of,
    trust_of,
)
from retrain_daemon.cli.explaining import chosen
from retrain_daemon.core.facts import ChampionState
from retrain_daemon.core.policy import Policy
from retrain_daemon.errors import NotFound, PolicyProblems, Refused, RegistryUnreachable, RetrainError, StateLocked
from retrain_daemon.executor.limits import Limits
from retrain_daemon.executor.supervisor import Ended, Running
from retrain_daemon.journal import Journal
from retrain_daemon.journal.requests import Request
from retrain_daemon.lock import StateLock, holder
from retrain_daemon.orders import Orders
from retrain_daemon.registry_view import RegistryView
from retrain_daemon.settings import Settings
from retrain_daemon.worker.job import Failed, LearnedRecorded, RecordLearned, Source

ANSWER_SECONDS = 60
RECORD_LIMITS = Limits(run_for=timedelta(hours=6), memory=None)


def retrain(arguments: Arguments, settings: Settings) -> int:
    """Ask for a retrain; the daemon starts it when it can."""
    model = _known_policy(settings, arguments).model
    journal = journal_to_write(settings)
    row = journal.models.find(model)
    if row is not None and row.hold is not None:
        raise Refused(f"{model} is paused by {row.hold.by}: {row.hold.why}.", f"First `retraind resume {model}`.")
    if any(request.verb == "retrain" and request.model == model for request in journal.requests.open()):
        print(f"a retrain of {model} is asked for already")
        return 0
    number = journal.requests.ask(model, "retrain", _person(), arguments.why, clock())
    if holder(settings.state) is None:
        print(f"noted as request {number}: no daemon is running, the next one will take it up")
        return 0
    answered = _await(journal, number, seconds=5)
    print(answered.answer if answered else f"noted as request {number}: the daemon starts it as soon as it can")
    return 0


def pause(arguments: Arguments, settings: Settings) -> int:
    """Start nothing and move no alias until resumed."""
    return _order(settings, arguments.model or "", "pause", arguments.why or "paused by hand")


def resume(arguments: Arguments, settings: Settings) -> int:
    """Go on."""
    return _order(settings, arguments.model or "", "resume", arguments.why)


def rollback(arguments: Arguments, settings: Settings) -> int:
    """Make the previous champion champion again."""
    policy = _known_policy(settings, arguments)
    champion = _champion_source(settings, policy).version
    why = arguments.why or "rolled back by hand"
    return _order(settings, policy.model, "rollback", why, {"champion": str(champion)})


def approve(arguments: Arguments, settings: Settings) -> int:
    """Let a challenger that awaits approval become champion."""
    return _answer(arguments, settings, "approve")


def reject(arguments: Arguments, settings: Settings) -> int:
    """Keep the champion instead of a challenger that awaits approval."""
    return _answer(arguments, settings, "reject")


def _answer(arguments: Arguments, settings: Settings, verb: str) -> int:
    """The order names the evidence that is answered to."""
    journal = journal_to_write(settings)
    attempt = journal.attempts.find(arguments.attempt)
    if attempt is None:
        raise NotFound(f"there is no attempt {arguments.attempt}.", "`retraind history` shows those there are.")
    refuse_unless_waiting(attempt)
    assert attempt.asked is not None
    if not attempt.asked.evidence.startswith(arguments.evidence):
        raise Refused(
            f"attempt {attempt.id} awaits approval of the evidence {attempt.asked.evidence[:12]}, not of"
            f" {arguments.evidence}.",
            f"Look at `retraind show {attempt.id}` and answer again.",
        )
    values = {"attempt": attempt.id, "evidence": attempt.asked.evidence}
    code = _order(settings, attempt.model, verb, arguments.why, values)
    if code == 0 and holder(settings.state) is None:
        print("no daemon is running: nothing happens before the next one starts")
    return code


def retract(arguments: Arguments, settings: Settings) -> int:
    """Take a dropped file out of training, judging and counts."""
    return _order_about_drop(arguments, settings, "retract")


def release(arguments: Arguments, settings: Settings) -> int:
    """Let a file in that was quarantined because it looked wrong."""
    return _order_about_drop(arguments, settings, "release")


def _order_about_drop(arguments: Arguments, settings: Settings, verb: str) -> int:
    journal = journal_to_write(settings)
    wanted = str(Path(arguments.file).absolute()) if os.sep in arguments.file else arguments.file
    models = {
        drop.model
        for drop in journal.drops.listing(arguments.model)
        if drop.current and wanted in (drop.path, Path(drop.path).name, str(drop.id))
    }
    if not models:
        raise NotFound(f"no drop is named {arguments.file}.", "`retraind drop list` shows them.")
    if len(models) > 1:
        raise Refused(f"{arguments.file} is a drop of {', '.join(sorted(models))}.", "Say which with --model.")
    return _order(settings, models.pop(), verb, arguments.why, {"file": wanted})


def adopt(arguments: Arguments, settings: Settings) -> int:
    """Name a first champion, record what the champion learned from, or both."""
    policy = _known_policy(settings, arguments)
    if arguments.version is None and not arguments.learned_from:
        raise Refused(
            f"nothing to do for {policy.model}.",
            "Say --version N to make a version the first champion, or --learned-from PATHS to record its data.",
        )
    code = 0
    if arguments.version is not None:
        code = _order(settings, policy.model, "adopt", arguments.why, {"version": str(arguments.version)})
    if code == 0 and arguments.learned_from:
        code = _order(settings, policy.model, "adopt", arguments.why, _record(arguments, settings, policy))
    return code


def _record(arguments: Arguments, settings: Settings, policy: Policy) -> dict[str, str]:
    """Read the files in a worker, so that the order carries a finished record."""
    journal_to_write(settings).close()  # before its key files: alone they would look like those of a lost journal
    source = _champion_source(settings, policy)
    learned = settings.state / "learned"
    learned.mkdir(parents=True, exist_ok=True)
    learned_file = learned / f"adopted-{clock():%Y%m%d%H%M%S%f}.npy"
    job = RecordLearned(
        source=source,
        data=policy.data,
        paths=tuple(str(Path(path).absolute()) for path in arguments.learned_from),
        learned_file=str(learned_file),
    )
    executor = executor_of(settings, settings.state / "jobs", lambda: None)
    key = f"adopt-{os.getpid()}"
    try:
        executor.start(key, job, RECORD_LIMITS, clock())
        while isinstance(seen := executor.look(key), Running):
            time.sleep(0.1)
        executor.discard(key)
    finally:
        executor.close()
    match seen:
        case Ended(result=LearnedRecorded() as recorded):
            return {
                "champion": str(source.version),
                "learned_file": str(learned_file),
                "rows": str(recorded.rows),
                "fingerprints": ",".join(recorded.fingerprints),
            }
        case Ended(result=Failed(message=message, hint=hint)):
            raise Refused(message, hint)
        case other:
            raise RetrainError(f"the worker answered {other} to a record.")


def _champion_source(settings: Settings, policy: Policy) -> Source:
    registry = registry_of(settings)
    view = RegistryView(registry)
    champion = view.champion(policy, None, fresh=True)
    if champion.state is ChampionState.UNKNOWN:
        raise RegistryUnreachable(champion.detail)
    if champion.state is not ChampionState.FOUND:
        raise Refused(champion.detail)
    return Source(
        tracking_uri=registry.tracking_uri,
        registry_uri=registry.registry_uri,
        model=policy.model,
        version=champion.version,
    )


def _known_policy(settings: Settings, arguments: Arguments) -> Policy:
    """What is wrong with other models' files is said and keeps nobody from an order."""
    policies, problems = readable_policies(settings.policies, arguments.model)
    for problem in problems:
        print(f"retraind: of another model: {problem}", file=sys.stderr)
    return chosen(policies, arguments.model)[0]


def _order(settings: Settings, model: str, verb: str, why: str, values: Mapping[str, str] | None = None) -> int:
    """File the order; wait for the daemon's answer, or carry it out here. Exit code 5 if it was refused."""
    journal = journal_to_write(settings)
    number = journal.requests.ask(model, verb, _person(), why, clock(), values)
    try:
        with StateLock(settings.state, f"retraind {verb}", clock()):
            _serve(journal, settings, model)
    except StateLocked:
        pass  # a daemon is running: it takes the order
    except RetrainError as error:
        journal.requests.withdraw(number, str(error), clock())
        raise
    answered = _await(journal, number, ANSWER_SECONDS)
    if answered is None or answered.code is None:
        journal.requests.withdraw(number, f"not answered within {ANSWER_SECONDS} s", clock())
        print(f"retraind: {holder(settings.state) or 'the daemon'} has not answered within {ANSWER_SECONDS} s; the"
              " order is withdrawn", file=sys.stderr)  # fmt: skip
        return StateLocked.exit_code
    if answered.code:
        print(f"retraind: {answered.answer}", file=sys.stderr)
    else:
        print(answered.answer)
    return answered.code


def _serve(journal: Journal, settings: Settings, model: str) -> None:
    """What the daemon would do with open orders on this model."""
    registry = registry_of(settings)
    with closing(notifier_of(settings)) as notifier:
        orders = Orders(journal, registry, RegistryView(registry, trust_of(settings)), clock, notifier)
        policy = _policy_if_readable(settings, model)
        _finish_rollback(orders, journal, policy, model)
        for request in journal.requests.open():
            if request.model == model:
                orders.serve(request, policy)


def _finish_rollback(orders: Orders, journal: Journal, policy: Policy | None, model: str) -> None:
    """What was left of one. It may have to wait for MLflow; an order need not."""
    unfinished = journal.rollbacks.open(model)
    if unfinished is None or policy is None:
        return
    try:
        orders.finish_rollback(unfinished, policy)
    except RetrainError as error:
        print(f"retraind: a rollback of {model} was begun and is not finished: {error}", file=sys.stderr)


def _policy_if_readable(settings: Settings, model: str) -> Policy | None:
    try:
        return readable_policies(settings.policies, model)[0].get(model)
    except PolicyProblems as error:
        print(f"retraind: policies have problems: {error}", file=sys.stderr)
        return None


def _await(journal: Journal, number: int, seconds: float) -> Request | None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = journal.requests.find(number)
        if found is not None and found.code is not None:
            return found
        time.sleep(0.05)
    return None


def _person() -> str:
    return os.environ.get("SUDO_USER") or getpass.getuser()
