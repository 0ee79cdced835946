"""`retraind schema`: the JSON Schema of policy files, for editors."""

from __future__ import annotations

from retrain_daemon.cli.arguments import Arguments
from retrain_daemon.policies.schema import schema_text
from retrain_daemon.settings import Settings


def schema(_arguments: Arguments, _settings: Settings) -> int:
    """Print it."""
    print(schema_text(), end="")
    return 0
