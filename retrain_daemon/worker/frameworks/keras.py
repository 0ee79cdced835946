"""Keras models on TensorFlow for training and judging: the door that `trainable.py` describes.

The loop is in `keras_training.py`, optimizer and loss in `keras_compile.py`, files in `keras_files.py` and
`keras_storage.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrain_daemon.core.metrics import Task
from retrain_daemon.core.policy import Hyperparameter, Mode, Scalar
from retrain_daemon.errors import Refused, RetrainError, TrainingFailed
from retrain_daemon.worker.cards import capital
from retrain_daemon.worker.custom import build
from retrain_daemon.worker.evaluate import Predictions
from retrain_daemon.worker.features import Features, Positions, Table
from retrain_daemon.worker.frameworks import keras_files, keras_storage
from retrain_daemon.worker.frameworks.hyperparameters import Hyperparameters, read_hyperparameters
from retrain_daemon.worker.frameworks.keras_errors import said_by
from retrain_daemon.worker.frameworks.keras_storage import load_keras
from retrain_daemon.worker.frameworks.network import (
    as_classes,
    codes_of,
    declared_classes,
    note_early_stop,
    note_missing_classes,
    predicted_at_once,
    predictions_of,
    refuse_class_weight,
    row_weights,
    training_sides,
)
from retrain_daemon.worker.lesson import Lesson, Record
from retrain_daemon.worker.model_files import ModelFiles
from retrain_daemon.worker.schema import Tensor
from retrain_daemon.worker.trainable import Described, Meaning


def load(files: ModelFiles, meaning: Meaning) -> KerasModel:
    """Load a model as it was saved, compiled or not.

    Raises Refused for SavedModel exports, for what does not load, for several inputs or outputs, and where shape or
    outputs are not what the policy says.
    """
    path = keras_files.model_path(files)
    model = load_keras(files)
    tensor = meaning.schema.tensor
    assert tensor is not None  # a network's schema always has one
    outputs = _count_outputs(model, tensor, files.card.label)
    return KerasModel(
        estimator=model,
        files=files,
        meaning=meaning,
        outputs=outputs,
        classes=declared_classes(meaning, outputs),
        format=keras_files.H5 if path.suffix == ".h5" else keras_files.NATIVE,
        recompile=path.suffix == ".h5",
    )


def describe(files: ModelFiles) -> Described:
    """All from the Keras file itself, without importing TensorFlow."""
    stored = keras_files.read_stored(keras_files.model_path(files), files.card.label)
    settings = (stored.optimizer or {}).get("config") or {}
    shown = {
        "optimizer": (stored.optimizer or {}).get("class_name"),
        "learning_rate": settings.get("learning_rate"),
        "weight_decay": settings.get("weight_decay"),
        "loss": stored.loss or None,
    }
    return Described(
        estimator=f"{stored.model_class}, {len(stored.layers)} layers",
        storage=stored.format,
        modes=keras_files.describe_modes(stored),
        hyperparameters=(
            *((name, _shown(value)) for name, value in shown.items() if value is not None),
            *(("freeze", name) for name in stored.layers[:20]),
        ),
        notes=keras_files.notes_on(stored),
    )


def _shown(value: Any) -> str:
    """Rates are stored as 32-bit numbers; a schedule is known by its class."""
    if isinstance(value, dict):
        return str(value.get("class_name", value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class KerasModel:
    """A Keras model, what its outputs mean, and the files it can be loaded from once more.

    `recompile`: it came from h5, and its optimizer cannot go on.
    """

    estimator: Any
    files: ModelFiles
    meaning: Meaning
    outputs: int
    classes: NDArray[Any] | None
    format: str
    recompile: bool

    @property
    def task(self) -> Task:
        """Classification where the policy names classes."""
        return Task.REGRESSION if self.classes is None else Task.CLASSIFICATION

    @property
    def settings(self) -> Mapping[str, Scalar]:
        """Rate and decay of its optimizer."""
        optimizer = getattr(self.estimator, "optimizer", None)
        config = optimizer.get_config() if optimizer is not None else {}
        return {name: float(f"{config[name]:.6g}") for name in ("learning_rate", "weight_decay")
                if isinstance(config.get(name), float)}  # fmt: skip

    def truth(self, target: pd.Series | pd.DataFrame) -> NDArray[Any]:
        """Labels as the policy's classes, or numbers."""
        values = np.asarray(target.to_numpy())
        return values.astype(np.float64) if self.classes is None else as_classes(values, self.classes)

    def predict(self, features: Features) -> Predictions:
        """Predict some rows at a time, without training; raises TrainingFailed with the cause."""
        found = []
        with _told():
            size = predicted_at_once(self._tensor)
            for start in range(0, len(features), size):
                rows = features.array(slice(start, start + size), self._tensor.dtype)
                outputs = self.estimator.predict_on_batch(rows.reshape(len(rows), *self._tensor.shape))
                found.append(np.asarray(outputs).reshape(len(rows), -1))
        rows = np.concatenate(found) if found else np.empty((0, self.outputs))
        return predictions_of(rows, self.meaning, self.classes)

    def predict_example(self, example: Any) -> Predictions | None:
        """Predict an array or a table of numbers; None for anything else."""
        try:
            rows = np.asarray(example, dtype=self._tensor.dtype).reshape(len(example), -1)
        except (ValueError, TypeError):
            return None
        return self.predict(Table(pd.DataFrame(rows)))

    def copied(self) -> KerasModel:
        """The champion loaded once more from its files: Keras has no other true copy of weights and optimizer."""
        return replace(self, estimator=load_keras(self.files))

    def continue_training(self, lesson: Lesson) -> tuple[KerasModel, Record]:
        """Train a model loaded once more by the loop of `keras_training.py`; refit starts from fresh weights."""
        from retrain_daemon.worker.frameworks.keras_compile import clipped, compile_as_wanted
        from retrain_daemon.worker.frameworks.keras_layers import frozen
        from retrain_daemon.worker.frameworks.keras_losses import targets_for
        from retrain_daemon.worker.frameworks.keras_training import Course, Material, refuse_diverged, run

        wanted = read_hyperparameters(lesson.hyperparameters, lesson.mode)
        seed = lesson.seed if wanted.seed is None else wanted.seed
        _seed(seed)
        model, kept = self._start(lesson.mode)
        kind = self.meaning.data.model_outputs
        assert kind is not None  # declared_classes has refused otherwise
        compiled = compile_as_wanted(
            model, wanted, kind, self.outputs, lesson.mode, self.recompile, like=self.estimator
        )
        codes, weights, found = self._codes(lesson, wanted)
        known = 0 if self.classes is None else len(self.classes)
        material = Material(
            lesson.rows.features,
            _values(lesson) if codes is None else codes,
            weights,
            self._tensor,
            lambda chosen: chosen if codes is None else targets_for(compiled.form, chosen, known, self.outputs),
        )
        course = Course(model, wanted, lesson.tell)
        training, watched = training_sides(lesson.rows, wanted.early_stopping)
        with _told(), frozen(model, wanted.freeze), clipped(model.optimizer, wanted.gradient_clip):
            run(course, material, training, watched, seed)
        refuse_diverged(model, material)
        trained = len(course.epochs)
        record = Record(
            notes=(*kept, *compiled.notes, *found, *note_early_stop(trained, wanted.epochs)),
            epochs=tuple(course.epochs),
            parameters={
                "framework_optimizer": compiled.optimizer,
                "framework_loss": compiled.loss,
                "device": _device(),
                "epochs_trained": trained,
            },
        )
        return replace(self, estimator=model, recompile=False), record

    def rehearse(self, mode: Mode, hyperparameters: Mapping[str, Hyperparameter], weighted: bool) -> None:
        """Compile a model loaded once more as it would be for a training; raises Refused."""
        from retrain_daemon.worker.frameworks.keras_compile import compile_as_wanted
        from retrain_daemon.worker.frameworks.keras_layers import frozen

        wanted = read_hyperparameters(hyperparameters, mode)
        model, _ = self._start(mode)
        kind = self.meaning.data.model_outputs
        assert kind is not None  # declared_classes has refused otherwise
        compile_as_wanted(model, wanted, kind, self.outputs, mode, self.recompile, like=self.estimator)
        refuse_class_weight(wanted.class_weight, self.classes)
        with frozen(model, wanted.freeze):
            pass

    def holding(self, estimator: Any) -> KerasModel:
        """Around another Keras model; raises TrainingFailed for anything else."""
        import keras

        from retrain_daemon.worker.frameworks.keras_training import refuse_diverged

        if not isinstance(estimator, keras.Model):
            raise TrainingFailed(f"The training function gave a {type(estimator).__name__}, which is no Keras model.")
        if not estimator.compiled:
            raise TrainingFailed(
                "The training function gave a model that is not compiled, so its training could not go on later.",
                "Call compile() on it.",
            )
        refuse_diverged(estimator)
        outputs = _count_outputs(estimator, self._tensor, "the model that the training function gave")
        if outputs != self.outputs:
            raise TrainingFailed(
                f"The training function gave a model of {outputs} outputs a row, and the champion has {self.outputs}."
            )
        return replace(self, estimator=estimator, recompile=False)

    def store(self, target: Path, like: ModelFiles, folder: Path, code_folder: str = "") -> tuple[str, ...]:
        """Store it in the champion's flavour and format (see `keras_storage.store_keras`)."""
        from retrain_daemon.worker.frameworks.keras_storage import store_keras

        return store_keras(self.estimator, target, like, self.format)

    @property
    def _tensor(self) -> Tensor:
        assert self.meaning.schema.tensor is not None
        return self.meaning.schema.tensor

    @property
    def _known(self) -> NDArray[Any]:
        assert self.classes is not None
        return self.classes

    def _start(self, mode: Mode) -> tuple[Any, tuple[str, ...]]:
        """The model a training begins with, and what was kept of the champion although the weights are fresh."""
        if mode is not Mode.REFIT:
            return _with_its_state(self.files)
        if self.meaning.network:
            return self._checked(build(self.meaning.network, self.meaning.code_folder)), ()
        model = load_keras(self.files)
        _count_outputs(model, self._tensor, self.files.card.label)  # builds what is built by its first rows
        return model, _give_fresh_weights(model, self.files)

    def _checked(self, built: Any) -> Any:
        """What `train.model` built, if it is a Keras model of the same outputs; raises Refused otherwise."""
        import keras

        if not isinstance(built, keras.Model):
            raise Refused(f"{self.meaning.network} gives a {type(built).__name__}, which is no Keras model.")
        outputs = _count_outputs(built, self._tensor, self.meaning.network)
        if outputs != self.outputs:
            raise Refused(f"{self.meaning.network} gives {outputs} outputs a row, and the champion {self.outputs}.")
        return built

    def _codes(
        self, lesson: Lesson, wanted: Hyperparameters
    ) -> tuple[Positions | None, NDArray[np.float32] | None, tuple[str, ...]]:
        if self.classes is None:
            return None, row_weights(lesson.weight, wanted.class_weight, None, None), ()
        codes = codes_of(lesson.rows, self.classes)
        weights = row_weights(lesson.weight, wanted.class_weight, codes, self.classes)
        return codes, weights, note_missing_classes(codes, self.classes)


