"""Networks in PyTorch that tests pickle: their module must be importable by the workers."""

from __future__ import annotations

from torch import nn


def buyer_network() -> nn.Module:
    """Three numbers to two logits, with dropout and batch normalisation; untrained."""
    return nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))
