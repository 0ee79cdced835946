"""The fault points of the kill tests name functions that exist: one that moved would be watched no more."""

from __future__ import annotations

import functools
import importlib

import pytest

from tests.faults import EFFECTS, SHORTER, Effect


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda effect: f"{effect.module}.{effect.attribute}")
def test_what_is_watched_exists(effect: Effect) -> None:
    assert callable(functools.reduce(getattr, effect.attribute.split("."), importlib.import_module(effect.module)))


def test_what_is_shortened_exists() -> None:
    assert all(hasattr(importlib.import_module(module), name) for module, name, _ in SHORTER)
