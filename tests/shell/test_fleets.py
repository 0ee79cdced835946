"""Fleets: one file about every registered model that matches, each of which decides for itself."""

from __future__ import annotations

from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_daemon.cli import composition
from retrain_daemon.cli.status import how_many
from retrain_daemon.core.names import Listing
from retrain_daemon.daemon import Daemon
from retrain_daemon.errors import RegistryUnreachable
from retrain_daemon.in_force import PoliciesInForce
from retrain_daemon.journal import Journal
from retrain_daemon.notify import Tally
from retrain_daemon.policies import PolicyFolder, Reading, read_policies, read_policy_text
from retrain_daemon.registry_view import RegistryView
from retrain_daemon.settings import Settings
from retrain_daemon.web.metrics import Exporter
from retrain_daemon.worker.job import Train
from tests.fake_box import MODEL, POLICY, FakeBox
from tests.fakes import FakeRegistry
from tests.made import NOW

FLEET = """\
models: {match: "churn-*", except: [churn-de]}
description: Churn of {model}.
data:
  path: /srv/drops/{model}/*.csv
  target: churned
retrain:
  - name: fresh
    when: data.new_rows >= 100
promote:
  require:
    - {metric: accuracy, better_by: 0}
"""


def one(model: str) -> str:
    return FLEET.replace('models: {match: "churn-*", except: [churn-de]}', f"model: {model}").replace("{model}", model)


def instead(old: str, new: str) -> str:
    assert old in FLEET
    return FLEET.replace(old, new)


def matching(models: str) -> str:
    return instead('{match: "churn-*", except: [churn-de]}', models)


def said(text: str) -> str:
    reading = read_policy_text(text, "fleet.yaml", "/etc")
    assert (reading.policies, reading.fleets) == ((), ())
    return "\n".join(str(problem) for problem in reading.problems)


def every(*names: str) -> Listing:
    """What a registry with exactly these models says, whatever it is asked."""

    class Everything(frozenset[str]):
        def issuperset(self, _other: object) -> bool:
            return True

    return Listing(Everything(), frozenset(names))


def read(folder: Path, *names: str) -> Reading:
    return read_policies(folder, every(*names))


def test_each_model_that_matches_has_a_policy_with_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    found = read(tmp_path, "churn-fr", "churn-de", "churn-it", "fraud", "a-churn-x")
    assert [policy.model for policy in found.policies] == ["churn-fr", "churn-it"]
    first = found.policies[0]
    assert (first.data.folder, first.data.pattern) == ("/srv/drops/churn-fr", "*.csv")
    assert first.description == "Churn of churn-fr."
    assert (first.text, first.source) == (FLEET, str(tmp_path / "fleet.yaml"))
    assert {policy.digest for policy in found.policies} == {found.fleets[0].template.digest}
    assert (found.problems, found.about_models) == ((), ())


@pytest.mark.parametrize(
    ("models", "taken"),
    [
        ("churn-*", {"churn-de", "churn-fr", "churn-[x]"}),
        ("[churn-de, fraud]", {"churn-de", "fraud"}),
        ('{match: ["churn-??", fraud], except: "*-fr"}', {"churn-de", "fraud"}),
        ('{match: "*", except: ["churn-*", missing]}', {"fraud", "Churn-de"}),
    ],
)
def test_names_and_patterns_say_which_models(tmp_path: Path, models: str, taken: set[str]) -> None:
    (tmp_path / "fleet.yaml").write_text(matching(models))
    found = read(tmp_path, "churn-de", "churn-fr", "churn-[x]", "fraud", "Churn-de")
    assert {policy.model for policy in found.policies} == taken
    assert found.problems == ()


