"""What a first policy for a registered model could say: by its signature, by itself, and by the files to be dropped.

What cannot be told is refused with what a person must name. A network's outputs are for `network_sketch.py`; the
policy's text is written elsewhere.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

from retrain_daemon.core.policy import DataSpec, Mode, Target
from retrain_daemon.errors import Refused
from retrain_daemon.worker.against_file import Head
from retrain_daemon.worker.cards import ModelCard, connect, read_version
from retrain_daemon.worker.data_sketch import look_into, times_of
from retrain_daemon.worker.flavors import framework_of
from retrain_daemon.worker.formats import shown
from retrain_daemon.worker.job import InspectModel, ModelInspected, PolicySketched, Progress, SketchPolicy
from retrain_daemon.worker.model_files import fetch
from retrain_daemon.worker.model_inspection import inspect_model
from retrain_daemon.worker.network_sketch import sketch_network, stand_for
from retrain_daemon.worker.schema import NETWORKS
from retrain_daemon.worker.signature import read_schema
from retrain_daemon.worker.trainable import Meaning, Trainable

#: Hyperparameters that say nothing of what is learned.
_SELDOM = frozenset({"verbose", "n_jobs", "copy_X", "copy", "warm_start", "memory", "transform_input", "random_state"})
_NAME_IT = "name it with --target."


def sketch_policy(job: SketchPolicy, progress: Callable[[Progress], None]) -> PolicySketched:
    """What a first policy could say. Raises Refused for a model that cannot be trained, and for what cannot be told;
    NotFound for a version or a folder that is not there.
    """
    inspected = inspect_model(InspectModel(source=job.source, untrusted=job.untrusted), progress)
    if not any(mode.possible for mode in inspected.modes):
        raise Refused(f"{job.source.model} cannot be trained further: {inspected.modes[0].reason}.",
                      inspected.modes[0].remedy)  # fmt: skip
    connect(job.source)
    card = read_version(job.source)
    progress(Progress(phase="looking into the data folder"))
    seen, head = look_into(job.folder, job.pattern) if job.folder else (None, None)
    network = card.flavor in NETWORKS
    if network and head is None:
        raise Refused(
            f"{job.source.model} is a network: which columns it takes, and which class each of its outputs is, is told "
            "by its files.",
            "Name a folder with at least one file of labelled rows: --data FOLDER.",
        )
    features = stand_for(card, head, job.target) if head is not None and network else ()
    target, beside = _target(job, inspected, head, features)
    if seen is not None and head is not None:
        seen = replace(seen, beside=beside, times=times_of(head, beside))
    progress(Progress(phase="loading the model"))
    found = PolicySketched(
        inspected=inspected, mode="", task=inspected.task, target=target, network=network, features=features,
        known=inspected.classes, files=seen,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="retraind-init-") as scratch:
        if network:
            assert head is not None  # refused above
            return sketch_network(job, card, head, found, Path(scratch))
        return _sketch_table(job, card, found, Path(scratch))


def _target(
    job: SketchPolicy, inspected: ModelInspected, head: Head | None, features: Sequence[str]
) -> tuple[str, tuple[str, ...]]:
    """The column to predict, and the other columns that the model does not take; raises Refused where it is not the
    only one, or not there.
    """
    if head is None:
        if not job.target:
            raise Refused(
                f"Which column {job.source.model} is to predict, its signature does not say.",
                "Name it with --target, or a folder with files with --data.",
            )
        return job.target, ()
    named = {name for name, _ in inspected.features if name}
    taken = {name for name in head.columns if name in named or any(fnmatchcase(name, each) for each in features)}
    beside = tuple(name for name in head.columns if name not in taken)
    if job.target:
        _refuse_other_target(job.target, head, taken)
        return job.target, tuple(name for name in beside if name != job.target)
    times = times_of(head, beside)
    candidates = [name for name in beside if name not in times]
    if len(candidates) == 1:
        return candidates[0], times
    if not candidates:
        raise Refused(
            f"Each column of {shown(head.path)} is a feature of {job.source.model} or a time: none is left to predict.",
            f"Drop files that hold the column to predict, and {_NAME_IT}",
        )
    listed = ", ".join(repr(name) for name in candidates[:12]) + (", ..." if len(candidates) > 12 else "")
    raise Refused(
        f"Which column {job.source.model} is to predict is not clear: {shown(head.path)} has {listed} beside its "
        "features.",
        f"One of them is it: {_NAME_IT}",
    )


def _refuse_other_target(target: str, head: Head, taken: set[str]) -> None:
    if target not in head.columns:
        close = get_close_matches(target, head.columns, n=1)
        there = f"Did you mean {close[0]!r}?" if close else f"It has {', '.join(head.columns[:12])}."
        raise Refused(f"{shown(head.path)} has no column {target!r}.", there)
    if target in taken:
        raise Refused(f"The model takes {target!r} as a feature.", "Name the column to predict with --target.")


def _sketch_table(job: SketchPolicy, card: ModelCard, found: PolicySketched, scratch: Path) -> PolicySketched:
    """A scikit-learn model says itself what it predicts; loading it tells whether it fits one target."""
    data = DataSpec(folder="/", pattern="*", target=Target(column=found.target))
    schema = read_schema(job.source, data)
    meaning = Meaning(data=data, schema=schema)
    model = framework_of(card).load(fetch(card, scratch), meaning)
    return replace(
        found, inspected=_own(found.inspected, model), mode=_mode(found.inspected, model),
        probabilities=hasattr(model.estimator, "predict_proba"),
        columns=len(schema.features),
    )  # fmt: skip


def _own(inspected: ModelInspected, model: Trainable) -> ModelInspected:
    """With the hyperparameters of the predictor alone: preprocessing stays as it is in most modes."""
    from retrain_daemon.worker.frameworks.sklearn_parts import parts_of

    prefix = parts_of(model.estimator).prefix
    shown = (
        (name, text)
        for name, text in inspected.hyperparameters
        if name.startswith(prefix) and name.removeprefix(prefix) not in _SELDOM and text != "deprecated"
    )
    return replace(inspected, hyperparameters=tuple(shown))


def _mode(inspected: ModelInspected, model: Trainable) -> str:
    """The mode to begin with: it goes on from what was learned, unless each training would make the model larger."""
    from retrain_daemon.worker.frameworks.sklearn_growth import grows
    from retrain_daemon.worker.frameworks.sklearn_parts import parts_of

    order = [Mode.WARM_START, Mode.REFIT, Mode.INCREMENTAL]
    if grows(parts_of(model.estimator).predictor):
        order = [Mode.REFIT, Mode.WARM_START, Mode.INCREMENTAL]
    possible = [mode.mode for mode in inspected.modes if mode.possible]
    return next(mode.value for mode in order if mode.value in possible)
