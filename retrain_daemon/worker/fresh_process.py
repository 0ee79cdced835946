"""The fresh process: `python -P -m retrain_daemon.worker.fresh_process FOLDER`, a request in, an answer out.

It loads models with `mlflow.pyfunc`, as servers do, and knows nothing of training.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np

from retrain_daemon.worker.fresh import (
    SAMPLE_FILE,
    Answer,
    Request,
    Sample,
    read_request,
    read_sample,
    write_answer,
)
from retrain_daemon.worker.lifeline import PARENT_VARIABLE, die_with_parent

#: Calls that are not counted: the first ones build what later ones use.
_WARM_UP, _WARM_UP_SECONDS = 10, 3.0
_NARROWER = {"integer": "int32", "float": "float32"}
_LONGEST = 300

Call = Callable[[int], None]


def main(folder: Path) -> int:
    """Answer the request of a folder; returns the exit code."""
    request, sample = read_request(folder), read_sample(folder / SAMPLE_FILE)
    answer = Answer()
    challenger = _ready(request.challenger, sample)
    if isinstance(challenger, str):
        answer = replace(answer, challenger_problem=challenger)
    elif request.calls:
        write_answer(folder, answer)  # it loads, whatever comes of the rest
        answer = _timed(request, sample, challenger)
    write_answer(folder, answer)
    return 0


def _ready(path: str, sample: Sample) -> Call | str:
    """Loads a model and has it predict a row: what calls it, or why not."""
    try:
        model = mlflow.pyfunc.load_model(path)
        rows = _rows(model, sample)
        given = model.predict(rows[0])
    except Exception as problem:  # noqa: BLE001  a model may raise anything
        first = (str(problem).strip().splitlines() or [""])[0]
        return f"{type(problem).__name__}: {first[:_LONGEST]}".rstrip(": .")
    if given is None or len(given) != 1:
        return f"it gives {'nothing' if given is None else f'{len(given)} predictions'} for one row"
    return lambda number: model.predict(rows[number % len(rows)])


def _rows(model: Any, sample: Sample) -> Sequence[Any]:
    """Each row by itself as the model's signature wants it."""
    inputs = model.metadata.get_input_schema()
    tensors = inputs.is_tensor_spec() if inputs is not None else sample.tensor is not None
    if tensors:
        kind = inputs.inputs[0].type if inputs is not None else np.dtype(sample.tensor.dtype)  # type: ignore[union-attr]
        shape = sample.tensor.shape if sample.tensor is not None else (sample.rows.shape[1],)
        return list(sample.rows.to_numpy(dtype=kind).reshape(-1, 1, *shape))
    rows = sample.rows
    if inputs is not None:
        kinds = {entry.name: _NARROWER.get(getattr(entry.type, "name", "")) for entry in inputs.inputs}
        rows = rows.astype({name: kind for name, kind in kinds.items() if kind and name in rows})
    return [rows.iloc[[number]].reset_index(drop=True) for number in range(len(rows))]


def _timed(request: Request, sample: Sample, challenger: Call) -> Answer:
    calls = [challenger]
    if request.champion:
        champion = _ready(request.champion, sample)
        if isinstance(champion, str):
            return replace(_alone(request, challenger), champion_problem=champion)
        calls.append(champion)
    times = _in_turn(calls, request)
    return Answer(challenger_ms=times[0], champion_ms=times[1] if len(times) > 1 else ())


def _alone(request: Request, challenger: Call) -> Answer:
    return Answer(challenger_ms=_in_turn([challenger], request)[0])


def _in_turn(calls: list[Call], request: Request) -> tuple[tuple[float, ...], ...]:
    """Milliseconds of each call, by model. Who is first changes every time, so that neither always comes second."""
    for call in calls:
        _warm_up(call)
    times: list[list[float]] = [[] for _ in calls]
    order = list(range(len(calls)))
    spent = 0.0
    for number in range(request.calls):
        if number >= request.least and spent >= request.seconds * len(calls):
            break
        for place in order:
            began = time.perf_counter()
            calls[place](number)
            took = time.perf_counter() - began
            times[place].append(1000 * took)
            spent += took
        order.reverse()
    return tuple(tuple(each) for each in times)


def _warm_up(call: Call) -> None:
    until = time.monotonic() + _WARM_UP_SECONDS
    for number in range(_WARM_UP):
        call(number)
        if time.monotonic() > until:
            return


if __name__ == "__main__":
    die_with_parent(os.environ.get(PARENT_VARIABLE, ""))
    sys.exit(main(Path(sys.argv[1])))
