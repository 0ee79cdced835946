"""What a training ran in: Python, machine, and versions of the libraries that matter to a model.

Read once per run for its record; requirements of a model are in `requirements.py`.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata

PACKAGES = (
    "retrain-daemon", "mlflow", "numpy", "pandas", "pyarrow", "scikit-learn", "skops", "cloudpickle", "tensorflow",
    "keras", "torch",
)  # fmt: skip


@dataclass(frozen=True)
class Environment:
    """Python's version and path, the machine, and installed versions by distribution name."""

    python: str
    executable: str
    platform: str
    cpus: int
    packages: Mapping[str, str]


def read_environment() -> Environment:
    """The environment of this process."""
    return Environment(
        python=platform.python_version(),
        executable=sys.executable,
        platform=platform.platform(),
        cpus=len(os.sched_getaffinity(0)),
        packages={name: version for name in PACKAGES if (version := _version(name))},
    )


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
