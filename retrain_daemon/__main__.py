"""`python -m retrain_daemon` and the command `retraind`."""

from __future__ import annotations

import sys

from retrain_daemon.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
