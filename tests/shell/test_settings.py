from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from retrain_daemon.errors import SettingsProblem
from retrain_daemon.secrets import hide_credentials
from retrain_daemon.settings import Address, Overrides, Settings, read_settings

FULL = """
[mlflow]
tracking_uri = "http://mlflow:5000"
registry_uri = "https://registry:5000"
[daemon]
state = "/srv/state"
policies = "rules"
poll_registry = "2s"
rescan = "1h30m"
retry_backoff = "500ms"
log_format = "json"
"""
NOTHING = Overrides()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder that is the working directory too."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(home: Path, text: str = "", overrides: Overrides = NOTHING, **environment: str) -> Settings:
    file = home / "conf" / "retraind.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return read_settings(file if text else None, {"HOME": str(home), **environment}, overrides, home / "absent.toml")


def problems(home: Path, text: str = "", **environment: str) -> list[str]:
    with pytest.raises(SettingsProblem) as caught:
        read(home, text, **environment)
    return caught.value.message.replace(f"{home}/conf/", "").splitlines()


def test_without_any_word_the_defaults_work(home: Path) -> None:
    state = home / ".local/state/retraind"
    uri = f"sqlite:///{state}/mlflow.db"
    assert read(home) == Settings(tracking_uri=uri, registry_uri=uri, state=state, policies=home / "policies")
    assert uri.startswith("sqlite:////")


def test_a_file_sets_everything_and_relative_paths_are_meant_from_its_folder(home: Path) -> None:
    assert read(home, FULL) == Settings(
        tracking_uri="http://mlflow:5000",
        registry_uri="https://registry:5000",
        state=Path("/srv/state"),
        policies=home / "conf/rules",
        poll_registry=timedelta(seconds=2),
        rescan=timedelta(minutes=90),
        retry_backoff=timedelta(seconds=0.5),
        log_format="json",
        file=home / "conf/retraind.toml",
    )


def test_policies_are_looked_for_beside_the_file_by_default(home: Path) -> None:
    assert read(home, "[daemon]").policies == home / "conf/policies"


def test_the_environment_wins_over_the_file_and_the_command_line_over_both(home: Path) -> None:
    environment = {"RETRAIND_STATE": "/env", "RETRAIND_RESCAN": "7s", "MLFLOW_TRACKING_URI": "http://env"}
    settings = read(home, FULL, Overrides(state="/flag"), **environment)
    assert settings.state == Path("/flag")
    assert settings.rescan == timedelta(seconds=7)
    assert settings.tracking_uri == "http://env"
    assert settings.registry_uri == "https://registry:5000"


def test_the_embedded_registry_follows_the_state_folder(home: Path) -> None:
    settings = read(home, overrides=Overrides(state="/flag"))
    assert settings.tracking_uri == "sqlite:////flag/mlflow.db"
    assert read(home, MLFLOW_TRACKING_URI="http://env").registry_uri == "http://env"


@pytest.mark.parametrize(
    ("environment", "state"),
    [
        ({"STATE_DIRECTORY": "/var/lib/retraind:/var/lib/more", "XDG_STATE_HOME": "/xdg"}, "/var/lib/retraind"),
        ({"XDG_STATE_HOME": "/xdg"}, "/xdg/retraind"),
        ({"RETRAIND_STATE": "~/here", "STATE_DIRECTORY": "/var/lib/retraind"}, "HOME/here"),
        ({"RETRAIND_STATE": "here"}, "HOME/here"),
        ({"RETRAIND_STATE": "", "XDG_STATE_HOME": "relative"}, "HOME/.local/state/retraind"),
    ],
)
def test_where_the_state_folder_is(home: Path, environment: dict[str, str], state: str) -> None:
    assert str(read(home, **environment).state) == state.replace("HOME", str(home))


@pytest.mark.parametrize(
    ("uri", "meant"),
    [
        ("sqlite:///mlflow.db", "sqlite:///HOME/mlflow.db"),
        ("sqlite:////srv/mlflow.db?timeout=9", "sqlite:////srv/mlflow.db?timeout=9"),
        ("postgresql://user:word@host/mlflow", "postgresql://user:word@host/mlflow"),
    ],
)
def test_a_registry_uri_means_the_same_in_every_folder(home: Path, uri: str, meant: str) -> None:
    assert read(home, MLFLOW_TRACKING_URI=uri).tracking_uri == meant.replace("HOME", str(home))


