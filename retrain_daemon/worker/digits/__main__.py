"""Without a model: writes the files that will be dropped. With one: registers its version 1."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from retrain_daemon.worker.digits.data import write_files

if __name__ == "__main__":
    folder, tracking_uri, *model = sys.argv[1:]
    if model:
        module = import_module(f"retrain_daemon.worker.digits.{model[0].removeprefix('digits-')}_model")
        module.register(model[0], tracking_uri)
    else:
        write_files(Path(folder))
