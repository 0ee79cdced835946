"""Which columns a registered model takes, and as which types: its MLflow signature, or the policy's `data.features`.

Only names and kinds; reading files against them lives in `dataset.py`.
"""

from __future__ import annotations

from difflib import get_close_matches
from math import prod
from typing import Any

from retrain_daemon.core.policy import DataSpec, Outputs
from retrain_daemon.errors import DataProblem, NotFound, Refused
from retrain_daemon.worker.feature_names import expanded, is_pattern, matched
from retrain_daemon.worker.feature_names import read_from as _read_from
from retrain_daemon.worker.job import Source
from retrain_daemon.worker.mlflow_errors import understood
from retrain_daemon.worker.schema import KINDS, NARROW_KINDS, NETWORKS, Column, Schema, Tensor

_TENSOR_KINDS = {
    "bool": "boolean", "int8": "integer", "int16": "integer", "int32": "integer", "uint8": "integer",
    "uint16": "integer", "int64": "long", "uint32": "long", "float16": "float", "float32": "float", "float64": "double",
    "object": "string", "str": "string",
}  # fmt: skip
_REMEDY = (
    "Log the model with a signature of named columns: "
    "mlflow.sklearn.log_model(model, signature=mlflow.models.infer_signature(X, y)) with X a DataFrame"
)


def read_schema(source: Source, spec: DataSpec, reference: str = "") -> Schema:
    """The features of `source`'s version, narrowed and ordered by `spec.features` where the policy names them.

    Patterns stand for the signature's columns in its order; where it names none, for the columns of the file
    `reference` in natural order. Raises Refused when nothing says which columns are features or how they become a
    tensor, or when the policy names a feature the signature lacks; DataProblem when the reference does not fit;
    NotFound or RegistryUnreachable when the signature cannot be read.
    """
    label = f"{source.model} version {source.version}"
    signature, flavor = (None, "") if source.version is None else _stored(source)
    network = bool(flavor)
    if network:
        refuse_undeclared_outputs(spec)
    inputs = None if signature is None else signature.inputs
    kind = "" if signature is None else _target_kind(signature.outputs)
    if inputs is not None and inputs.inputs and inputs.is_tensor_spec():
        return _of_tensor(_one_tensor(inputs, label), spec, label, reference, network)
    if signature is None:
        columns = _unknown_kinds(source, spec, reference)
    else:
        columns = _chosen(_columns(inputs, label), spec, label)
    if not network:
        return Schema(columns, kind, None, _read_from(spec, reference) if signature is None else "")
    return _of_network(columns, spec, label, flavor, _read_from(spec, reference) if signature is None else "")


def refuse_undeclared_outputs(spec: DataSpec) -> None:
    """Raise Refused where the policy does not say what a network's outputs are: they are never guessed."""
    if spec.model_outputs is None:
        raise Refused(
            "The policy does not say what the model's outputs are.",
            "Write data.model_outputs: logits, probabilities or value.",
        )
    if spec.model_outputs is not Outputs.VALUE and not spec.target.classes:
        raise Refused(
            "The policy does not say which class each of the model's outputs is.",
            "Write data.target: {column: ..., classes: [first, second, ...]} in the order of the outputs.",
        )


def network_target_kind(spec: DataSpec) -> str:
    """The kind of a network's target column, from the classes the policy declares."""
    kinds = {type(value) for value in spec.target.classes}
    if spec.model_outputs is Outputs.VALUE:
        return "double"
    return {int: "long", bool: "boolean", float: "double"}.get(kinds.pop(), "string") if len(kinds) == 1 else "string"


def _of_tensor(tensor: Tensor, spec: DataSpec, label: str, reference: str, network: bool) -> Schema:
    """The schema of a model whose signature is one tensor: the policy names the columns that fill it."""
    if not spec.features:
        raise Refused(
            f"The signature of {label} is of a tensor, so the policy must say which columns fill it.",
            'Write data.features, a list of columns or patterns such as "pixel_*".',
        )
    names = expanded(spec, reference)
    shape = _agreed(tensor.shape, spec.shape, len(names), label, _read_from(spec, reference))
    kind = tensor.dtype if tensor.dtype in NARROW_KINDS else _TENSOR_KINDS[tensor.dtype]
    columns = tuple(Column(name, kind) for name in names)
    read_from = _read_from(spec, reference)
    if not network:
        return Schema(columns, "", None, read_from)
    return Schema(columns, network_target_kind(spec), Tensor(shape, tensor.dtype), read_from)


def _of_network(columns: tuple[Column, ...], spec: DataSpec, label: str, flavor: str, read_from: str) -> Schema:
    for column in columns:
        if column.kind in ("string", "datetime"):
            raise Refused(
                f"Column {column.name!r} in the signature of {label} is {column.kind}: a network takes numbers.",
                "Name the columns of numbers in data.features.",
            )
    # MLflow serves a PyTorch model the rows of a table as 32-bit numbers, whatever its columns; a Keras model as is.
    whole = flavor != "pytorch" and all(column.kind in ("integer", "long") for column in columns)
    shape = _agreed((), spec.shape, len(columns), label, read_from) or (len(columns),)
    known = tuple(Column(column.name, column.kind or "double") for column in columns)
    return Schema(known, network_target_kind(spec), Tensor(shape, "int64" if whole else "float32"), read_from)


