"""`retraind test`: what a file of tests may say, what is wrong with one, and what is told of a test that fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrain_daemon.cli.main import main
from retrain_daemon.core.timeline.expectations import run
from retrain_daemon.policies.stories.reading import StoryFile, read_story_text
from tests.fake_box import POLICY

HEAD = "start: 2026-03-01T00:00:00Z\n"
TRAINS = "{at: 2h, decision: train, rule: enough fresh rows}"


WHOLE = f"""{HEAD}defaults:
  champion: {{version: 3, age: 4d}}
  attempts: {{takes: 20m, verdict: rejected}}
tests:
  - name: first
    given:
      - {{at: 1h, drop: {{name: a, rows: 5000, new: 4000, scores: {{accuracy: 0.9}}, drift: {{x: 0.3}}}}}}
      - {{at: 2h, every: 1h, times: 3, drop: {{rows: [1, 2, 3], grows_for: 5m, age: 1d}}}}
      - {{at: 3h, champion: {{version: 9, by: ada}}}}
      - {{at: 4h, attempts: {{verdict: abandoned, next: 2}}}}
      - {{at: 5h, stopped: 30m}}
    expect:
      - {{at: 1h, decision: train, rule: enough fresh rows, mode: warm_start, hyperparameters: {{a: 1}}}}
      - {{between: [2h, 3h], starts: 0}}
      - {{at: 4h, rules: {{enough fresh rows: unknown}}}}
  - name: second
    end: 3d
    expect: [{{at: 2h, code: no_rows}}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "churn.yaml").write_text(POLICY.format(folder="/srv/drops"), "utf-8")
    return tmp_path


def a_test(given: str = "{at: 2h, drop: 5000}", expect: str = TRAINS, head: str = HEAD, more: str = "") -> str:
    lines = [*(["    given:", f"      - {given}"] if given else []), "    expect:", f"      - {expect}"]
    return head + "tests:\n  - name: one\n" + more + "\n".join(lines) + "\n"


def read(text: str, folder: Path) -> StoryFile:
    return read_story_text(text, "churn.test.yaml", folder)


def passes(text: str, folder: Path) -> list[bool]:
    file = read(text, folder)
    assert [str(problem) for problem in file.problems] == []
    assert file.policy is not None
    return [run(file.policy, story).passed for story in file.stories]


