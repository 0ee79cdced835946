"""What people do inside the machine: train and register a first champion of each framework, as the service's user."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests import networks
from tests.box import Box


def main(uri: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        box = Box(Path(folder) / "box", uri)
        box.register("shop")
        networks.register(box, "keras", networks.log_keras)
        networks.register(box, "torch", networks.log_torch)


main(sys.argv[1])
