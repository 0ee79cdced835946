"""Which columns a registered model takes, and as which types: its MLflow signature, or the policy's `data.features`.

Only names and kinds; reading files against them lives in `dataset.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from retrain_daemon.core.policy import DataSpec
from retrain_daemon.errors import Refused
from retrain_daemon.worker.job import Source
from retrain_daemon.worker.mlflow_errors import understood

KINDS = ("boolean", "integer", "long", "float", "double", "string", "datetime")
_TENSOR_KINDS = {
    "bool": "boolean", "int8": "integer", "int16": "integer", "int32": "integer", "uint8": "integer",
    "uint16": "integer", "int64": "long", "uint32": "long", "float32": "float", "float64": "double",
    "object": "string", "str": "string",
}  # fmt: skip
_REMEDY = (
    "Log the model with a signature of named columns: "
    "mlflow.sklearn.log_model(model, signature=mlflow.models.infer_signature(X, y)) with X a DataFrame"
)


@dataclass(frozen=True)
class Column:
    """A column's name and its kind in MLflow's words (one of `KINDS`), "" when not known."""

    name: str
    kind: str


@dataclass(frozen=True)
class Schema:
    """The feature columns in the model's order, and the kind of its output ("" when the signature does not say)."""

    features: tuple[Column, ...]
    target_kind: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in the model's order."""
        return tuple(column.name for column in self.features)


def unit_name(spec: DataSpec, schema: Schema) -> str:
    """What one unit of the leak check is, with every name: keys of another unit cannot be compared."""
    return f"group {spec.group}" if spec.group is not None else f"features {', '.join(sorted(schema.names))}"


def read_schema(source: Source, spec: DataSpec) -> Schema:
    """The features of `source`'s version, narrowed and ordered by `spec.features` where the policy names them.

    Raises Refused when neither says which columns are features, when the signature is not of named scalar columns,
    or when the policy names a feature the signature lacks; NotFound or RegistryUnreachable when it cannot be read.
    """
    label = f"{source.model} version {source.version}"
    signature = None if source.version is None else _signature(source)
    if signature is None:
        return Schema(_unknown_kinds(source, spec))
    columns = _columns(signature.inputs, label)
    return Schema(_chosen(columns, spec.features, label), _target_kind(signature.outputs))


def _unknown_kinds(source: Source, spec: DataSpec) -> tuple[Column, ...]:
    if spec.features:
        return tuple(Column(name, "") for name in spec.features)
    if source.version is None:
        raise Refused(
            f"Model {source.model} has no version whose signature would name its features.",
            "Name the columns in the policy's data.features, or give a version the champion's alias.",
        )
    raise Refused(
        f"Model {source.model} version {source.version} has no signature, so its features are not known.",
        f"{_REMEDY}; or name the columns in the policy's data.features.",
    )


def _signature(source: Source) -> Any:
    import mlflow  # takes a second, and a policy with data.features may not need it

    mlflow.set_tracking_uri(source.tracking_uri)
    mlflow.set_registry_uri(source.registry_uri)
    with understood(source.registry_uri):
        return mlflow.models.get_model_info(f"models:/{source.model}/{source.version}").signature


def _columns(inputs: Any, label: str) -> tuple[Column, ...]:
    if inputs is None or not inputs.inputs:
        raise Refused(f"The signature of {label} names no input columns.", f"{_REMEDY}.")
    if inputs.is_tensor_spec():
        raise Refused(
            f"The signature of {label} is of tensors, not of named columns; such models are not built yet.",
            f"{_REMEDY}.",
        )
    return tuple(_column(number, found, label) for number, found in enumerate(inputs.inputs, 1))


def _column(number: int, found: Any, label: str) -> Column:
    if not found.name:
        raise Refused(f"Column {number} in the signature of {label} has no name.", f"{_REMEDY}.")
    kind = getattr(found.type, "name", None)
    if kind not in KINDS:
        raise Refused(
            f"Column {found.name!r} in the signature of {label} is of type {found.type}; that is not built yet.",
            f"Columns can be {', '.join(KINDS)}. {_REMEDY}.",
        )
    return Column(str(found.name), str(kind))


def _chosen(columns: tuple[Column, ...], wanted: tuple[str, ...], label: str) -> tuple[Column, ...]:
    known = {column.name: column for column in columns}
    for name in wanted:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            meant = f"did you mean {close[0]!r}? It" if close else "it"
            raise Refused(
                f"data.features names {name!r}, which the signature of {label} does not have.",
                f"{meant[0].upper()}{meant[1:]} has {', '.join(list(known)[:20])}{' ...' if len(known) > 20 else ''}.",
            )
    return tuple(known[name] for name in wanted) or columns


def _target_kind(outputs: Any) -> str:
    """The kind of a model with one output value a row; "" for probabilities, several outputs or none."""
    if outputs is None or len(outputs.inputs) != 1:
        return ""
    [output] = outputs.inputs
    if outputs.is_tensor_spec():
        return _TENSOR_KINDS.get(output.type.name, "") if tuple(output.shape) == (-1,) else ""
    kind = getattr(output.type, "name", "")
    return kind if kind in KINDS else ""
