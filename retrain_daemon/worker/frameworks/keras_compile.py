"""The optimizer of a Keras model: kept as compiled with its state, or made anew where the policy asks for another.

Losses are in `keras_losses.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from retrain_daemon.core.policy import Mode, Outputs
from retrain_daemon.errors import Refused
from retrain_daemon.worker.frameworks.hyperparameters import Hyperparameters
from retrain_daemon.worker.frameworks.keras_losses import Form, Goal, compiled_goal, wanted_goal

DEFAULT = "adam"
OPTIMIZERS = {
    "sgd": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "adagrad": keras.optimizers.Adagrad,
    "nadam": keras.optimizers.Nadam,
}
_ANOTHER_RATE = "Name `optimizer` and `learning_rate`: then the optimizer starts anew with this rate."
#: What a team compiled beside optimizer and loss, and says nothing about what is learned.
_CARRIED = ("run_eagerly", "jit_compile", "steps_per_execution")


@dataclass(frozen=True)
class Compiled:
    """A model ready to learn: names of optimizer and loss, the form of its targets, and what a reviewer should know."""

    optimizer: str
    loss: str
    form: Form
    notes: tuple[str, ...]


def compile_as_wanted(
    model: Any, wanted: Hyperparameters, kind: Outputs, outputs: int, mode: Mode, recompile: bool, like: Any = None
) -> Compiled:
    """Compile `model` where it must be: not compiled, another optimizer or loss, fresh weights, or `recompile` (h5).

    Otherwise the optimizer keeps its state; a learning rate or weight decay is set on it. A model that is not compiled
    takes optimizer and loss of the model `like`. Raises Refused for a name that is none, for a loss that does not fit
    the outputs, and for a rate that a schedule stands against, or that has come to 0.
    """
    source = model if _is_compiled(model) or like is None else like
    goal, changed = _goal(source, wanted, kind, outputs)
    own = inner(source.optimizer) if _is_compiled(source) else None
    name = _optimizer_name(wanted.optimizer, own)
    why = _why_anew(model, own, name, wanted, changed, recompile)
    if why or mode is Mode.REFIT:
        _compile(model, source, _made(source, name, wanted), goal, keep_metrics=not changed)
    else:
        _set_rate(own, wanted)
    _refuse_no_rate(model.optimizer)
    _refuse_averages(model.optimizer, wanted)
    notes = (f"The optimizer starts anew ({name}): {why}.",) if why and mode is not Mode.REFIT else ()
    return Compiled(name, goal.name, goal.form, notes)


@contextmanager
def clipped(optimizer: Any, norm: float | None) -> Iterator[None]:
    """With all gradients together held to a norm, in place of what the optimizer clips itself; as before afterwards."""
    at_work = inner(optimizer)
    before = at_work.clipnorm, at_work.clipvalue, at_work.global_clipnorm
    if norm is not None:
        at_work.clipnorm, at_work.clipvalue, at_work.global_clipnorm = None, None, norm
    try:
        yield
    finally:
        at_work.clipnorm, at_work.clipvalue, at_work.global_clipnorm = before


def inner(optimizer: Any) -> Any:
    """The optimizer that moves the weights: one that scales the loss only stands around it."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def take_up_state(model: Any, stored: list[Any] | None) -> str:
    """Give the optimizer of a loaded model its `stored` variables, which Keras may have left out as unfitting.

    A model that computes in 16 bits gets its loss scaled again. Returns a sentence where the state is lost.
    """
    if not _is_compiled(model) or not stored:
        return ""
    if _in_short_numbers(model) and model.optimizer is inner(model.optimizer):
        model.optimizer = keras.optimizers.LossScaleOptimizer(_copied(model.optimizer, Hyperparameters()))
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    mine = model.optimizer.variables
    if [np.shape(value) for value in stored] == [tuple(variable.shape) for variable in mine]:
        for variable, value in zip(mine, stored, strict=True):
            variable.assign(value)
        return ""
    if not any(np.size(value) > 1 for value in stored):
        return ""  # it was stored before its first step
    return "The optimizer starts anew: its state in the champion's file is of other weights than can be trained now."


def _is_compiled(model: Any) -> bool:
    return bool(model.compiled and model.optimizer is not None)


def _in_short_numbers(model: Any) -> bool:
    return any(layer.compute_dtype == "float16" for layer in model._flatten_layers())


