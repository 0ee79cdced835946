"""Credentials for MLflow that systemd hands to the unit as files (LoadCredential=).

Neither they nor the variables they become are written anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from retrain_daemon.errors import SettingsProblem

#: Names in the folder of credentials, each with the variable from which MLflow takes it.
MLFLOW_CREDENTIALS = {
    "mlflow-token": "MLFLOW_TRACKING_TOKEN",
    "mlflow-username": "MLFLOW_TRACKING_USERNAME",
    "mlflow-password": "MLFLOW_TRACKING_PASSWORD",
}


def read_credentials(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that come from the files in CREDENTIALS_DIRECTORY; one that is set already stays as it is.

    Raises SettingsProblem for a file that cannot be read.
    """
    folder = environment.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return {}
    found = {variable: _text(Path(folder, name)) for name, variable in MLFLOW_CREDENTIALS.items()}
    return {variable: text for variable, text in found.items() if text and not environment.get(variable)}


def _text(file: Path) -> str:
    """What is in a file without the line end that editors add; "" where there is none."""
    try:
        return file.read_text("utf-8").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise SettingsProblem(f"credential {file} cannot be read: {error.strerror}.") from error
    except ValueError:  # its own words quote what it could not read
        raise SettingsProblem(f"credential {file} cannot be read: it is no text in UTF-8.") from None