def _values(lesson: Lesson) -> NDArray[Any]:
    values = np.asarray(lesson.target.to_numpy(), dtype=np.float32)
    return values.reshape(len(values), -1)


def _with_its_state(files: ModelFiles) -> tuple[Any, tuple[str, ...]]:
    """The champion loaded once more, with its optimizer's state, and a sentence where that is lost."""
    from retrain_daemon.worker.frameworks.keras_compile import take_up_state

    model, path = load_keras(files), keras_files.model_path(files)
    lost = take_up_state(model, keras_files.kept_variables(path)) if path.suffix != f".{keras_files.H5}" else ""
    return model, (lost,) if lost else ()


def _device() -> str:
    import tensorflow

    return "cuda" if tensorflow.config.list_physical_devices("GPU") else "cpu"


def _seed(seed: int) -> None:
    import keras

    keras.utils.set_random_seed(seed % 2**32)


def _give_fresh_weights(model: Any, files: ModelFiles) -> tuple[str, ...]:
    """Fresh weights from a clone of the same architecture; returns what was kept."""
    import keras

    from retrain_daemon.worker.frameworks.keras_layers import give_fresh_weights

    def built() -> Any:
        twin = keras.models.clone_model(model)
        if not twin.built:
            twin.build(model.input_shape)
        return twin

    keras.config.enable_unsafe_deserialization()  # its code was run when it was loaded
    try:
        with keras.saving.custom_object_scope(keras_storage.custom_objects(files)):
            return give_fresh_weights(model, built)
    except Exception as problem:
        # Cloning runs the constructors of a team's own layers.
        raise Refused(
            f"Mode refit is not possible: {files.card.label} cannot be built anew: {said_by(problem)}.",
            'Name what builds it in train.model: "package.module:factory".',
        ) from problem