def _goal(source: Any, wanted: Hyperparameters, kind: Outputs, outputs: int) -> tuple[Goal, bool]:
    """The loss to learn by, and whether it is another than the one that was compiled."""
    has_own = source.compiled and source.loss is not None
    if wanted.loss is None and has_own:
        return compiled_goal(source.loss, kind, outputs), False
    goal = wanted_goal(wanted.loss, kind, outputs)
    if has_own:
        try:
            own = compiled_goal(source.loss, kind, outputs)
        except Refused:
            return goal, True  # that is why the policy names one
        if goal.same_as(own):
            return own, False
    return goal, True


def _why_anew(
    model: Any, own: Any, name: str, wanted: Hyperparameters, changed: bool, recompile: bool
) -> str:  # fmt: skip
    """Why the optimizer cannot keep its state, as a clause; "" when it can."""
    if own is None or not _is_compiled(model):
        return "the champion is not compiled"
    if recompile:
        return "an h5 file's optimizer cannot go on"
    if name != type(own).__name__.lower():
        return f"the policy names it, and the champion has {type(own).__name__.lower()}"
    if wanted.optimizer and wanted.learning_rate is not None and _has_schedule(own):
        return "the policy's learning rate takes the place of a schedule"
    return "the policy names another loss" if changed else ""


def _compile(model: Any, source: Any, optimizer: Any, goal: Goal, keep_metrics: bool) -> None:
    """Metrics by name are carried over unless the loss takes its targets otherwise; a team's own are left to it."""
    config = (source.get_compile_config() or {}) if _is_compiled(source) else {}
    metrics = {name: _plain(config.get(name)) for name in ("metrics", "weighted_metrics") if keep_metrics}
    carried = {name: config[name] for name in _CARRIED if config.get(name) is not None}
    model._compile_metrics = None  # compile() without metrics keeps those there were
    model.compile(optimizer=optimizer, loss=goal.loss, **metrics, **carried)
    model.optimizer.build(model.trainable_variables)


def _plain(metrics: Any) -> Any:
    return [each for each in metrics if isinstance(each, str)] or None if isinstance(metrics, list) else None


def _made(source: Any, name: str, wanted: Hyperparameters) -> Any:
    """A new optimizer of this name: with the settings of the one there is, where that is of the same name."""
    old = source.optimizer if _is_compiled(source) else None
    if old is not None and type(inner(old)).__name__.lower() == name:
        made = _copied(inner(old), wanted)
    else:
        given = {"learning_rate": wanted.learning_rate, "weight_decay": wanted.weight_decay}
        made = OPTIMIZERS[name](**{key: value for key, value in given.items() if value is not None})
    return made if old is inner(old) else keras.optimizers.LossScaleOptimizer(made)


def _copied(optimizer: Any, wanted: Hyperparameters) -> Any:
    """The same optimizer with its settings, without its state."""
    config = optimizer.get_config()
    if wanted.learning_rate is not None:
        config["learning_rate"] = wanted.learning_rate
    if wanted.weight_decay is not None:
        config["weight_decay"] = wanted.weight_decay
    return type(optimizer).from_config(config)


def _optimizer_name(wanted: str | None, own: Any) -> str:
    present = "" if own is None else type(own).__name__.lower()
    name = (wanted or present or DEFAULT).lower()
    if name not in (*OPTIMIZERS, present):
        raise Refused(f"There is no optimizer {name!r} for Keras models.", f"There are {', '.join(OPTIMIZERS)}.")
    return name


def _has_schedule(optimizer: Any) -> bool:
    return isinstance(optimizer._learning_rate, keras.optimizers.schedules.LearningRateSchedule)


def _set_rate(optimizer: Any, wanted: Hyperparameters) -> None:
    if wanted.weight_decay is not None:
        optimizer.weight_decay = wanted.weight_decay
    if wanted.learning_rate is None:
        return
    if _has_schedule(optimizer):
        raise Refused(
            "The champion's optimizer has a schedule for its learning rate, which one number cannot replace.",
            _ANOTHER_RATE,
        )
    optimizer.learning_rate = wanted.learning_rate


def _refuse_averages(optimizer: Any, wanted: Hyperparameters) -> None:
    """Keras pairs averages with the weights that learn by their order, which no longer fits when some are frozen."""
    if wanted.freeze and inner(optimizer).use_ema:
        raise Refused(
            "The champion's optimizer keeps averages of the weights (use_ema), which cannot be kept when layers are "
            "frozen.",
            "Leave `freeze` out, or name another `optimizer`.",
        )


def _refuse_no_rate(optimizer: Any) -> None:
    at_work = inner(optimizer)
    if _has_schedule(at_work) and float(at_work.learning_rate) == 0:
        raise Refused(
            f"The schedule of the champion's learning rate has come to 0 at step {int(at_work.iterations):,}: nothing "
            "would be learned.",
            _ANOTHER_RATE,
        )
