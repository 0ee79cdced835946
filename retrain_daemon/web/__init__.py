"""What the daemon tells over HTTP: /healthz and /metrics. Reads the published snapshot, and touches nothing else."""

from retrain_daemon.web.answers import Answers
from retrain_daemon.web.health import patience
from retrain_daemon.web.server import Web

__all__ = ["Answers", "Web", "patience"]
