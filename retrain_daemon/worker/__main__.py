"""The worker's entry point: `python -m retrain_daemon.worker JOB_FOLDER`, job.json in, result.json out.

Exit codes: 0 a result was written (a failure is one, too), 2 the folder holds no readable job, 74 a result could not be
written, 143 told to stop.
What is printed goes to the log beside the job.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from retrain_daemon import __version__
from retrain_daemon.errors import FrameworkMissing, Refused, RegistryUnreachable, RetrainError, Unloadable
from retrain_daemon.secrets import Secrets, secrets_of
from retrain_daemon.shortage import free_room, full, is_shortage, sentence, speaks_of_shortage
from retrain_daemon.worker.credentials import REGISTRY, TRACKING, whole
from retrain_daemon.worker.job import (
    RESULT_NOT_WRITTEN,
    AccountRows,
    CheckPolicy,
    CompareVersions,
    Failed,
    InspectDrops,
    InspectModel,
    Job,
    MeasureDrift,
    OtherVersion,
    Progress,
    RecordLearned,
    Result,
    ScoreDrops,
    SketchPolicy,
    Source,
    Train,
    WriteReport,
    read_job,
    write_progress,
    write_result,
)
from retrain_daemon.worker.lifeline import PARENT_VARIABLE, STOPPED, adopt_orphans, die_with_parent
from retrain_daemon.worker.output import Hiding

NO_JOB = 2
_SECONDS_BETWEEN_REPORTS = 0.2


def main(arguments: list[str]) -> int:
    """Do the job of the one folder named, and return the exit code; what is printed meanwhile shows no secrets."""
    secrets = secrets_of(os.environ)
    with redirect_stdout(Hiding(sys.stdout, secrets)), redirect_stderr(Hiding(sys.stderr, secrets)):
        return _main(arguments, secrets)


def _main(arguments: list[str], secrets: Secrets) -> int:
    signal.signal(signal.SIGTERM, _stop)
    adopt_orphans()
    die_with_parent(os.environ.get(PARENT_VARIABLE, ""))
    _use_all_descriptors()
    if len(arguments) != 1:
        print("usage: python -m retrain_daemon.worker JOB_FOLDER", file=sys.stderr)  # noqa: T201
        return NO_JOB
    folder = Path(arguments[0])
    try:
        job = read_job(folder)
    except OtherVersion as other:
        write_result(folder, _other_version(other))
        return 0
    except (OSError, ValueError) as error:
        print(f"{folder} holds no readable job: {error}", file=sys.stderr)  # noqa: T201
        return NO_JOB
    result = _outcome(replace(job, source=_reachable(job.source)), folder)
    return _write(folder, _told(result, secrets))


def _write(folder: Path, result: Result) -> int:
    try:
        write_result(folder, result)
    except OSError as error:
        with contextlib.suppress(OSError):  # the log may be on the same disk
            print(f"the worker could not write its result: {sentence(error, folder)}", file=sys.stderr)  # noqa: T201
        return RESULT_NOT_WRITTEN
    return 0


def _outcome(job: Job, folder: Path) -> Result:
    """The job's result, or why there is none in one sentence; a traceback goes to the log."""
    progress = Reporter(folder)
    try:
        return _do(job, folder, progress)
    except Exception as error:  # noqa: BLE001  any failure of foreign code is an outcome with a reason
        return _short_of_room(error, job, folder, progress.phase) or _failed(error, progress.phase)


def _failed(raised: Exception, phase: str) -> Failed:
    try:
        raise raised
    except RetrainError as error:
        return Failed(
            message=error.message,
            hint=error.hint,
            temporary=error.temporary,
            unreachable=isinstance(error, RegistryUnreachable),
            framework_missing=isinstance(error, FrameworkMissing),
            unloadable=error.uri if isinstance(error, Unloadable) else "",
        )
    except MemoryError:
        return Failed(
            message=f"The worker ran out of memory while {phase}.",
            hint="Raise train.limits.memory, or let data.window take fewer rows.",
        )
    except Exception as error:  # noqa: BLE001  any failure of foreign code is an outcome with a reason
        traceback.print_exc()
        said = " ".join(str(error).split())[:300]
        return Failed(
            message=f"{type(error).__name__} while {phase}: {said or 'no further words'}",
            hint=_place(error),
        )