def retraind(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["test", "--config", "/dev/null", *words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize(
    ("given", "expect", "passed"),
    [
        ("{at: 2h, drop: 5000}", TRAINS, True),
        ("{at: 2h, drop: 500}", TRAINS, False),
        ("{at: 2h, drop: 5000}", "{at: 2h, decision: train, mode: refit}", False),
        ("{at: 2h, drop: 5000}", "{at: 2h, decision: train, mode: warm_start}", True),
        ("{at: 2h, drop: 5000}", "{at: 2h, decision: train, hyperparameters: {classifier__C: 0.5}}", False),
        ("{at: 2h, drop: 5000}", "{at: 1h, decision: wait, code: no_rows}", True),
        ("{at: 2h, drop: 5000}", "{at: 1h, decision: wait, code: no_rule_holds}", False),
        ("{at: 2h, drop: 5000}", "{at: 2h, decision: wait}", False),
        ("{at: 2h, drop: 5000}", "{at: 2h, code: attempt_open}", True),
        ("{at: 1h, every: 1h, times: 2, drop: {rows: [1, 5000]}}", "{between: [1h, 2h], starts: 0}", True),
        ("{at: 2h, drop: 5000}", "{between: [2h, 3h], starts: 0}", False),
        ("{at: 2h, drop: 5000}", "{between: [2h, 3h], starts: 1, rule: enough fresh rows}", True),
        ("{at: 2h, drop: 5000}", "{between: [2h, 3h], starts: 1, rule: request}", False),
        ("{at: 2h, drop: 5000}", "{between: [2h, 3h], decision: train}", True),
        ("{at: 2h, drop: 5000}", "{between: [3h, 4h], decision: train}", False),
        ("{at: 1h, every: 1h, times: 2, drop: {rows: [1, 5000]}}", "{quiet_until: 2h}", True),
        ("{at: 2h, drop: 5000}", "{quiet_until: 121m}", False),
        ("{at: 2h, drop: 5000}", "{at: 1h, rules: {enough fresh rows: does not hold}}", True),
        ("{at: 2h, drop: 5000}", "{at: 1h, rules: {enough fresh rows: unknown}}", False),
        ("{at: 1h, stopped: 2h}", "{at: 2h, decision: wait}", False),
        ("{at: 2h, approve: ada}", "{at: 2h, code: no_rows}", False),
        ("{at: 2h, rollback: ada}", "{at: 2h, code: no_rows}", False),
        ("{at: 2h, request: ada}", "{at: 2h, code: no_rows}", True),
        ("{at: 2026-03-01T03:00:00+01:00, drop: 5000}", "{at: 2026-03-01 03:00 Europe/Berlin, decision: train}", True),
        ("{at: 1h, every: 1h, times: 3, drop: {rows: [400, 400, 400]}}", "{between: [3h, 4h], starts: 1}", True),
    ],
)
def test_a_test_passes_only_if_what_it_expects_is_decided(given: str, expect: str, passed: bool, folder: Path) -> None:
    assert passes(a_test(given, expect), folder) == [passed]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (a_test(given="{at: 2h, dorp: 5}"), 5, "Did you mean `drop`?"),
        (a_test(given="{at: 2h, drop: 5, pause: ada}"), 5, "says `drop` and `pause`"),
        (a_test(given="{drop: 5}"), 5, "`tests.given.at` is missing"),
        (a_test(given="{at: 2x, drop: 5}"), 5, "must be a length of time"),
        (a_test(given="{at: 2026-02-01T00:00:00Z, drop: 5}"), 5, "before the start"),
        (a_test(given="{at: 2026-03-02T00:00:00, drop: 5}"), 5, "no time zone"),
        (a_test(given="{at: 2h, drop: -5}"), 5, "between 0 and"),
        (a_test(given="{at: 2h, drop: {rows: 5, new: 6}}"), 5, "More rows are new"),
        (a_test(given="{at: 2h, drop: {same_as: a.csv}}"), 5, "there is no file `a.csv`"),
        (a_test(given="{at: 2h, drop: {rows: 5, scores: {acuracy: 0.5}}}"), 5, "Did you mean `accuracy`?"),
        (a_test(given="{at: 2h, every: 1h, drop: 5}"), 5, "`every` and `times` go together"),
        (a_test(given="{at: 2h, every: 1h, times: 3, drop: {rows: [1, 2]}}"), 5, "has 2 values for 3 times"),
        (a_test(given="{at: 2h, retract: a.csv}"), 5, "there is no file `a.csv`"),
        (a_test(given="{at: 2h, attempts: {verdict: promotd}}"), 5, "Did you mean `promoted`?"),
        (a_test(given="{at: 2h, attempts: {takes: 0}}"), 5, "Write at least 1s"),
        (a_test(given="{at: 2h, upstream: words}"), 5, "no upstream model `words`"),
        (a_test(expect="{at: 2h}"), 7, "expects nothing"),
        (a_test(expect="{between: [1h, 2h]}"), 7, "expects nothing"),
        (a_test(expect="{decision: wait}"), 7, "says no time"),
        (a_test(expect="{at: 2h, decision: trian}"), 7, "Did you mean `train`?"),
        (a_test(expect="{at: 2h, decision: wait, code: nothing_knew}"), 7, "Did you mean `nothing_new`?"),
        (a_test(expect="{at: 2h, decision: train, code: cooldown}"), 7, "no code of `decision: train`"),
        (a_test(expect="{at: 2h, rule: enough fresh row}"), 7, "Did you mean `enough fresh rows`?"),
        (a_test(expect="{at: 2h, rules: {enough fresh rows: yes}}"), 7, "Write one of: holds"),
        (a_test(expect="{between: [2h, 1h], starts: 0}"), 7, "ends before it begins"),
        (a_test(expect="{quiet_until: 0}", given=""), 3, "holds for every policy"),
        (a_test(expect="{at: 1h, decision: wait}", given=""), 3, "holds for every policy"),
        (a_test("{at: 2h, drop: 5}", "{quiet_until: 2h}"), 3, "holds for every policy"),
        (a_test("{at: 2h, drop: 5}", "{between: [0, 1h], starts: 0}"), 3, "holds for every policy"),
        (a_test("{at: 2h, drop: 5}", "{at: 1h, decision: wait}"), 3, "holds for every policy"),
        (a_test(more="    end: 1h\n"), 6, "after the end"),
        (a_test(head=""), 6, "`start` is missing"),
        (a_test(head="start: 2026-03-29 02:30 Europe/Berlin\n"), 1, "there twice, or not at all"),
        (a_test(head=HEAD + "policy: nope.yaml\n"), 2, "There is no policy file"),
        (a_test(head=HEAD + "policy: churn.test.yaml\n"), 2, "names a file of tests"),
        (a_test(head=HEAD + "model: shop\n"), 2, "is not about the model `shop`"),
        (HEAD + "tests:\n  - expect:\n    - " + TRAINS + "\n", 3, "`tests.name` is missing"),
        (HEAD + "tests:\n  - name: one\n", 3, "`tests.expect` is missing"),
        (a_test() + "  - name: one\n    expect:\n    - " + TRAINS + "\n", 8, "Two tests have the name `one`"),
        ("", 1, "empty"),
        ("a: &b 3", 1, "anchor"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_of_tests_is_told_with_its_place(text: str, line: int, said: str, folder: Path) -> None:
    problems = read(text, folder).problems
    assert line in [problem.line for problem in problems if said in str(problem)], problems


WORDS = ["at:", "drop:", "{", "}", "[", "]", "- ", "\n", " ", "1h", "-1", "9" * 40, "2026-13-01T00:00:00Z", "0", "null",
         "given:", "expect:", "scores:", "drift:", "rules:", "between:", "*a", "!!x", "\t", '"', "🎉"]  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 12), st.sampled_from(WORDS)), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_in_a_file_of_tests_is_a_test_or_a_problem_with_its_place(
    folder: Path, edits: list[tuple[int, int, str]]
) -> None:
    text = WHOLE
    for place, cut, word in edits:
        text = text[: place % len(text)] + word + text[place % len(text) + cut :]
    file = read(text, folder)
    assert file.problems or file.stories
    assert all(problem.line > 0 for problem in file.problems)
    if not file.problems and file.policy is not None:
        for story in file.stories:
            run(file.policy, story)


def test_a_wrong_policy_is_a_problem_of_its_test_too(folder: Path) -> None:
    (folder / "churn.yaml").write_text("model: churn\n", "utf-8")
    file = read(a_test(), folder)
    assert file.policy is None
    assert any("`data` is missing" in str(problem) for problem in file.problems)


def test_of_a_policy_for_several_models_one_is_named(folder: Path) -> None:
    text = POLICY.format(folder="/srv/drops/{model}").replace("model: churn", 'models: {match: "churn-*"}')
    (folder / "churn.yaml").write_text(text, "utf-8")
    assert passes(a_test(head=HEAD + "model: churn-de\n"), folder) == [True]
    for head in (HEAD, HEAD + "model: shop\n"):
        assert any("Name one that matches: churn-*" in str(each) for each in read(a_test(head=head), folder).problems)


def test_a_failure_shows_what_happened_around_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "churn.test.yaml").write_text(a_test("{at: 2h, drop: 999}"), "utf-8")
    code, out, _ = retraind(capsys, str(folder))
    assert code == 1
    assert "FAILED" in out
    assert "churn.test.yaml:7: at 2h (2026-03-01 02:00:00 UTC)" in out
    assert "expected: train, rule “enough fresh rows”" in out
    assert "data.new_rows is 999, short by 1" in out
    assert "drop “number 1”, 999 rows" in out
    assert "tests passed: 0, failed: 1, files: 1" in out


