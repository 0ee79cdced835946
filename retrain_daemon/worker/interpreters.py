"""Whether another Python interpreter, which a policy names, could run a worker: asked of itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from retrain_daemon import __version__
from retrain_daemon.worker.flavors import packages_of

_SECONDS = 60.0
_PROBE = """
import importlib.util, json, sys
found = {name: importlib.util.find_spec(name) is not None for name in sys.argv[1:]}
if found.get("retrain_daemon"):
    import retrain_daemon
    found["version"] = retrain_daemon.__version__
print(json.dumps(found))
"""


def against_interpreter(python: str, flavor: str) -> tuple[str, str] | None:
    """What stands against it as message and hint: it is none, lacks packages of the flavour, or has another version of
    this project. None when nothing does.
    """
    path = Path(python)
    if path == Path(sys.executable):
        return None
    if not path.is_file() or not os.access(path, os.X_OK):
        why = (
            "is a folder" if path.is_dir() else "may not be executed by this user" if path.exists() else "is not there"
        )
        return f"{python} {why}.", "Correct the path, or make the environment."
    packages = ("retrain_daemon", *packages_of(flavor))
    found = _asked(python, packages)
    if found is None:
        return f"{python} is no Python interpreter that answers.", "Name one, such as /opt/envs/x/bin/python."
    missing = [name.replace("retrain_daemon", "retrain-daemon") for name in packages if not found.get(name)]
    if missing:
        return f"{python} has no {' and no '.join(missing)}.", "Install what is missing there."
    if found["version"] != __version__:
        message = f"{python} has version {found['version']} of retrain-daemon, and this is {__version__}."
        return message, "Install the same version there."
    return None


def _asked(python: str, packages: tuple[str, ...]) -> dict[str, object] | None:
    """Which packages it finds; where this process's own modules are is not told to it."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    command = [python, "-c", _PROBE, *packages]
    try:
        ended = subprocess.run(
            command, env=environment, cwd="/", capture_output=True, text=True, timeout=_SECONDS, check=True
        )
        found = json.loads(ended.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    return found if isinstance(found, dict) else None