def _agreed(
    stored: tuple[int, ...], asked: tuple[int, ...], columns: int, label: str, read_from: str
) -> tuple[int, ...]:
    """The shape of one row, from the signature and the policy; every column fills one place of it."""
    if asked and stored and not _fits(asked, stored):
        raise Refused(
            f"data.shape is {list(asked)}, and {label} takes {list(stored)}.",
            "Write the shape of one row as the model takes it, or leave data.shape out.",
        )
    shape = asked or stored
    if any(size < 1 for size in shape):
        if shape.count(-1) > 1 or len(shape) > 1:
            raise Refused(
                f"The signature of {label} leaves the shape of a row open: {list(shape)}.", "Write data.shape."
            )
        shape = (columns,)
    if shape and prod(shape) != columns:
        message = f"{columns} columns are features, and a row of {label} is {list(shape)}, which takes {prod(shape)}."
        if read_from:
            raise DataProblem(f"In {read_from} {message}", "Correct the file, or name the columns in data.features.")
        raise Refused(message, "Name the columns in data.features, and the shape in data.shape.")
    return shape


def _fits(asked: tuple[int, ...], stored: tuple[int, ...]) -> bool:
    return len(asked) == len(stored) and all(
        want in (have, want * (have < 1)) for want, have in zip(asked, stored, strict=True)
    )


def _one_tensor(inputs: Any, label: str) -> Tensor:
    if len(inputs.inputs) != 1:
        names = ", ".join(str(entry.name) for entry in inputs.inputs)
        raise Refused(
            f"{label} takes {len(inputs.inputs)} tensors ({names}); models of several inputs are not built yet."
        )
    [entry] = inputs.inputs
    kind = str(entry.type.name)
    if kind not in _TENSOR_KINDS or _TENSOR_KINDS[kind] == "string":
        raise Refused(f"The tensor in the signature of {label} is of {kind}; a tensor of numbers is needed.")
    return Tensor(tuple(int(size) for size in entry.shape[1:]), kind)


def _unknown_kinds(source: Source, spec: DataSpec, reference: str) -> tuple[Column, ...]:
    if spec.features:
        return tuple(Column(name, "") for name in expanded(spec, reference))
    if source.version is None:
        raise Refused(
            f"Model {source.model} has no version whose signature would name its features.",
            "Name the columns in the policy's data.features, or give a version the champion's alias.",
        )
    raise Refused(
        f"Model {source.model} version {source.version} has no signature, so its features are not known.",
        f"{_REMEDY}; or name the columns in the policy's data.features.",
    )


def _stored(source: Source) -> tuple[Any, str]:
    """The signature of a version, None where it has none, and its flavour if it is a network."""
    import mlflow  # takes a second, and a policy with data.features may not need it

    mlflow.set_tracking_uri(source.tracking_uri)
    mlflow.set_registry_uri(source.registry_uri)
    try:
        with understood(source.registry_uri):
            info = mlflow.models.get_model_info(f"models:/{source.model}/{source.version}")
    except NotFound:
        from retrain_daemon.worker.cards import read_version

        info = read_version(source).info  # says whether the version is gone, or only its files
    return info.signature, next((flavor for flavor in NETWORKS if flavor in info.flavors), "")


def _columns(inputs: Any, label: str) -> tuple[Column, ...]:
    if inputs is None or not inputs.inputs:
        raise Refused(f"The signature of {label} names no input columns.", f"{_REMEDY}.")
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


def _chosen(columns: tuple[Column, ...], spec: DataSpec, label: str) -> tuple[Column, ...]:
    known = {column.name: column for column in columns}
    for name in spec.features:
        if name not in known and not is_pattern(name):
            close = get_close_matches(name, known, n=1)
            meant = f"did you mean {close[0]!r}? It" if close else "it"
            raise Refused(
                f"data.features names {name!r}, which the signature of {label} does not have.",
                f"{meant[0].upper()}{meant[1:]} has {', '.join(list(known)[:20])}{' ...' if len(known) > 20 else ''}.",
            )
    names = matched(spec.features, tuple(known))
    if isinstance(names, str):
        raise Refused(f"data.features: {names} in the signature of {label}.", f"It has {', '.join(list(known)[:20])}.")
    return tuple(known[name] for name in names) or columns


def _target_kind(outputs: Any) -> str:
    """The kind of a model with one output value a row; "" for probabilities, several outputs or none."""
    if outputs is None or len(outputs.inputs) != 1:
        return ""
    [output] = outputs.inputs
    if outputs.is_tensor_spec():
        return _TENSOR_KINDS.get(output.type.name, "") if tuple(output.shape) == (-1,) else ""
    kind = getattr(output.type, "name", "")
    return kind if kind in KINDS else ""