@pytest.mark.parametrize("uri", ["./mlruns", "file:///srv/mlruns", "sqlite://", "sqlite:///:memory:"])
def test_a_registry_that_workers_could_not_share_is_refused(home: Path, uri: str) -> None:
    [problem] = problems(home, MLFLOW_TRACKING_URI=uri)
    assert problem.startswith(f'environment variable MLFLOW_TRACKING_URI is "{uri}", ')
    assert "write sqlite:///PATH" in problem


def test_the_file_may_be_named_by_the_environment(home: Path) -> None:
    (home / "mine.toml").write_text('[daemon]\nrescan = "5s"')
    environment = {"HOME": str(home), "RETRAIND_CONFIG": "mine.toml"}
    assert read_settings(None, environment).rescan == timedelta(seconds=5)


def test_the_systems_file_is_read_where_it_exists(home: Path) -> None:
    system = home / "retraind.toml"
    system.write_text('[daemon]\nrescan = "5s"')
    assert read_settings(None, {"HOME": str(home)}, system_file=system).file == system


def test_a_named_file_that_is_missing_or_unreadable_is_said(home: Path) -> None:
    with pytest.raises(SettingsProblem, match=r"missing\.toml does not exist"):
        read_settings(home / "missing.toml", {})
    with pytest.raises(SettingsProblem, match="cannot be read: Is a directory"):
        read_settings(home, {})


def test_broken_toml_is_said_with_its_line(home: Path) -> None:
    [problem] = problems(home, "[daemon]\nstate = /srv")
    assert problem.startswith("settings file retraind.toml is no valid TOML: ")
    assert "line 2" in problem


def test_all_problems_are_named_at_once(home: Path) -> None:
    text = """
state = "/srv"
daemon.reskan = "5s"
daemon.tracking_uri = "http://mlflow"
daemon.poll_registry = 15
daemon.rescan = "soon"
daemon.log_format = "jsn"
daemon.policies = ""
mlflow = true
[notify]
[email]
"""
    assert problems(home, text, RETRAIND_POLICY="x") == [
        "environment variable RETRAIND_POLICY is no setting; did you mean RETRAIND_POLICIES?",
        "retraind.toml: state is no setting; it belongs in [daemon]",
        "retraind.toml: [daemon] reskan is no setting; did you mean rescan?",
        "retraind.toml: [daemon] tracking_uri is no setting; it belongs in [mlflow]",
        "retraind.toml: mlflow is true, it must be a table, [mlflow]",
        "retraind.toml: [email] is no setting; there are mlflow, daemon, workers, trust, web, notify",
        "retraind.toml: [daemon] policies is empty",
        'retraind.toml: [daemon] poll_registry is 15, it must be text in quotes, for example "15s"',
        'retraind.toml: [daemon] rescan is "soon", which is no duration above zero; '
        'write for example "15s", "5m" or "1h30m"',
        'retraind.toml: [daemon] log_format is "jsn", which is none of auto, json, console; did you mean json?',
    ]


@pytest.mark.parametrize("text", ["0s", "-5s", "5", "5 s", "5w", "1h,5m", "nan"])
def test_what_is_no_duration_is_refused(home: Path, text: str) -> None:
    [problem] = problems(home, RETRAIND_RESCAN=text)
    assert f'RETRAIND_RESCAN is "{text}", which is no duration above zero' in problem


def test_a_wrong_flag_is_named_as_it_was_written(home: Path) -> None:
    with pytest.raises(SettingsProblem, match='--log-format is "xml", which is none of'):
        read(home, overrides=Overrides(log_format="xml"))


