"""The retrain as an engineer would write it by hand, knowing nothing of the daemon: one contestant of `retrain.py`.

`python cold_script.py MODEL BASE DROPPED [--given]`, with MLFLOW_TRACKING_URI set. Without --given MLflow guesses the
model's requirements, which is what `log_model` does when nothing is said.
"""

from __future__ import annotations

import copy
import sys
from typing import Any

import mlflow
import mlflow.sklearn
import pandas as pd
from mlflow.models import infer_signature
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split

TARGET = "label"


def main(name: str, base: str, dropped: str, given: bool) -> None:
    champion = mlflow.sklearn.load_model(f"models:/{name}@champion")
    rows = pd.concat([pd.read_parquet(base), pd.read_parquet(dropped)], ignore_index=True)
    features, target = rows.drop(columns=TARGET), rows[TARGET]
    learn_x, judge_x, learn_y, judge_y = train_test_split(features, target, test_size=0.2, random_state=7)

    challenger = copy.deepcopy(champion)
    # The scaler stays as the champion has it: refitted, the coefficients to go on from would mean something else.
    challenger[-1].set_params(warm_start=True).fit(challenger[:-1].transform(learn_x), learn_y)
    before = accuracy_score(judge_y, champion.predict(judge_x))
    after = accuracy_score(judge_y, challenger.predict(judge_x))

    more: dict[str, Any] = {}
    if given:
        more["signature"] = infer_signature(judge_x, challenger.predict(judge_x))
        more["pip_requirements"] = ["mlflow", "scikit-learn", "skops"]
    mlflow.set_experiment(name)
    with mlflow.start_run():
        mlflow.log_metrics({"champion_accuracy": before, "challenger_accuracy": after})
        logged = mlflow.sklearn.log_model(challenger, name="model", registered_model_name=name, **more)
    if after < before - 0.05:
        sys.exit(f"the challenger is worse: {after:.4f} after {before:.4f}")
    mlflow.MlflowClient().set_registered_model_alias(name, "champion", logged.registered_model_version)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], given="--given" in sys.argv[4:])