def _count_outputs(model: Any, tensor: Tensor, label: str) -> int:
    """How many numbers the model gives a row; raises Refused for other shapes than the policy's, and several heads."""
    inputs = getattr(model, "inputs", None) or ()
    if len(inputs) > 1:
        names = ", ".join(str(each.name) for each in inputs)
        raise Refused(f"{capital(label)} takes {len(inputs)} inputs ({names}); models of several are not built yet.")
    try:
        outputs = model(np.zeros((2, *tensor.shape), dtype=tensor.dtype), training=False)
    except Exception as problem:
        # TensorFlow has errors of its own for shapes that do not fit.
        taken = getattr(model, "input_shape", None)
        raise Refused(
            f"{capital(label)} does not take rows of shape {list(tensor.shape)}"
            f"{f', it takes {list(taken[1:])}' if isinstance(taken, tuple) else ''}: {said_by(problem)}.",
            "Write the shape of one row as the model takes it in data.shape.",
        ) from problem
    if isinstance(outputs, list | tuple | dict):
        raise Refused(
            f"{capital(label)} gives a {type(outputs).__name__} of {len(outputs)}; a model must give one tensor, as "
            "models of several outputs are not built yet."
        )
    values = np.asarray(outputs)
    if values.ndim == 0 or len(values) != 2:
        raise Refused(f"{capital(label)} gives a tensor of shape {list(values.shape)} for 2 rows.")
    return int(values.size // 2)


@contextmanager
def _told() -> Iterator[None]:
    """What Keras and TensorFlow raise, as TrainingFailed with the line that says the cause."""
    try:
        yield
    except (RetrainError, MemoryError):
        raise
    except Exception as problem:
        # TensorFlow's own errors derive from Exception alone.
        raise TrainingFailed(f"Keras says: {said_by(problem)}.") from problem
