"""A team's own code, named in a policy as "package.module:name": found, called, and identified for the reviewer.

Installed packages come first; then modules beside the policy file. The contract is in `lesson.py`.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import traceback
from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from retrain_daemon.errors import Refused, RetrainError, TrainingFailed
from retrain_daemon.worker.cards import first_line
from retrain_daemon.worker.lesson import Lesson, Record, TrainingFunction
from retrain_daemon.worker.model_code import refuse_stale
from retrain_daemon.worker.trainable import Trainable


def find(reference: str, code_folder: str) -> Callable[..., Any]:
    """The callable that "package.module:name" names; raises Refused with what could not be found, and where."""
    module_name, _, name = reference.partition(":")
    if code_folder and code_folder not in sys.path:
        sys.path.append(code_folder)
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as missing:
        where = f" or put it beside the policy file, in {code_folder}" if code_folder else ""
        raise Refused(
            f"{reference} cannot be imported: there is no module {missing.name!r}.",
            f"Install it where the worker runs{where}.",
        ) from missing
    except Exception as problem:  # what a module raises while it is imported is up to its author
        raise Refused(
            f"{reference} cannot be imported: {type(problem).__name__}: {first_line(problem)}{_place(problem)}."
        ) from problem
    refuse_stale(module, code_folder)
    found = getattr(module, name, None)
    if found is None:
        close = get_close_matches(name, dir(module), n=1)
        raise Refused(f"{module.__file__} has no {name!r}.", f"Did you mean {close[0]!r}?" if close else "")
    if not callable(found):
        raise Refused(
            f"{reference} is a {type(found).__name__}, which cannot be called.", "Name a function or a class."
        )
    return cast("Callable[..., Any]", found)


def find_trainer(reference: str, code_folder: str) -> TrainingFunction:
    """The training function that "package.module:name" names; raises Refused like `find`, and for other arguments."""
    function = find(reference, code_folder)
    _refuse_other_arguments(reference, function)
    return cast("TrainingFunction", function)


def build(reference: str, code_folder: str) -> Any:
    """What the function or class that "package.module:name" names gives; raises Refused with what it raised itself."""
    factory = find(reference, code_folder)
    try:
        return factory()
    except (Exception, SystemExit) as problem:  # what a team's function raises is up to its author
        raise Refused(
            f"{reference} raised {type(problem).__name__}: {first_line(problem)}{_place(problem)}.",
            "It is called without arguments and gives the network.",
        ) from problem


def source_of(function: Callable[..., Any]) -> Path | None:
    """The file a function or class was written in; None where there is none."""
    try:
        return Path(inspect.getfile(inspect.unwrap(function)))
    except TypeError:
        return None


def train_with(
    reference: str, code_folder: str, champion: Trainable, lesson: Lesson
) -> tuple[Trainable, Record]:  # fmt: skip
    """Have a team's own function train a copy of the champion.

    Raises Refused when it cannot be found or takes other arguments, TrainingFailed for what it raises, with the place
    in its code, and for a result that is no model of the champion's kind.
    """
    function = find_trainer(reference, code_folder)
    try:
        trained = function(champion.copied().estimator, lesson)
    except RetrainError:
        raise
    except (Exception, SystemExit) as problem:  # what a team's function raises is up to its author
        raise TrainingFailed(
            f"{reference} raised {type(problem).__name__}: {first_line(problem)}{_place(problem)}."
        ) from problem
    if trained is None:
        raise TrainingFailed(f"{reference} returned nothing.", "It must return the trained model.")
    source = source_of(function)
    digest = hashlib.sha256(source.read_bytes()).hexdigest() if source else "unknown"
    return champion.holding(trained), Record(
        notes=(f"Trained by {reference}; sha256 of its file: {digest}.",), parameters={"train_with_sha256": digest}
    )


def _refuse_other_arguments(reference: str, function: Callable[..., Any]) -> None:
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        raise Refused(
            f"{reference} does not take two arguments.", "Write it as: def fit(champion, lesson): ... return challenger"
        ) from None
    except ValueError:
        return  # a builtin without a signature


def _place(problem: BaseException) -> str:
    """Where in code outside this project it was raised, as a clause."""
    ours = str(Path(__file__).parent)
    frames = [frame for frame in traceback.extract_tb(problem.__traceback__) if not frame.filename.startswith(ours)]
    written = [frame for frame in frames if "site-packages" not in frame.filename and "importlib" not in frame.filename]
    return f" (in {Path(written[-1].filename).name}, line {written[-1].lineno})" if written else ""
