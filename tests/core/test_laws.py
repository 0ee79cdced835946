"""The laws that hold for whole folders: the core is pure, and frameworks live in workers."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import retrain_daemon

ROOT = Path(retrain_daemon.__file__).parent
FRAMEWORKS = ("sklearn", "skops", "torch", "tensorflow", "keras", "optuna")
#: Besides the standard library's values and the core itself.
ALLOWED_IN_CORE = {"cel_expr_python", "cronsim", "retrain_daemon"}
IMPURE = {
    "os", "io", "pathlib", "time", "random", "socket", "subprocess", "threading", "logging", "sqlite3", "asyncio",
    "shutil", "tempfile", "urllib", "http", "signal", "multiprocessing", "secrets", "uuid",
}  # fmt: skip
IMPURE_CALLS = {"open", "print", "input", "now", "utcnow", "today", "getLogger", "get_logger"}


def core_modules() -> list[Path]:
    return sorted((ROOT / "core").rglob("*.py"))


@pytest.mark.parametrize("path", core_modules(), ids=lambda path: path.stem)
def test_a_core_module_imports_nothing_that_reads_writes_or_tells_the_time(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            top = name.split(".")[0]
            assert top not in IMPURE, f"{path.name} imports {name}"
            assert top in ALLOWED_IN_CORE or top in sys.stdlib_module_names, f"{path.name} imports {name}"
            if top == "retrain_daemon":
                assert name.startswith(("retrain_daemon.core", "retrain_daemon.errors")), f"{path.name} imports {name}"


@pytest.mark.parametrize("path", core_modules(), ids=lambda path: path.stem)
def test_a_core_module_calls_nothing_that_reads_writes_or_tells_the_time(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            assert name not in IMPURE_CALLS, f"{path.name}:{node.lineno} calls {name}"


def test_only_the_module_of_programs_knows_cel() -> None:
    users = [path.stem for path in ROOT.rglob("*.py") if "import cel_expr_python" in path.read_text("utf-8")
             or "from cel_expr_python" in path.read_text("utf-8")]  # fmt: skip
    assert users == ["programs"]


def test_only_one_module_of_the_worker_knows_optuna() -> None:
    users = [path.stem for path in ROOT.rglob("*.py") if "import optuna" in path.read_text("utf-8")]
    assert users == ["proposals"]


def test_no_module_of_the_daemon_loads_a_framework() -> None:
    """Each is imported in one fresh process, with the MLflow client as the daemon uses it."""
    modules = [
        ".".join(("retrain_daemon", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        for path in ROOT.rglob("*.py")
        if "worker" not in path.parts and path.name != "__main__.py"
    ]
    assert len(modules) > 30
    code = (
        "import importlib, json, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "import mlflow\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(ended.stdout.splitlines()[-1]))
    assert loaded.isdisjoint(FRAMEWORKS), loaded & set(FRAMEWORKS)
