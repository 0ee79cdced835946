"""Policy files that are edited, broken, replaced and deleted while the real daemon runs, and between its lives.

Nothing else wakes these daemons for minutes: the registry is hardly polled, and folders are hardly looked into.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.box import Box

GOOD, LATER = "data.new_rows >= 500", "data.new_rows >= 700"


class QuietBox(Box):
    def write_settings(self) -> None:
        super().write_settings()
        path = self.folder / "retraind.toml"
        text = path.read_text().replace('poll_registry = "1s"', 'poll_registry = "600s"')
        path.write_text(text.replace('rescan = "2s"', 'rescan = "600s"'))

    def begin(self) -> None:
        """Start the daemon; returns when it waits."""
        before = len(self.events("daemon.started"))
        self.daemon = self.launch()
        self.until(lambda: len(self.events("daemon.started")) > before)
        self.until(lambda: self.events("policy.loaded") or self.events("policy.problem") or self.policies())

    def loaded(self, model: str = "shop") -> list[str]:
        """Digests of the model's policies, in the order in which they came into force."""
        return [line["digest"] for line in self.events("policy.loaded") if line["model"] == model]

    def waits(self) -> bool:
        """Whether the first turn is over: the registry has no model of any name."""
        return bool(self.loaded() and self.events("decision.wait"))

    def policies(self) -> dict[str, str]:
        """By name of the file the rule that is in force."""
        with self.journal() as journal:
            contents = journal.policy_files.contents()
        return {Path(file).name: text.split("when: ")[1].split("\n")[0] for file, text in contents.items()}


@pytest.fixture
def box(tmp_path: Path) -> Iterator[QuietBox]:
    made = QuietBox(tmp_path / "box")
    made.policy()
    yield made
    made.close()


def status_of(box: Box) -> dict[str, object]:
    status: dict[str, object] = box.run("status", "--json").json
    return status


def test_an_edit_takes_effect_by_itself_whatever_the_way_it_is_written(box: QuietBox) -> None:
    box.begin()
    box.until(box.waits)
    path = box.folder / "policies" / "shop.yaml"
    text = path.read_text()
    path.write_text(text.replace(GOOD, LATER))
    box.until(lambda: len(box.loaded()) == 2)
    renamed = path.with_name(".shop.yaml.new")
    renamed.write_text(text)
    renamed.replace(path)
    box.until(lambda: len(box.loaded()) == 3)
    assert box.loaded()[0] == box.loaded()[2] != box.loaded()[1]
    assert box.policies() == {"shop.yaml": GOOD}
    path.with_name(".shop.yaml.swp").write_text("x")
    path.with_name("4913").write_text("x")
    path.with_name("second.yaml").write_text(text.replace("model: shop", "model: second"))
    box.until(lambda: box.loaded("second"))
    assert len(box.loaded()) == 3


def test_folders_that_come_later_or_are_swapped_through_links_are_followed(box: QuietBox) -> None:
    policies, mounts = box.folder / "policies", box.folder / "mounts"
    text = (policies / "shop.yaml").read_text()
    (policies / "shop.yaml").unlink()
    policies.rmdir()
    mounts.mkdir()
    box.begin()
    for name, rule in (("..one", GOOD), ("..two", LATER)):
        (mounts / name).mkdir()
        (mounts / name / "shop.yaml").write_text(text.replace(GOOD, rule))
    (mounts / "..data").symlink_to("..one")
    (mounts / "shop.yaml").symlink_to("..data/shop.yaml")
    policies.symlink_to(mounts)
    box.until(box.waits)
    assert len(box.loaded()) == 1
    (mounts / "..data_tmp").symlink_to("..two")
    (mounts / "..data_tmp").replace(mounts / "..data")
    box.until(lambda: len(box.loaded()) == 2)
    assert box.policies() == {"shop.yaml": LATER}
    elsewhere = box.folder / "checkout"
    elsewhere.mkdir()
    (elsewhere / "shop.yaml").write_text(text)
    (box.folder / "next").symlink_to(elsewhere)
    (box.folder / "next").replace(policies)
    box.until(lambda: len(box.loaded()) == 3)
    (elsewhere / "shop.yaml").write_text(text.replace(GOOD, LATER))
    box.until(lambda: len(box.loaded()) == 4)


