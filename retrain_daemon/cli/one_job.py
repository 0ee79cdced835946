"""Jobs done by workers of the command's own, beside any daemon. What is asked and what is printed is the verb's."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from retrain_daemon.cli.composition import clock, executor_of
from retrain_daemon.errors import Refused, RegistryUnreachable
from retrain_daemon.executor.limits import Limits
from retrain_daemon.executor.supervisor import Ended, Running
from retrain_daemon.settings import Settings
from retrain_daemon.worker.job import Failed, Job, Result

_SECONDS_BETWEEN_LOOKS = 0.05


def done(settings: Settings, job: Job, limits: Limits, folder: Path) -> Result:
    """The result, waited for; the job's files lie in `folder`. Raises Refused, or RegistryUnreachable, where it has
    none.
    """
    executor = executor_of(settings, folder, lambda: None)
    try:
        executor.start(job.kind, job, limits, clock())
        while isinstance(seen := executor.look(job.kind), Running):
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    finally:
        executor.close()
    match seen:
        case Ended(result=Failed(unreachable=True, message=message, hint=hint)):
            raise RegistryUnreachable(message, hint)
        case Ended(result=Failed(message=message, hint=hint)):
            raise Refused(message, hint)
        case Ended(result=result) if result is not None:
            return result
        case other:
            raise Refused(f"the worker answered {other} to {job.kind}.")


@dataclass(frozen=True)
class Asked:
    """A job, and the interpreter its worker runs in; "" for the command's own."""

    job: Job
    python: str = ""


def all_done(settings: Settings, asked: Mapping[str, Asked], limits: Limits, folder: Path) -> Mapping[str, Result]:
    """The result of each job by its key, a plain file name; one that has none, such as of a worker that died, is
    `Failed`. As many workers run at a time as the settings allow inspections.
    """
    executor = executor_of(settings, folder, lambda: None)
    waiting, results = list(asked), dict[str, Result]()
    try:
        while len(results) < len(asked):
            while waiting and len(executor.running()) < settings.inspections:
                key = waiting.pop(0)
                executor.start(key, asked[key].job, limits, clock(), python=asked[key].python)
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            started = (key for key in asked if key not in waiting and key not in results)
            results.update({key: ended.result for key in started if isinstance(ended := executor.look(key), Ended)})
    finally:
        executor.close()
    return results
