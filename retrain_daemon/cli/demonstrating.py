"""`retraind demo`: sets the stage in a folder of its own and starts the real daemon on it, with a model per framework.

What is then told, act by act, lives in `story.py`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retrain_daemon.cli.arguments import Arguments
from retrain_daemon.cli.demo_policies import left_out, playable, policy_text
from retrain_daemon.cli.output import console
from retrain_daemon.cli.story import Stage, tell
from retrain_daemon.errors import Refused, RetrainError
from retrain_daemon.settings import Settings

MARKER = ".made-by-retraind-demo"

SETTINGS = """\
[mlflow]
tracking_uri = "sqlite:///{folder}/mlflow.db"

[daemon]
state = "{folder}/state"
policies = "{folder}/policies"
poll_registry = "2s"
rescan = "5s"

[web]
listen = "off"
"""


def demo(arguments: Arguments, settings: Settings) -> int:
    """Play the whole story; 0 when every act ended as it should."""
    folder = Path(arguments.folder).absolute()
    _clear(folder)
    stage = _set_stage(folder)
    for sentence in left_out():
        console().print(sentence, highlight=False)
    models = ", ".join(stage.models)
    console().print(f"setting the stage in {folder}: registering {models} as people would", highlight=False)
    _prepare(stage)
    with _daemon(stage) as process:
        told = tell(stage, process)
    _say_where_to_look(stage)
    return 0 if told else RetrainError.exit_code


def _clear(folder: Path) -> None:
    """Only a folder that an earlier demo made is removed."""
    if not folder.exists():
        return
    if any(folder.iterdir()) and not (folder / MARKER).exists():
        raise Refused(f"{folder} exists and was not made by a demo.", "Name another with --folder.")
    shutil.rmtree(folder)


def _set_stage(folder: Path) -> Stage:
    for name in ("policies", "drops", "prepared"):
        (folder / name).mkdir(parents=True)
    (folder / MARKER).touch()
    (folder / "retraind.toml").write_text(SETTINGS.format(folder=folder), "utf-8")
    models = playable()
    for model in models:
        (folder / "policies" / f"{model}.yaml").write_text(policy_text(model, folder / "drops"), "utf-8")
    return Stage(folder=folder, config=folder / "retraind.toml", models=models)


def _prepare(stage: Stage) -> None:
    """Each framework in a process of its own; the digits themselves come with scikit-learn."""
    log = stage.folder / "prepare.log"
    with log.open("ab") as stream:
        for model in ("", *stage.models):
            words = [str(stage.prepared), stage.tracking_uri, *([model] if model else [])]
            command = [sys.executable, "-m", "retrain_daemon.worker.digits", *words]
            ended = subprocess.run(command, stdout=stream, stderr=stream, env=stage.environment(), check=False)
            if ended.returncode != 0:
                what = f"{model} could not be registered" if model else "the digits could not be written"
                raise Refused(f"{what}, see {log}.", "The demo needs the extra [sklearn], where the digits come from.")


@contextmanager
def _daemon(stage: Stage) -> Iterator[subprocess.Popen[bytes]]:
    """The real daemon, as a process of its own; asked to stop at the end."""
    command = [sys.executable, "-m", "retrain_daemon", "run", "--config", str(stage.config)]
    with (stage.folder / "daemon.log").open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=stage.environment())
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def _say_where_to_look(stage: Stage) -> None:
    where = os.path.relpath(stage.folder)
    programs = os.path.relpath(Path(sys.executable).parent)
    lines = (
        (f"{programs}/retraind show {stage.promoted} --config {where}/retraind.toml", "why, and what settled it"),
        (f"{programs}/retraind history --config {where}/retraind.toml", "everything that happened"),
        (f"{programs}/retraind status --config {where}/retraind.toml", "one screen"),
        (f"{programs}/mlflow ui --backend-store-uri {stage.tracking_uri}", "runs, versions and aliases in a browser"),
        (f"{where}/policies", "the policies"),
        (f"{where}/daemon.log", "the daemon's own lines"),
    )
    print("\nwhere to look next:")
    for command, meaning in lines:
        print(f"  {command}\n      {meaning}")
