"""One policy file for two models of a real MLflow, and the verbs that show and use it."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Boxes
from tests.box import POLICY, Box, buyers

pytestmark = pytest.mark.slow

FLEET = POLICY.replace("model: {model}", 'models: {{match: "shop-*", except: [shop-old]}}').replace(
    "/{model}/", "/{{model}}/"
)


@pytest.fixture(scope="module")
def box(boxes: Boxes) -> Box:
    """A daemon over a fleet of two models, of which shop-fr has new rows; a third one is registered meanwhile."""
    box = boxes()
    box.register("shop-de")
    for model in ("shop-fr", "shop-old", "shop-it"):
        (box.folder / "drops" / model).mkdir()
        if model != "shop-it":
            box.log_copy("shop-de", model, "champion")
    box.policy("shop-de", text=FLEET)
    box.start()
    box.until(lambda: box.adopted() == 2)
    box.drop("monday.csv", buyers(2), "shop-fr")
    box.log_copy("shop-de", "shop-it", "champion")
    box.ended(model="shop-fr")
    box.until(lambda: box.adopted() == 3)
    return box


def test_each_model_of_a_fleet_retrains_on_its_own_rows(box: Box) -> None:
    (attempt,) = box.attempts("shop-fr")
    assert attempt.state == "promoted"
    assert attempt.policy.data.folder == str(box.folder / "drops" / "shop-fr")
    assert box.client.get_model_version_by_alias("shop-fr", "champion").version == 2
    assert box.client.get_model_version_by_alias("shop-de", "champion").version == 1
    assert box.attempts("shop-de") == box.attempts("shop-it") == []


def test_a_model_that_was_registered_later_is_watched_and_a_deleted_one_is_not(box: Box) -> None:
    assert {row["model"] for row in box.events("policy.loaded")} == {"shop-de", "shop-fr", "shop-it"}
    box.client.delete_registered_model("shop-it")
    box.until(lambda: box.events("policy.retired"))
    assert [row["model"] for row in box.events("policy.retired")] == ["shop-it"]


def test_plan_and_status_and_check_show_the_fleet(box: Box) -> None:
    shown = {each["model"] for each in box.run("plan", "--json").json}
    assert {"shop-de", "shop-fr"} <= shown <= {"shop-de", "shop-fr", "shop-it"}
    assert "shop-fr: waits" in box.run("plan", "shop-fr").out
    assert "shop-* except shop-old: 2 models" in box.run("status").out
    checked = box.run("check")
    assert checked.code == 0
    assert "models: shop-* except shop-old" in checked.out


def test_a_retrain_of_one_model_is_asked_for_by_its_name(box: Box) -> None:
    assert box.run("retrain", "shop-old").code == 4
    box.drop("monday.csv", buyers(3), "shop-de")
    box.recorded("monday.csv", "shop-de")
    box.ended(model="shop-de")
    assert box.run("retrain", "shop-de", "--why", "a try").code == 0
    assert box.ended(2, model="shop-de").rule == "request"