def test_tests_that_pass_are_one_line_each_and_all_of_it_on_demand(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "churn.test.yaml").write_text(a_test(), "utf-8")
    code, short, _ = retraind(capsys, str(folder))
    assert (code, len(short.splitlines())) == (0, 2)
    _, whole, _ = retraind(capsys, "-v", str(folder))
    assert "attempt churn-1 is promoted" not in short
    assert "decided train (rule_holds), attempt churn-1" in whole


def test_programs_read_which_test_failed_and_why(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "churn.test.yaml").write_text(a_test("{at: 2h, drop: 900}"), "utf-8")
    code, out, _ = retraind(capsys, "--json", str(folder))
    (told,) = json.loads(out)
    assert (code, told["name"], told["passed"], told["differences"][0]["line"]) == (1, "one", False, 7)


def test_a_policy_stands_for_the_tests_beside_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = str(folder / "churn.yaml")
    code, _, err = retraind(capsys, policy)
    assert (code, "no test file churn.test.yaml" in err) == (4, True)
    (folder / "churn.test.yaml").write_text(a_test(), "utf-8")
    assert retraind(capsys, policy)[0] == 0


def test_a_wrong_file_and_a_folder_without_tests_have_codes_of_their_own(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = retraind(capsys, str(folder))
    assert (code, "no test file" in err) == (4, True)
    (folder / "churn.test.yaml").write_bytes(b"a\0b")
    assert retraind(capsys, str(folder))[0] == 3
    (folder / "churn.test.yaml").write_bytes(b"\xff\xfe")
    assert retraind(capsys, str(folder))[0] == 3