MISTAKES = [
    (matching("{except: [a]}"), "1:1: `models.match` is missing."),
    (matching("{mach: a}"), "`mach` is not a key of models. Did you mean `match`?"),
    (matching("[]"), "`models` is an empty list."),
    (matching("[a, a]"), "`models` names `a` twice."),
    (matching('"churn-[ab]"'), "its wildcards are `*` and `?`"),
    (matching('"{model}"'), "its wildcards are `*` and `?`"),
    (matching("a/b*"), "which no model can be named"),
    (matching(f'"{"*a" * 3000}"'), "...`, which no model can be named"),
    (matching(str([f"{number}*" for number in range(101)])), "`models` has more than 100 patterns."),
    (matching("*"), "1:10: `*` has a meaning of its own in YAML here. Put the whole value in quotes."),
    (matching('{match: "churn-*", except: "*"}'), "1:36: `models.except` leaves nothing of `churn-*`."),
    (matching("{match: {a: b}}"), "`models.match` must be a list, not a mapping"),
    (instead("/{model}/", "/churn/"), "4:9: `data.path` is one folder for all models."),
    (instead("/{model}/*.csv", "/{model}-*.csv"), "`data.path` is one folder for all models."),
    (instead("/{model}/", "/{model}/../churn/"), "`data.path` is one folder for all models."),
    (
        instead("/{model}/", "/{modle}/"),
        "4:20: `data.path` holds `{modle}`, which nothing fills. Did you mean `{model}`?",
    ),
    (instead("/{model}/", "/{model}/{name}/"), "Only `{model}` is filled"),
    (instead("/{model}/", "/{model/"), "`data.path` holds `{`, which nothing fills."),
    (instead("of {model}.", "of {Model}."), "2:23: `description` holds `{Model}`, which nothing fills."),
    (one("churn").replace("/churn/", "/{model}/"), "holds `{model}` in the policy of one model. Write the name."),
    (FLEET.replace("models:", "modles:"), "`modles` is not a key of a policy. Did you mean `models`?"),
    (instead("accuracy", "acuracy"), "acuracy"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES, ids=lambda value: value[:40])
def test_each_mistake_in_a_fleet_is_named(text: str, message: str) -> None:
    assert message in said(text)


def test_braces_in_a_description_may_mean_anything() -> None:
    assert read_policy_text(instead("of {model}.", "of {model} {see the wiki}."), "a.yaml", "/").problems == ()


def test_a_pattern_with_many_wildcards_does_not_explode(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(matching(f'"{"*a" * 40}b"'))
    assert read(tmp_path, "a" * 250).policies == ()


def test_a_hostile_name_is_left_out_and_told_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(matching('"*"'))
    hostile = ["..", ".", "a\0b", "a\nb", " a", "a" * 300, "../x"]
    found = read(tmp_path, *hostile, "churn")
    assert [policy.model for policy in found.policies] == ["churn"]
    assert found.problems == ()
    assert all(warning.warning for warning in found.about_models)
    told = "\n".join(map(str, found.about_models))
    assert "Left out where the name leads to another folder: `.`, `..`, `../x`." in told
    assert "holds control characters" in told
    assert "\0" not in told
    assert "longer than 255 bytes" in told


@pytest.mark.parametrize("name", ["*", "a?", "[ab]", "{model}", "ünicode", "a b", "~root", "$HOME", "-rf", "it's"])
def test_signs_in_a_name_stand_for_themselves(tmp_path: Path, name: str) -> None:
    text = matching('"*"').replace("/{model}/*.csv", "/{model}/{model}-*.csv")
    (tmp_path / "fleet.yaml").write_text(text)
    (policy,) = read(tmp_path, name).policies
    assert policy.data.folder == f"/srv/drops/{name}"
    assert fnmatchcase(f"{name}-1.csv", policy.data.pattern)
    assert not fnmatchcase("ab-1.csv", policy.data.pattern)
    assert not fnmatchcase("a-1.csv", policy.data.pattern)


def test_a_pattern_without_models_is_told_once_it_is_known(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(matching("[churn-*, fraud]"))
    assert "matches `fraud`" in str(read(tmp_path, "churn-fr").about_models[0])
    assert "matches `churn-*`, `fraud`" in str(read(tmp_path).about_models[0])
    assert read_policies(tmp_path).about_models == ()


def test_a_policy_of_its_own_goes_before_a_match(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(FLEET)
    (tmp_path / "z.yaml").write_text(one("churn-fr"))
    found = read(tmp_path, "churn-fr", "churn-it")
    assert {policy.model: Path(policy.source).name for policy in found.policies} == {
        "churn-fr": "z.yaml",
        "churn-it": "a.yaml",
    }
    assert found.problems == ()


def test_two_fleets_that_match_a_model_are_both_named_and_neither_has_it(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(FLEET)
    (tmp_path / "b.yaml").write_text(f"# more\n{matching('[churn-fr, fraud]')}")
    found = read(tmp_path, "churn-fr", "churn-it", "fraud")
    assert {policy.model for policy in found.policies} == {"churn-it", "fraud"}
    first, second = (str(problem) for problem in found.problems)
    assert first.startswith(f"{tmp_path}/a.yaml:1:9: The model matches {tmp_path}/b.yaml:2 as well: `churn-fr`.")
    assert second.startswith(f"{tmp_path}/b.yaml:2:9: The model matches {tmp_path}/a.yaml:1 as well: `churn-fr`.")


def test_a_thousand_clashes_are_one_sentence_for_each_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(FLEET)
    (tmp_path / "b.yaml").write_text(matching('"*"'))
    found = read(tmp_path, *(f"churn-{number:03}" for number in range(1000)))
    assert found.policies == ()
    assert len(found.problems) == 2
    assert "`churn-000`, `churn-001`, `churn-002` and 997 more" in found.problems[0].message


class Fleets:
    """Policies in force over a folder, a journal and a registry, turn by turn as in the loop."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "policies"
        self.folder.mkdir()
        (root / "state").mkdir()
        self.journal = Journal.open(root / "state")
        self.registry = FakeRegistry(NOW)
        self.begin()

    def begin(self) -> None:
        """A new life of the daemon."""
        self.policies = PoliciesInForce(PolicyFolder(self.folder), self.journal)
        self.view = RegistryView(self.registry)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def register(self, *models: str) -> None:
        for model in models:
            self.registry.add_model_by_hand(model)

    def turn(self) -> dict[str, str]:
        """The file of each model, without its ending."""
        self.policies.refresh(NOW, self.view.listing)
        self.view.poll(self.policies.of, self.policies.patterns)
        self.policies.refresh(NOW, self.view.listing)
        return {model: Path(policy.source).stem for model, policy in self.policies.of.items()}


@pytest.fixture
def fleets(tmp_path: Path) -> Fleets:
    return Fleets(tmp_path)


def test_models_come_and_go_with_the_registry(fleets: Fleets, capsys: pytest.CaptureFixture[str]) -> None:
    fleets.write("a.yaml", FLEET)
    assert fleets.turn() == {}
    fleets.register("churn-fr", "fraud")
    assert fleets.turn() == {"churn-fr": "a"}
    before = fleets.policies.of["churn-fr"]
    fleets.register("churn-it")
    assert fleets.turn() == {"churn-fr": "a", "churn-it": "a"}
    assert fleets.policies.of["churn-fr"] is before
    capsys.readouterr()
    fleets.registry.delete_model_by_hand("churn-fr")
    assert fleets.turn() == {"churn-it": "a"}
    (line,) = capsys.readouterr().out.splitlines()
    assert "policy.retired" in line
    assert "churn-fr" in line


def test_nothing_is_done_again_when_neither_files_nor_names_changed(fleets: Fleets) -> None:
    fleets.write("a.yaml", FLEET)
    fleets.register("churn-fr")
    fleets.turn()
    fleets.view.poll(fleets.policies.of, fleets.policies.patterns)
    assert fleets.policies.refresh(NOW, fleets.view.listing) is None


def test_all_models_are_one_question_and_those_that_the_list_missed_another(fleets: Fleets) -> None:
    fleets.write("a.yaml", FLEET)
    fleets.write("z.yaml", one("fraud"))
    fleets.register("churn-fr", "churn-it", "fraud")
    fleets.turn()
    listed, asked = fleets.registry.matching, []
    fleets.registry.matching = lambda patterns: {  # type: ignore[method-assign]
        name: model for name, model in listed(patterns).items() if name != "churn-fr"
    }
    by_name = fleets.registry.models
    fleets.registry.models = lambda names: asked.append(set(names)) or by_name(names)  # type: ignore
    assert fleets.turn() == {"fraud": "z", "churn-fr": "a", "churn-it": "a"}
    assert {"fraud", "churn-fr"} in asked


def test_a_policy_of_its_own_takes_a_model_over_and_gives_it_back(fleets: Fleets) -> None:
    fleets.write("m.yaml", FLEET)
    fleets.register("churn-fr", "churn-it")
    fleets.turn()
    fleets.write("z.yaml", one("churn-fr"))
    assert fleets.turn() == {"churn-fr": "z", "churn-it": "m"}
    (fleets.folder / "z.yaml").unlink()
    assert fleets.turn() == {"churn-fr": "m", "churn-it": "m"}


def test_a_wrong_file_about_a_model_leaves_it_where_it_was(fleets: Fleets) -> None:
    fleets.write("m.yaml", FLEET)
    fleets.register("churn-fr", "churn-it")
    fleets.turn()
    fleets.write("z.yaml", one("churn-fr").replace("accuracy", "acuracy"))
    assert fleets.turn() == {"churn-fr": "m", "churn-it": "m"}
    fleets.begin()
    assert fleets.turn() == {"churn-fr": "m", "churn-it": "m"}
    fleets.write("z.yaml", one("churn-fr"))
    assert fleets.turn() == {"churn-fr": "z", "churn-it": "m"}


def test_a_fleet_keeps_a_model_that_a_second_fleet_matches_later(fleets: Fleets) -> None:
    fleets.write("m.yaml", FLEET)
    fleets.register("churn-fr", "fraud")
    fleets.turn()
    fleets.write("a.yaml", matching('"*"'))
    assert fleets.turn() == {"churn-fr": "m", "fraud": "a"}
    assert fleets.policies.wrong_files() == ("a.yaml",)
    fleets.write("m.yaml", matching("nothing-*"))
    assert fleets.turn() == {"churn-fr": "a", "fraud": "a"}
    assert fleets.policies.wrong_files() == ()


def test_a_fleet_keeps_a_model_that_a_second_fleet_matches_also_over_a_restart(fleets: Fleets) -> None:
    fleets.write("m.yaml", FLEET)
    fleets.register("churn-fr", "fraud")
    fleets.turn()
    fleets.write("a.yaml", matching('"*"'))
    for _ in range(2):
        fleets.begin()
        assert fleets.turn() == {"churn-fr": "m", "fraud": "a"}
        assert fleets.policies.wrong_files() == ("a.yaml",)


def test_a_fleet_file_that_went_wrong_keeps_its_last_good_version_for_new_models_too(fleets: Fleets) -> None:
    fleets.write("m.yaml", FLEET)
    fleets.register("churn-fr")
    fleets.turn()
    fleets.write("m.yaml", "models: [")
    fleets.register("churn-it")
    assert fleets.turn() == {"churn-fr": "m", "churn-it": "m"}


def test_a_fleet_may_become_the_policy_of_one_model_and_back(fleets: Fleets) -> None:
    fleets.write("m.yaml", FLEET)
    fleets.register("churn-fr", "churn-it")
    fleets.turn()
    fleets.write("m.yaml", one("churn-it"))
    assert fleets.turn() == {"churn-it": "m"}
    fleets.write("m.yaml", FLEET)
    assert fleets.turn() == {"churn-fr": "m", "churn-it": "m"}


def test_a_registry_that_does_not_answer_retires_nothing(fleets: Fleets) -> None:
    fleets.write("m.yaml", FLEET)
    fleets.register("churn-fr", "churn-it", "fraud")
    fleets.turn()
    fleets.registry.fail_with = RegistryUnreachable("down")
    fleets.registry.delete_model_by_hand("churn-fr")
    assert fleets.turn() == {"churn-fr": "m", "churn-it": "m"}
    fleets.write("m.yaml", matching('{match: ["churn-*", fraud], except: churn-it}'))
    assert fleets.turn() == {"churn-fr": "m"}
    fleets.registry.fail_with = None
    assert fleets.turn() == {"fraud": "m"}


def test_at_a_start_without_a_registry_those_of_the_journal_stay_watched(fleets: Fleets) -> None:
    fleets.write("m.yaml", FLEET)
    fleets.write("z.yaml", one("fraud"))
    fleets.register("churn-fr", "churn-it")
    fleets.turn()
    fleets.begin()
    fleets.registry.fail_with = RegistryUnreachable("down")
    assert fleets.turn() == {"fraud": "z", "churn-fr": "m", "churn-it": "m"}
    fleets.registry.fail_with = None
    fleets.registry.delete_model_by_hand("churn-fr")
    assert fleets.turn() == {"fraud": "z", "churn-it": "m"}


def test_at_a_start_without_a_registry_models_that_were_gone_before_stay_so(fleets: Fleets) -> None:
    fleets.write("m.yaml", FLEET)
    fleets.register("churn-fr", "churn-it")
    fleets.turn()
    fleets.registry.delete_model_by_hand("churn-fr")
    fleets.turn()
    fleets.begin()
    fleets.registry.fail_with = RegistryUnreachable("down")
    assert fleets.turn() == {"churn-it": "m"}


def test_a_fleet_file_that_is_wrong_at_a_start_keeps_what_it_said_before(fleets: Fleets) -> None:
    fleets.write("m.yaml", FLEET)
    fleets.register("churn-fr")
    fleets.turn()
    fleets.write("m.yaml", "models: [")
    fleets.register("churn-it")
    fleets.begin()
    assert fleets.turn() == {"churn-fr": "m", "churn-it": "m"}
    assert fleets.policies.wrong_files() == ("m.yaml",)


def test_a_start_with_a_registry_takes_up_no_models_that_are_gone(
    fleets: Fleets, capsys: pytest.CaptureFixture[str]
) -> None:
    fleets.write("m.yaml", FLEET)
    fleets.register("churn-fr", "churn-it")
    fleets.turn()
    fleets.registry.delete_model_by_hand("churn-fr")
    fleets.begin()
    capsys.readouterr()
    assert fleets.turn() == {"churn-it": "m"}
    assert "churn-fr" not in capsys.readouterr().out


def test_a_fleet_that_was_deleted_retires_its_models(fleets: Fleets) -> None:
    fleets.write("m.yaml", FLEET)
    fleets.register("churn-fr")
    fleets.turn()
    (fleets.folder / "m.yaml").unlink()
    assert fleets.turn() == {}


MODELS = ("churn-de", "churn-fr", "fraud")
TEXTS = (FLEET, matching('"*"'), matching("[fraud, churn-fr]"), *map(one, MODELS), "models: [", "")
STEPS = st.one_of(
    st.tuples(st.sampled_from("abc"), st.sampled_from(TEXTS)),
    st.tuples(st.sampled_from(("register", "delete")), st.sampled_from(MODELS)),
    st.tuples(st.sampled_from(("down", "up")), st.just("")),
)


def play(fleets: Fleets, what: str, value: str) -> None:
    """Write or delete a file, register or delete a model, or have the registry go or come back."""
    if what in ("down", "up"):
        fleets.registry.fail_with = RegistryUnreachable("down") if what == "down" else None
    elif what == "register":
        fleets.register(value)
    elif what == "delete" and value in fleets.registry.models_by_hand():
        fleets.registry.delete_model_by_hand(value)
    elif what in "abc" and value:
        fleets.write(f"{what}.yaml", value)
    elif what in "abc":
        (fleets.folder / f"{what}.yaml").unlink(missing_ok=True)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=14))
def test_whatever_is_edited_or_registered_each_model_has_the_policy_that_is_about_it(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str]]
) -> None:
    fleets = Fleets(tmp_path_factory.mktemp("fleets"))
    for what, value in steps:
        before = fleets.turn()
        play(fleets, what, value)
        after, found = fleets.turn(), fleets.policies._folder.refresh()
        own = {policy.model: Path(policy.source).stem for policy in found.policies}
        assert {model: file for model, file in after.items() if model in own} == own
        takes = {Path(fleet.source).stem: fleet.models.takes for fleet in found.fleets}
        for model in after.keys() - own.keys():
            assert takes[after[model]](model)
            assert fleets.policies.of[model].data.folder == f"/srv/drops/{model}"
        if fleets.registry.fail_with is not None and what not in "abc":
            assert after == before
        elif fleets.registry.fail_with is None:
            assert after.keys() - own.keys() <= fleets.registry.models_by_hand()
    fleets.journal.close()


def test_what_concerns_models_is_said_once(fleets: Fleets, capsys: pytest.CaptureFixture[str]) -> None:
    fleets.write("m.yaml", matching("[churn-*, fraud]"))
    fleets.register("churn-fr")
    fleets.turn()
    fleets.register("churn-it")
    fleets.turn()
    fleets.turn()
    assert capsys.readouterr().out.count("policy.warning") == 1


def box_of(root: Path) -> FakeBox:
    """A box with one fleet, whose models are churn-de and churn-fr."""
    box = FakeBox(root)
    box.registry.delete_model_by_hand(MODEL)
    box.write_policy(POLICY.format(folder=root / "drops" / "{model}").replace("model: churn", 'models: "churn-*"'))
    for model in ("churn-de", "churn-fr"):
        register(box, model)
    return box


def register(box: FakeBox, model: str) -> None:
    (box.root / "drops" / model).mkdir(exist_ok=True)
    box.registry.create_version_by_hand(model)
    box.registry.move_alias_by_hand(model, "champion", 1)


def turns(box: FakeBox, daemon: Daemon, times: int = 3) -> set[str]:
    """The models that are shown after a few turns."""
    for _ in range(times):
        daemon.turn()
        box.clock.now += timedelta(minutes=1)
    return set(daemon.standing.snapshot.models)


def drop(box: FakeBox, model: str, name: str) -> None:
    (box.root / "drops" / model / name).write_text(f"x,churned\n{len(name)},yes\n")


def test_a_model_that_appears_is_watched_and_one_that_vanishes_is_not(tmp_path: Path) -> None:
    box = box_of(tmp_path)
    with box.life() as daemon:
        assert turns(box, daemon) == {"churn-de", "churn-fr"}
        register(box, "churn-it")
        box.registry.delete_model_by_hand("churn-fr")
        assert turns(box, daemon) == {"churn-de", "churn-it"}
        drop(box, "churn-it", "a.csv")
        drop(box, "churn-fr", "a.csv")
        turns(box, daemon)
    with box.journal() as journal:
        assert {drop.model for drop in journal.drops.listing(None)} == {"churn-it"}


def test_each_model_decides_for_itself(tmp_path: Path) -> None:
    box = box_of(tmp_path)
    with box.life() as daemon:
        turns(box, daemon)
        drop(box, "churn-fr", "new.csv")
        turns(box, daemon, 5)
        metrics = Exporter(lambda: daemon.standing.snapshot, Tally, box.clock).page("")[1].decode()
    (job,) = box.trainings()
    assert job.source.model == "churn-fr"
    assert [Path(file.path).parent.name for file in job.drops] == ["churn-fr"]
    with box.journal() as journal:
        (attempt,) = journal.attempts.of_model("churn-fr", 10)
        assert journal.attempts.of_model("churn-de", 10) == ()
    assert (attempt.policy.model, attempt.policy.data.folder) == ("churn-fr", str(tmp_path / "drops" / "churn-fr"))
    assert 'retraind_attempts_total{model="churn-fr",outcome="promoted"} 1.0' in metrics
    assert 'model="churn-de"' in metrics
    assert box.registry.models(["churn-fr"])["churn-fr"].aliases["champion"] == 2


def test_an_attempt_finishes_under_the_fleet_it_began_with(tmp_path: Path) -> None:
    box = box_of(tmp_path)
    training = True
    work = box.work
    box.work = lambda job: None if training and isinstance(job, Train) else work(job)  # type: ignore[method-assign]
    with box.life() as daemon:
        turns(box, daemon)
        drop(box, "churn-fr", "new.csv")
        turns(box, daemon)
        box.edit_policy("better_by: 0", "better_by: 0.5")
        box.edit_policy('"churn-*"', '{match: "churn-*", except: churn-fr}')
        assert turns(box, daemon) == {"churn-de"}
        training = False
        turns(box, daemon)
    with box.journal() as journal:
        (attempt,) = journal.attempts.of_model("churn-fr", 10)
    assert attempt.policy.promote.require[0].threshold == 0
    assert attempt.state.value == "promoted"


def test_without_a_registry_at_the_start_holds_and_drops_of_a_fleet_are_as_before(tmp_path: Path) -> None:
    box = box_of(tmp_path)
    box.live()
    box.registry.fail_with = RegistryUnreachable("down")
    journal = Journal.open(tmp_path / "state")
    number = journal.requests.ask("churn-de", "pause", "ada", "holiday", box.clock())
    journal.close()
    with box.life() as daemon:
        assert turns(box, daemon) == {"churn-de", "churn-fr"}
    assert box.answer(number)[0] == 0
    with box.journal() as journal:
        row = journal.models.find("churn-de")
    assert row is not None
    assert row.hold is not None
    box.registry.fail_with = None
    box.registry.delete_model_by_hand("churn-fr")
    with box.life() as daemon:
        assert turns(box, daemon) == {"churn-de"}


def test_two_fleets_that_clash_take_nothing_from_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    box = box_of(tmp_path)
    text = (tmp_path / "policies" / "churn.yaml").read_text()
    (tmp_path / "policies" / "b.yaml").write_text(text.replace('"churn-*"', '"*-fr"'))
    register(box, "fraud-fr")
    with box.life() as daemon:
        assert turns(box, daemon) == {"churn-de", "fraud-fr"}
    assert "as well: `churn-fr`" in capsys.readouterr().out


def shown(box: FakeBox, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The models that verbs about all of them show."""
    monkeypatch.setattr(composition, "registry_of", lambda _settings: box.registry)
    settings = Settings(tracking_uri="", registry_uri="", state=box.root / "state", policies=box.root / "policies")
    return set(composition.policies_in_force(settings))


def test_the_status_of_a_fleet_says_how_many_models_it_has() -> None:
    assert [how_many(models) for models in (0, 1, 1200)] == ["no model", "1 model", "1,200 models"]


def test_verbs_show_the_models_of_a_fleet_that_are_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    box = box_of(tmp_path)
    assert shown(box, monkeypatch) == {"churn-de", "churn-fr"}
    box.edit_policy('"churn-*"', "[churn-fr, chrun-de]")
    assert shown(box, monkeypatch) == {"churn-fr"}
    assert "warning: No registered model matches `chrun-de`." in capsys.readouterr().err


def test_verbs_show_the_models_that_the_journal_knows_when_the_registry_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    box = box_of(tmp_path)
    box.registry.fail_with = RegistryUnreachable("it is down")
    assert shown(box, monkeypatch) == set()
    box.registry.fail_with = None
    box.live()
    box.registry.fail_with = RegistryUnreachable("it is down")
    assert shown(box, monkeypatch) == {"churn-de", "churn-fr"}
    assert "as the journal knows them: it is down" in capsys.readouterr().err


def test_a_verb_about_one_model_finds_it_in_a_fleet_without_a_registry(tmp_path: Path) -> None:
    box = box_of(tmp_path)
    found, problems = composition.readable_policies(box.root / "policies", "churn-it")
    assert (set(found), problems) == ({"churn-it"}, ())
    assert composition.readable_policies(box.root / "policies", "fraud")[0] == {}
