"""What a first policy for a network must say of its inputs and outputs, told by its signature, its files, and what it
predicts on their first rows. Nothing is written that the network does not take.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain_daemon.core.metrics import Task
from retrain_daemon.core.policy import DataSpec, Mode, Outputs, Target
from retrain_daemon.errors import DataProblem, Refused, RetrainError
from retrain_daemon.worker.against_file import Head, labels_of
from retrain_daemon.worker.cards import ModelCard
from retrain_daemon.worker.columns import cast, missing
from retrain_daemon.worker.data_sketch import times_of
from retrain_daemon.worker.evaluate import canonical
from retrain_daemon.worker.feature_names import is_pattern
from retrain_daemon.worker.features import Table
from retrain_daemon.worker.flavors import framework_of
from retrain_daemon.worker.formats import shown
from retrain_daemon.worker.job import PolicySketched, SketchPolicy
from retrain_daemon.worker.model_files import ModelFiles, fetch
from retrain_daemon.worker.schema import Schema
from retrain_daemon.worker.signature import read_schema
from retrain_daemon.worker.trainable import Meaning, Trainable

Label = str | int | float | bool
_NUMBERED = re.compile(r"(.*?)(\d+(?:[_\-. x]\d+)*)", re.DOTALL)
#: Losses by their names in Keras; one of values says that the network predicts values.
_OF_VALUES = ("mse", "mae", "squared_error", "squarederror", "absolute_error", "absoluteerror", "huber", "log_cosh")
_CLOSE = 1e-2
EPOCHS = 5


@dataclass(frozen=True)
class _Raw:
    """What a network gives for some rows, (rows, outputs), and these rows' labels."""

    outputs: NDArray[np.float64]
    labels: Sequence[object]


def stand_for(card: ModelCard, head: Head, target: str) -> tuple[str, ...]:
    """What `data.features` must say: nothing where the signature names columns; a pattern or names for a tensor.

    Raises Refused where the columns of the file do not fill it.
    """
    inputs = None if card.info.signature is None else card.info.signature.inputs
    if inputs is not None and inputs.inputs and not inputs.is_tensor_spec():
        return ()
    needed = 0 if inputs is None or not inputs.inputs else _size(inputs.inputs[0].shape[1:])
    left_out = {target, *times_of(head, head.columns)}
    possible = [name for name in head.columns if name not in left_out]
    for stem, family in _families(possible).items():
        pattern = f"{stem}*"
        plain = stem and not any(sign in stem for sign in "*?[")
        if plain and len(family) == needed and family == [name for name in possible if fnmatchcase(name, pattern)]:
            return (pattern,)
    if not target:
        return ()
    if needed and len(possible) != needed:
        raise Refused(
            f"A row of {card.label} is {needed} numbers, and {shown(head.path)} has {len(possible)} columns beside the "
            f"target {target!r}.",
            "Name the columns that fill it alike with numbers, such as pixel_0, or leave the others out of the files.",
        )
    if strange := [name for name in possible if is_pattern(name)]:
        raise Refused(f"The column {strange[0]!r} has a sign of patterns in its name.", "Name it otherwise.")
    return tuple(possible)


def _size(shape: Sequence[int]) -> int:
    return prod(shape) if all(size > 0 for size in shape) else 0


def _families(names: Sequence[str]) -> dict[str, list[str]]:
    """Columns that differ in numbers at their ends only, by what is before these."""
    families: dict[str, list[str]] = {}
    for name in names:
        if found := _NUMBERED.fullmatch(name):
            families.setdefault(found[1], []).append(name)
    return families


def sketch_network(
    job: SketchPolicy, card: ModelCard, head: Head, found: PolicySketched, scratch: Path
) -> PolicySketched:  # fmt: skip
    """Outputs, classes and mode, tried on the network itself; raises Refused for what cannot be told."""
    files = fetch(card, scratch)
    data = DataSpec(folder="/", pattern="*", target=Target(column=found.target), features=found.features)
    raw = _raw(job, card, files, data, head)
    values, why_values = _predicts_values(raw, found, head)
    kind, why = (Outputs.VALUE, why_values) if values else _kind(raw.outputs)
    classes = () if values else _classes(job, raw, head)
    said = replace(data, target=Target(column=found.target, classes=classes), model_outputs=kind)
    schema = read_schema(job.source, said, head.path)
    model = framework_of(card).load(files, Meaning(data=said, schema=schema))
    tensor = schema.tensor
    assert tensor is not None  # a network's schema always has one
    right = None if values else _agreement(raw, classes)
    return replace(
        found,
        mode=_mode(found, model),
        task=(Task.REGRESSION if values else Task.CLASSIFICATION).value,
        probabilities=not values,
        columns=len(schema.features),
        shape=tensor.shape if len(tensor.shape) > 1 else (),
        model_outputs=kind.value,
        why_outputs=why,
        classes=classes,
        agreement=right,
    )


def _raw(job: SketchPolicy, card: ModelCard, files: ModelFiles, data: DataSpec, head: Head) -> _Raw:
    """What the network gives for the first rows with a label, without a meaning."""
    refusal: RetrainError | None = None
    for outputs in _possible_outputs(job, card, data, head):
        named = tuple(f"output {place}" for place in range(outputs))
        plain = replace(data, target=Target(column=named[0], more=named[1:]), model_outputs=Outputs.VALUE)
        schema = read_schema(job.source, plain, head.path)
        try:
            model = framework_of(card).load(files, Meaning(data=plain, schema=schema))
        except Refused as error:
            refusal = refusal or error
            continue
        return _predicted(model, schema, data, head)
    assert refusal is not None  # there is at least one number of outputs to try
    raise refusal


