"""One job done by a worker of the command's own, beside any daemon. What is asked and what is printed is the verb's."""

from __future__ import annotations

import time
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