def test_a_refused_uri_is_shown_without_credentials(home: Path) -> None:
    [problem] = problems(home, MLFLOW_TRACKING_URI="file://ann:s3cret@host")
    assert "s3cret" not in problem


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("cannot reach postgresql://u:p@ss@db/x, see a@b", "cannot reach postgresql://***@db/x, see a@b"),
        ("http://TOKEN@host", "http://***@host"),
        ("s3://b/k?X-Amz-Signature=abc", "s3://b/k?X-Amz-Signature=***"),
        ("sqlite:////srv/mlflow.db", "sqlite:////srv/mlflow.db"),
    ],
)
def test_credentials_are_hidden_in_any_text(text: str, hidden: str) -> None:
    assert hide_credentials(text) == hidden


def test_trusted_people_are_a_list_in_the_file_and_a_line_in_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "retraind.toml"
    file.write_text('[trust]\nusers = ["alice", "ci"]\n')
    assert read_settings(file, {}).trust_users == ("alice", "ci")
    assert read_settings(file, {"RETRAIND_TRUST_USERS": "bob, eve"}).trust_users == ("bob", "eve")
    for wrong in ('"alice"', "[1]", '["a,b"]', '[""]'):
        file.write_text(f"[trust]\nusers = {wrong}\n")
        with pytest.raises(SettingsProblem, match="it must be a list of names"):
            read_settings(file, {})


@pytest.mark.parametrize("empty", ["[]", '[" "]', '["", ""]'])
def test_a_list_of_nobody_is_refused_as_it_would_trust_everybody(home: Path, empty: str) -> None:
    [problem] = problems(home, f"[trust]\nusers = {empty}\n")
    assert problem.startswith("retraind.toml: [trust] users is ")


@pytest.mark.parametrize("empty", [",", " ", " , "])
def test_a_variable_that_names_nobody_does_not_switch_the_files_list_off(home: Path, empty: str) -> None:
    [problem] = problems(home, '[trust]\nusers = ["ada"]\n', RETRAIND_TRUST_USERS=empty)
    said = f'RETRAIND_TRUST_USERS is "{empty}", which names nobody; name those you trust, or leave it out'
    assert said in problem


def test_slots_are_a_number_in_the_file_and_in_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "retraind.toml"
    file.write_text("[workers]\nslots = 3\n")
    assert read_settings(file, {"HOME": str(tmp_path)}).slots == 3
    assert read_settings(file, {"HOME": str(tmp_path), "RETRAIND_SLOTS": "2"}).slots == 2


@pytest.mark.parametrize("value", ["0", "-1", "1.5", '"2"', "true"])
def test_what_is_no_whole_number_above_zero_is_refused_as_slots(home: Path, value: str) -> None:
    file = home / "retraind.toml"
    file.write_text(f"[workers]\nslots = {value}\n")
    with pytest.raises(SettingsProblem, match=r"\[workers\] slots is .*whole number"):
        read_settings(file, {"HOME": str(home)})


def test_pages_are_served_on_loopback_unless_another_address_or_off_is_said(home: Path) -> None:
    assert read(home).web_listen == Address("127.0.0.1", 9464)
    assert read(home, '[web]\nlisten = "off"').web_listen is None
    assert read(home, RETRAIND_WEB_LISTEN="[::1]:1").web_listen == Address("::1", 1)
    exposed = read(home, '[web]\nlisten = "0.0.0.0:80"').web_listen
    assert exposed is not None
    assert not exposed.is_loopback


@pytest.mark.parametrize("text", [":9464", "9464", "127.0.0.1", "127.0.0.1:99999", "monitor:9464", "127.0.0.1:x"])
def test_what_is_no_address_to_listen_on_is_refused(home: Path, text: str) -> None:
    [problem] = problems(home, RETRAIND_WEB_LISTEN=text)
    assert f'RETRAIND_WEB_LISTEN is "{text}", which is no address to listen on' in problem