def _possible_outputs(job: SketchPolicy, card: ModelCard, data: DataSpec, head: Head) -> list[int]:
    """How many numbers it may give a row: as the signature says, else as many as there are labels, else one."""
    outputs = None if card.info.signature is None else card.info.signature.outputs
    told = 0
    if outputs is not None and outputs.inputs:
        shape = tuple(outputs.inputs[0].shape) if outputs.is_tensor_spec() else ()
        told = len(outputs.inputs) if not outputs.is_tensor_spec() else shape[-1] if len(shape) > 1 else 1
    likely = (told, len(job.classes), len(labels_of(head, data)), 1)
    return [number for number in dict.fromkeys(likely) if 0 < number <= 10_000]


def _predicted(model: Trainable, schema: Schema, data: DataSpec, head: Head) -> _Raw:
    """Rows in which a value is missing are left out; raises Refused where columns are not numbers."""
    labelled = head.rows[~missing(head.rows[data.target.column], "")].reset_index(drop=True)
    try:
        features = cast(labelled, schema)
    except DataProblem as problem:
        raise Refused(f"In {shown(head.path)}: {problem.message}", problem.hint) from problem
    whole = features.notna().all(axis=1)
    features = features[whole].reset_index(drop=True)
    values = model.predict(Table(features)).values
    assert values is not None  # asked for values
    labels = labels_of(replace(head, rows=labelled[whole]), data, every=True)
    return _Raw(np.asarray(values, dtype=np.float64).reshape(len(features), -1), labels)


def _predicts_values(raw: _Raw, found: PolicySketched, head: Head) -> tuple[bool, str]:
    """Whether the target is a number to be met, and why that is thought."""
    loss = dict(found.inspected.hyperparameters).get("loss", "").lower()
    if any(word in loss for word in _OF_VALUES):
        return True, f"the model was compiled with the loss {loss}"
    labels = set(raw.labels)
    if any(isinstance(label, float) for label in labels):
        return True, f"{found.target!r} holds numbers that are not whole"
    if raw.outputs.shape[1] == 1 and len(labels) > 2:
        return True, f"the model gives one number a row, and {found.target!r} has {len(labels)} values"
    return False, ""


def _kind(outputs: NDArray[np.float64]) -> tuple[Outputs, str]:
    """Whether outputs for classes are probabilities, by what they are for the first rows."""
    rows = f"in the first {len(outputs):,} rows"
    low, high = float(outputs.min(initial=0.0)), float(outputs.max(initial=0.0))
    inside = low >= -_CLOSE and high <= 1 + _CLOSE
    if inside and (outputs.shape[1] == 1 or np.allclose(outputs.sum(axis=1), 1, atol=_CLOSE)):
        return Outputs.PROBABILITIES, f"{rows} they lie between 0 and 1" + (
            " and add up to 1" if outputs.shape[1] > 1 else ""
        )
    return Outputs.LOGITS, f"{rows} they reach from {low:.3g} to {high:.3g}, so no softmax was applied"


def _classes(job: SketchPolicy, raw: _Raw, head: Head) -> tuple[Label, ...]:
    """The class of each output: as a person named them, else whole numbers from 0; raises Refused for others."""
    outputs = max(raw.outputs.shape[1], 2)
    labels: dict[str, Any] = {canonical(label): label for label in raw.labels}
    if job.classes:
        if len(job.classes) != outputs or len(set(job.classes)) != outputs:
            raise Refused(f"--classes names {len(set(job.classes))} classes, and the model tells {outputs} apart.")
        if strange := sorted(set(labels) - set(job.classes)):
            raise Refused(
                f"{shown(head.path)} has the label {strange[0]!r}, which --classes does not name.",
                "Name every class, in the order of the outputs.",
            )
        whole = all(isinstance(label, int) and not isinstance(label, bool) for label in labels.values())
        return tuple(labels.get(text, int(text) if whole and text.isdecimal() else text) for text in job.classes)
    if all(isinstance(label, bool) for label in labels.values()) and outputs == 2:
        return (False, True)
    if all(isinstance(label, int) and 0 <= label < outputs for label in labels.values()):
        return tuple(range(outputs))
    listed = " ".join(sorted(labels)[:outputs])
    raise Refused(
        f"Which class each of the model's outputs is cannot be told: {shown(head.path)} has {len(labels)} labels "
        f"({', '.join(repr(text) for text in sorted(labels)[:12])}), and the model tells {outputs} classes apart.",
        f"Name them in the order of the outputs, for example: --classes {listed}",
    )


def _agreement(raw: _Raw, classes: tuple[Label, ...]) -> float:
    """In which share of the first rows the network is right, when its outputs are these classes."""
    outputs = raw.outputs
    codes = outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] > _middle(outputs)).astype(int)
    said = [canonical(classes[code]) for code in codes]
    right = sum(one == canonical(label) for one, label in zip(said, raw.labels, strict=True))
    return right / max(len(said), 1)


def _middle(outputs: NDArray[np.float64]) -> float:
    return 0.5 if _kind(outputs)[0] is Outputs.PROBABILITIES else 0.0


def _mode(found: PolicySketched, model: Trainable) -> str:
    """The first mode that a rehearsal with the written hyperparameters passes; raises Refused where none does."""
    refusal: RetrainError | None = None
    for mode in (Mode.WARM_START, Mode.INCREMENTAL, Mode.REFIT):
        if not any(each.possible and each.mode == mode.value for each in found.inspected.modes):
            continue
        try:
            model.rehearse(mode, {"epochs": EPOCHS}, False)
        except RetrainError as error:
            refusal = refusal or error
            continue
        return mode.value
    assert refusal is not None  # some mode is possible, or the model was refused before
    raise refusal
