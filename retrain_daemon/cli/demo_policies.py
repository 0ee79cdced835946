"""The policies of the demo's three teams, and which of them can be played with what is installed here."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

_POLICY = """\
# What the demo's {team} team asks for: one rule, and evidence before anything is promoted.
model: {model}
description: Handwritten digits, 8 x 8 pixels, by {team}.

data:
  path: {drops}/*.csv
  complete: {{settle: 2s}}
{data}  holdout: 30%                      # these rows never train; they judge

train:
  mode: incremental                 # goes on learning from rows the champion has not learned
{train}
retrain:
  - name: enough fresh rows
    when: data.new_rows >= 500

promote:
  require:
    - {{metric: accuracy, better_by: 0}}
    - {{metric: log_loss, not_worse_by: 0.05}}
"""
_TABLE = """\
  target: digit
"""
_IMAGES = """\
  features: ["pixel_*"]
  shape: {shape}                # 64 columns of a row become one image
  target: {{column: digit, classes: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}}
  model_outputs: logits
"""
_EPOCHS = """\
  hyperparameters: {epochs: 5, batch_size: 32}
"""

#: Each team's model: its framework by name, the package that must be there, and its parts of the policy.
_TEAMS = {
    "digits-sklearn": ("scikit-learn", "sklearn", _TABLE, ""),
    "digits-keras": ("Keras", "tensorflow", _IMAGES.format(shape="[8, 8, 1]"), _EPOCHS),
    "digits-torch": ("PyTorch", "torch", _IMAGES.format(shape="[1, 8, 8]"), _EPOCHS),
}


def playable() -> tuple[str, ...]:
    """The models whose framework is installed."""
    return tuple(model for model, (_, package, _, _) in _TEAMS.items() if find_spec(package) is not None)


def left_out() -> tuple[str, ...]:
    """A sentence for each model whose framework is not installed."""
    return tuple(
        f"{model} is left out: {team} is not installed"
        for model, (team, _, _, _) in _TEAMS.items()
        if model not in playable()
    )


def policy_text(model: str, drops: Path) -> str:
    """One team's policy file."""
    team, _, data, train = _TEAMS[model]
    return _POLICY.format(team=team, model=model, drops=drops, data=data, train=train)