def test_a_link_to_a_file_elsewhere_is_followed(box: QuietBox) -> None:
    path, real = box.folder / "policies" / "shop.yaml", box.folder / "checkout.yaml"
    text = path.read_text()
    real.write_text(text)
    path.unlink()
    path.symlink_to(real)
    box.begin()
    box.until(box.waits)
    real.write_text(text.replace(GOOD, LATER))
    box.until(lambda: len(box.loaded()) == 2)


def test_a_bad_edit_keeps_the_last_good_version_also_over_a_restart_and_a_deleted_file_is_retired(
    box: QuietBox,
) -> None:
    path = box.folder / "policies" / "shop.yaml"
    text = path.read_text()
    box.begin()
    box.until(box.waits)
    (digest,) = box.loaded()
    path.write_text(text.replace("accuracy", "acuracy"))
    box.until(lambda: box.events("policy.kept"))
    assert "acuracy" in box.events("policy.problem")[0]["problem"]
    box.until(lambda: status_of(box)["policy_files"][0]["wrong"])  # type: ignore[index]
    (file,) = status_of(box)["policy_files"]  # type: ignore[misc]
    assert (file["file"], file["digest"][:12]) == (str(path), digest)
    assert "acuracy" in file["wrong"]
    assert box.end(signal.SIGTERM) == 0

    box.begin()
    box.until(lambda: len(box.loaded()) == 2)
    assert box.loaded() == [digest, digest]
    (again,) = status_of(box)["policy_files"]  # type: ignore[misc]
    assert again["since"] == file["since"]
    screen = box.run("status").out
    assert f"policy kept: {path}: version {digest}, in force since" in screen

    path.write_text(text.replace(GOOD, LATER))
    box.until(lambda: len(box.loaded()) == 3)
    assert box.events("policy.mended")
    assert box.policies() == {"shop.yaml": LATER}
    path.write_text("model: [")
    box.until(lambda: len(box.events("policy.kept")) == 3)
    assert box.end(signal.SIGTERM) == 0
    path.unlink()
    box.begin()
    box.until(lambda: not box.policies())
    (model,) = status_of(box)["models"]  # type: ignore[misc]
    assert (model["state"], model["why"][:21]) == ("retired", "no policy is about it")
    path.write_text("model: [")
    box.until(lambda: len(box.events("policy.problem")) >= 4)
    assert box.policies() == {}


def test_a_signal_has_files_read_again_also_where_no_sign_of_an_edit_comes(box: QuietBox) -> None:
    path, other = box.folder / "policies" / "shop.yaml", box.folder / "other name of the same file"
    other.hardlink_to(path)
    box.begin()
    box.until(box.waits)
    other.write_text(path.read_text().replace(GOOD, LATER))
    assert box.daemon is not None
    box.daemon.send_signal(signal.SIGHUP)
    box.until(lambda: len(box.loaded()) == 2)
    events = [line["event"] for line in box.events()]
    assert events.index("daemon.reloading") < len(events) - events[::-1].index("policy.loaded")


def test_a_deleted_file_retires_its_model_and_a_file_for_another_model_takes_its_place(box: QuietBox) -> None:
    path = box.folder / "policies" / "shop.yaml"
    text = path.read_text()
    box.begin()
    box.until(box.waits)
    path.write_text(text.replace("model: shop", "model: kiosk"))
    box.until(lambda: box.loaded("kiosk"))
    assert [line["model"] for line in box.events("policy.retired")] == ["shop"]
    states = {model["model"]: model["state"] for model in status_of(box)["models"]}  # type: ignore[attr-defined]
    assert states["shop"] == "retired"
    path.unlink()
    box.until(lambda: len(box.events("policy.retired")) == 2)
    path.write_text(text)
    box.until(lambda: len(box.loaded()) == 2)
    box.until(lambda: {m["model"]: m["state"] for m in status_of(box)["models"]}["shop"] != "retired")  # type: ignore[attr-defined]