def _reachable(source: Source) -> Source:
    """The stores with the credentials that the daemon lent for them."""
    tracking_uri = whole(source.tracking_uri, TRACKING, os.environ)
    return replace(source, tracking_uri=tracking_uri, registry_uri=whole(source.registry_uri, REGISTRY, os.environ))


def _told(result: Result, secrets: Secrets) -> Result:
    """Words of foreign code end in the journal and on screens."""
    if not isinstance(result, Failed):
        return result
    return replace(result, message=secrets.hide(result.message), hint=secrets.hide(result.hint))


def _short_of_room(error: Exception, job: Job, folder: Path, phase: str) -> Failed | None:
    """The machine's fault and not the job's: tried again, and not counted. None for any other failure."""
    if isinstance(error, RetrainError) and error.temporary:
        return None
    uri = urlsplit(job.source.tracking_uri)
    store = [Path(uri.path[1:] if uri.scheme else uri.path).parent] if uri.scheme in ("sqlite", "") else []
    short = full(dict.fromkeys((folder, Path(tempfile.gettempdir()), *store)))
    if not short and not speaks_of_shortage(error):
        return None
    if isinstance(error, OSError) and is_shortage(error) and not short:
        said = sentence(error, folder)
    else:
        said = ", ".join(f"the disk of {each} is full: {free_room(each)}" for each in short or (folder,))
    return Failed(
        message=f"No room while {phase}: {said} ({' '.join(str(error).split())[:200]}).",
        hint="Make room there.",
        temporary=True,
        unreachable=True,
    )


def _other_version(other: OtherVersion) -> Failed:
    """Another try may help: the right version may be installed meanwhile, or the daemon started anew with this one."""
    return Failed(
        message=f"{sys.executable} has version {__version__} of retrain-daemon, the daemon is version {other.wrote}.",
        hint="Install the daemon's version there, or start the daemon again if its own was replaced.",
        temporary=True,
    )


def _place(error: Exception) -> str:
    """Where it was raised: the log with the whole traceback is gone with the job's folder once this is read."""
    raised = traceback.extract_tb(error.__traceback__)[-1]
    return f"Raised in {raised.name}, {raised.filename} line {raised.lineno}."


@dataclass(frozen=True)
class _Work:
    """Which function of which module does a job; whether it is told the job's folder, and may have a GPU: what is done
    beside a training leaves it that memory.
    """

    module: str
    function: str
    in_folder: bool = False
    gpu: bool = True


_WORK: Mapping[type[Job], _Work] = {
    InspectDrops: _Work("inspection", "inspect_drops"),
    RecordLearned: _Work("inspection", "record_learned"),
    AccountRows: _Work("accounting", "account_rows"),
    MeasureDrift: _Work("drift", "measure_drift"),
    ScoreDrops: _Work("scoring", "score_drops", in_folder=True, gpu=False),
    CompareVersions: _Work("two_versions", "compare_versions", in_folder=True, gpu=False),
    InspectModel: _Work("model_inspection", "inspect_model"),
    CheckPolicy: _Work("against_policy", "check_policy", gpu=False),
    SketchPolicy: _Work("sketch", "sketch_policy", gpu=False),
    Train: _Work("training", "train", in_folder=True),
    WriteReport: _Work("report", "write_report", in_folder=True),
}


def _do(job: Job, folder: Path, progress: Callable[[Progress], None]) -> Result:
    """Each kind of job imports only what it needs: reading a drop must not pay for a framework."""
    work = _WORK.get(type(job))
    if work is None:
        raise Refused(f"This version cannot do the job {job.kind}.")
    if not work.gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    function = getattr(import_module(f"retrain_daemon.worker.{work.module}"), work.function)
    result: Result = function(job, folder, progress) if work.in_folder else function(job, progress)
    return result


def _use_all_descriptors() -> None:
    """The daemon's soft limit is no measure for a framework."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Reporter:
    """Writes progress into the job's folder, a few times a second at most, and knows the present phase."""

    def __init__(self, folder: Path) -> None:
        self.phase = "starting"
        self._folder = folder
        self._written = 0.0

    def __call__(self, progress: Progress) -> None:
        """Tell how far the job is; a new phase is told at once."""
        now = time.monotonic()
        if progress.phase != self.phase or now - self._written >= _SECONDS_BETWEEN_REPORTS:
            self.phase, self._written = progress.phase, now
            with contextlib.suppress(OSError):  # shown to people only
                write_progress(self._folder, progress)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    """Leave without a result and without clean-up: everything that counts is true by rename."""
    os._exit(STOPPED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
