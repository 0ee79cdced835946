"""Settings of the daemon: which there are is in `file.py`, how single values are read in `values.py`."""

from retrain_daemon.settings.credentials import read_credentials
from retrain_daemon.settings.file import SYSTEM_FILE, Overrides, Settings, read_settings
from retrain_daemon.settings.values import LOG_FORMATS, OCCASIONS, Address

__all__ = [
    "LOG_FORMATS",
    "OCCASIONS",
    "SYSTEM_FILE",
    "Address",
    "Overrides",
    "Settings",
    "read_credentials",
    "read_settings",
]