def test_a_command_is_a_list_of_words_in_the_file_and_one_line_in_the_environment(home: Path) -> None:
    text = '[notify]\ncommand = ["/bin/tell", "a b", "$c"]\non = ["held", "promoted"]\ntimeout = "3s"'
    settings = read(home, text)
    assert settings.notify_command == ("/bin/tell", "a b", "$c")
    assert (settings.notify_on, settings.notify_timeout) == (("held", "promoted"), timedelta(seconds=3))
    assert read(home, RETRAIND_NOTIFY_COMMAND="/bin/tell 'a b'").notify_command == ("/bin/tell", "a b")
    assert read(home).notify_on == (
        "promoted", "awaiting_approval", "rolled_back", "held", "champion_lost", "champion_worse",
    )  # fmt: skip


@pytest.mark.parametrize("value", ['"/bin/tell s3cret"', '["tell", "s3cret"]', "[]", '["/bin/tell", 1]'])
def test_a_command_that_cannot_be_run_is_refused_without_being_shown(home: Path, value: str) -> None:
    [problem] = problems(home, f"[notify]\ncommand = {value}")
    assert problem.startswith("retraind.toml: [notify] command must ")
    assert "s3cret" not in problem


def test_an_occasion_that_does_not_exist_is_refused_with_what_is_meant(home: Path) -> None:
    [problem] = problems(home, '[notify]\non = ["promotd"]')
    assert problem == 'retraind.toml: [notify] on is "promotd", which names no occasion; did you mean promoted?'


def test_what_workers_may_take_is_read_from_file_and_environment(tmp_path: Path) -> None:
    file = tmp_path / "retraind.toml"
    file.write_text('[workers]\nmemory = "8GiB"\nprocesses = 64\ninspections = 3\ngpus = ["0", "GPU-5ad1"]\n')
    read = read_settings(file, {"HOME": str(tmp_path)})
    assert (read.memory, read.processes, read.inspections, read.gpus) == (8 * 2**30, 64, 3, ("0", "GPU-5ad1"))
    told = {"HOME": str(tmp_path), "RETRAIND_MEMORY": "500MB", "RETRAIND_GPUS": "1"}
    assert (read_settings(file, told).memory, read_settings(file, told).gpus) == (500 * 10**6, ("1",))


def test_an_empty_list_of_gpus_is_a_box_that_has_none_to_hand_out(tmp_path: Path) -> None:
    file = tmp_path / "retraind.toml"
    file.write_text("[workers]\ngpus = []\n")
    assert read_settings(file, {"HOME": str(tmp_path)}).gpus == ()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('memory = "8"', 'which is no size above zero; write for example "500MB" or "8GiB"'),
        ('memory = "0GB"', "which is no size above zero"),
        ("memory = 8", 'memory is 8, it must be text in quotes, for example "8GiB"'),
        ('gpus = ["0", "0"]', "which names a device twice"),
        ("gpus = [0]", 'it must be a list of names, for example ["0", "1"]'),
    ],
)
def test_a_wrong_allowance_of_workers_is_refused(home: Path, line: str, said: str) -> None:
    [problem] = problems(home, f"[workers]\n{line}\n")
    assert said in problem


def test_workers_may_stand_behind_nothing_at_all(tmp_path: Path) -> None:
    file = tmp_path / "retraind.toml"
    file.write_text("[workers]\nnice = 0\n")
    assert read_settings(file, {"HOME": str(tmp_path)}).nice == 0


@pytest.mark.parametrize("value", ["20", "-1", '"5"', "true"])
def test_what_is_no_niceness_is_refused(home: Path, value: str) -> None:
    [problem] = problems(home, f"[workers]\nnice = {value}\n")
    assert "whole number" in problem


def test_how_long_workers_are_kept_warm_is_a_duration_or_off(tmp_path: Path) -> None:
    file = tmp_path / "retraind.toml"
    file.write_text('[workers]\nkeep_warm = "90s"\n')
    home = {"HOME": str(tmp_path)}
    assert read_settings(file, home).keep_warm == timedelta(seconds=90)
    assert read_settings(file, home | {"RETRAIND_KEEP_WARM": "off"}).keep_warm is None


def test_no_time_at_all_is_refused_with_the_word_for_it(home: Path) -> None:
    [problem] = problems(home, '[workers]\nkeep_warm = "0s"\n')
    assert problem.endswith('keep_warm is "0s", which is no duration above zero; write for example "5m", or "off"')
