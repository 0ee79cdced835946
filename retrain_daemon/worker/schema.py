"""The columns a model takes, as which types, and how they become a tensor. Values only; where they are read from is in
`signature.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from retrain_daemon.core.policy import DataSpec

#: Flavours whose models take tensors, not tables.
NETWORKS = ("keras", "tensorflow", "pytorch")
#: Types of a column in MLflow's words.
KINDS = ("boolean", "integer", "long", "float", "double", "string", "datetime")

#: Whole numbers of tensors, in numpy's words, that hold less than a column of kind "integer" or "long" may.
NARROW_KINDS = ("int8", "int16", "uint8", "uint16", "uint32")


@dataclass(frozen=True)
class Column:
    """A column's name and its kind (one of `KINDS` or `NARROW_KINDS`), "" when not known."""

    name: str
    kind: str


@dataclass(frozen=True)
class Tensor:
    """How the features of one row become a model's input: `shape` without the batch, `dtype` in numpy's words."""

    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class Schema:
    """The feature columns in the model's order, and the kind of its output ("" when the signature does not say).

    `tensor` says how a Keras or PyTorch model takes the features of a row; None for a model that takes a table.
    `read_from` names the file whose columns the policy's patterns were resolved by; "" where no file was needed.
    """

    features: tuple[Column, ...]
    target_kind: str = ""
    tensor: Tensor | None = None
    read_from: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in the model's order."""
        return tuple(column.name for column in self.features)


def unit_name(spec: DataSpec, schema: Schema) -> str:
    """What one unit of the leak check is, with every name: keys of another unit cannot be compared."""
    return f"group {spec.group}" if spec.group is not None else f"features {', '.join(sorted(schema.names))}"
