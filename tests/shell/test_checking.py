"""`retraind check`: what a person, a program and a CI job are shown of problems in policy files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_daemon.cli.excerpts import WIDTH, excerpt
from retrain_daemon.cli.later import Verb
from retrain_daemon.cli.main import main
from retrain_daemon.cli.parser import parse
from retrain_daemon.policies import read_policy_text

EXAMPLES = Path(__file__).parents[2] / "policies"

POLICY = """\
model: churn
data:
  path: /srv/drops/churn/*.csv
  target: churned
retrain:
  - name: fresh
    when: data.new_rows >= 100
promote:
  require:
    - {metric: accuracy, better_by: 0}
"""


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Check:
    monkeypatch.chdir(tmp_path)
    return Check(tmp_path, capsys)


class Check:
    """Writes a policy, runs the command and keeps what it printed."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder = folder
        self._capsys = capsys

    def __call__(self, text: str, *flags: str, name: str = "churn.yaml") -> tuple[int, str]:
        (self._folder / name).write_text(text)
        ended = main(["check", name, *flags])
        return ended, self._capsys.readouterr().out


def test_a_problem_is_shown_with_its_line_and_a_caret_under_the_place(check: Check) -> None:
    ended, printed = check(POLICY.replace("data.new_rows >= 100", "data.new_rows >= 100 && drift.max > 1"))

    assert ended == 3
    assert printed.splitlines()[:3] == [
        "churn.yaml:7:45: `>` cannot take a decimal number and a whole number. Write 1.0.",
        "     7 |     when: data.new_rows >= 100 && drift.max > 1",
        f"       | {' ' * 44}^",
    ]


@pytest.mark.parametrize(
    ("written", "pointed_at"),
    [
        ('when: "data.new_rows >= 100 && data.nwe_rows > 3"', "data.nwe_rows"),
        ("when: 'data.new_rows >= 100 && data.nwe_rows > 3'", "data.nwe_rows"),
        ("when: >\n      data.new_rows >= 100\n      && data.nwe_rows > 3", "data.nwe_rows"),
        ("when: |\n      data.new_rows >= 100 &&\n        data.nwe_rows > 3\n", "data.nwe_rows"),
        ("when: data.new_rows >= 100\n      && data.nwe_rows > 3", "data.nwe_rows"),
        ("when: 'last.outcome == \"\U0001f600\" || data.nwe_rows > 3'", "data.nwe_rows"),
    ],
)
def test_the_caret_is_under_the_word_inside_an_expression_however_it_is_written(
    check: Check, written: str, pointed_at: str
) -> None:
    _, printed = check(POLICY.replace("when: data.new_rows >= 100", written))

    line, caret = printed.splitlines()[1:3]
    start = caret.index("^")
    # Of the emoji, which is one letter, a terminal shows two cells.
    start -= sum(letter == "\U0001f600" for letter in line[:start])
    assert line[start : start + caret.count("^")] == pointed_at


def test_all_problems_of_all_files_are_told_and_counted(check: Check, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(POLICY.replace("accuracy", "acuracy").replace("target", "targte"))
    (tmp_path / "b.yaml").write_text("model: b\n")

    ended = main(["check", "."])

    printed = check._capsys.readouterr().out
    assert ended == 3
    assert "a.yaml:4:3: `targte` is not a key of data. Did you mean `target`?" in printed
    assert "a.yaml:10:16: There is no metric `acuracy`. Did you mean `accuracy`?" in printed
    assert "b.yaml:1:9: `promote` is missing. Write `promote:`" in printed
    assert printed.splitlines()[-1] == "policies without problems: 0, problems: 6, warnings: 0"


def test_programs_read_where_each_problem_begins_and_ends(check: Check) -> None:
    ended, printed = check(POLICY.replace("accuracy", "acuracy"), "--json")

    assert ended == 3
    assert json.loads(printed) == [
        {
            "file": "churn.yaml",
            "line": 10,
            "column": 16,
            "end_column": 23,
            "severity": "error",
            "message": "There is no metric `acuracy`.",
            "hint": "Did you mean `accuracy`?",
        }
    ]


def test_github_is_told_with_its_signs_escaped(check: Check) -> None:
    ended, printed = check(POLICY.replace("better_by: 0", "better_by: 5%"), "--github", name="a,b.yaml")

    assert ended == 3
    assert printed.splitlines() == [
        "::error file=a%2Cb.yaml,title=retraind check,line=10,col=37,endColumn=39::"
        "`promote.require.better_by` must be a number, not a percentage. Write 0.05."
    ]


def test_a_percent_sign_in_a_message_is_escaped_for_github(check: Check) -> None:
    _, printed = check(POLICY.replace("  target", "  holdout: 95%\n  target"), "--github")

    assert "it must be between 1%25 and 90%25." in printed


def test_what_a_file_says_never_steers_the_terminal(check: Check) -> None:
    text = POLICY.replace("model: churn", 'model: "x\\e[31m/y"\n"\\e]0;owned\\a": 1\n# \u202e backwards \U000e0041')

    _, printed = check(text)

    assert "\\x1b]0;owned\\x07" in printed
    assert all(letter.isprintable() or letter == "\n" for letter in printed)


@pytest.mark.parametrize("flags", [(), ("--json",), ("--github",)])
def test_a_line_that_holds_credentials_is_named_and_not_shown(check: Check, flags: tuple[str, ...]) -> None:
    ended, printed = check(POLICY + "# postgresql://ada:hush-hush@db/mlflow\n", *flags)
    assert ended == 3
    assert "The line holds credentials" in printed
    assert "11" in printed
    assert "hush-hush" not in printed


def test_of_very_many_problems_of_a_file_the_rest_are_counted(check: Check) -> None:
    ended, printed = check(POLICY.replace("  - name: fresh\n    when: data.new_rows >= 100\n", "  - {}\n" * 80))

    assert ended == 3
    assert "churn.yaml: and 60 more." in printed
    assert "problems: 160" in printed


def test_a_file_without_problems_is_named_with_its_model_and_rules(check: Check) -> None:
    assert check(POLICY) == (
        0,
        "churn.yaml: ok, model churn, rules: fresh\npolicies without problems: 1, problems: 0, warnings: 0\n",
    )


def test_a_long_line_is_cut_around_the_place() -> None:
    shown = excerpt(f"{'a' * 500} here {'b' * 500}", 502)

    assert len(shown.line) <= WIDTH + 2
    assert shown.line[shown.caret.index("^") :].startswith("here ")


def test_tabs_and_wide_letters_move_the_caret_with_them() -> None:
    shown = excerpt("\tnaïve: 漢字 x", 12)

    assert shown.line == "    naïve: 漢字 x"
    assert shown.caret == " " * 16 + "^"


@settings(max_examples=300, deadline=None)
@given(st.text(), st.integers(-5, 500))
def test_any_place_of_any_line_can_be_shown(line: str, column: int) -> None:
    shown = excerpt(line, column)

    assert shown.line.isprintable()
    assert set(shown.caret.lstrip(" ")) == {"^"}
    assert len(shown.line) <= 4 * WIDTH + 2


VERBS = ("run", "restore", "demo", "install", "check", "plan", "status", "doctor", "history")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_leads_to_what_it_does(verb: str) -> None:
    found = parse([verb]).verb

    assert isinstance(found, Verb)
    assert callable(found.load())


def test_problems_are_shown_where_the_file_went_away_meanwhile(check: Check) -> None:
    Path("gone.yaml").symlink_to("nowhere")

    assert main(["check", "gone.yaml"]) == 3
    assert "gone.yaml: It cannot be read: No such file or directory." in check._capsys.readouterr().out


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("when: !registry.champion_moved && (failures > 1)", "is read as a tag"),
        ("when: [1, 2].exists(s, s > failures)", "A value that begins with `[` or `{` is read as a list or mapping"),
        ("when: failures > 1 ? true : false", "A `:` stands where no key can be"),
    ],
)
def test_an_expression_that_yaml_takes_for_something_else_belongs_in_quotes(
    check: Check, written: str, said: str
) -> None:
    ended, printed = check(POLICY.replace("when: data.new_rows >= 100", written))

    assert ended == 3
    assert said in printed
    assert "in quotes" in printed


def test_very_many_unknown_keys_are_told_and_counted(check: Check) -> None:
    _, printed = check(POLICY + "".join(f"key{number}: 1\n" for number in range(60)))

    assert "churn.yaml:61:1: From here on 10 more keys are none of a policy. Its keys are: model" in printed


def test_a_list_of_rules_that_is_too_long_to_be_meant_is_refused(check: Check) -> None:
    rules = "".join(f"  - {{name: r{number}, when: failures == {number}}}\n" for number in range(101))

    ended, printed = check(POLICY.replace("retrain:\n", f"retrain:\n{rules}"))

    assert ended == 3
    assert "`retrain` has 102 entries; at most 100 are read." in printed


def test_a_file_name_that_no_file_can_have_is_refused(check: Check) -> None:
    _, printed = check(POLICY.replace("/*.csv", f"/{'*a' * 200}.csv"))

    assert "churn.yaml:3:9: `data.path` is longer than a file name can be." in printed


def test_a_class_that_comes_twice_among_very_many_is_named(check: Check) -> None:
    classes = ", ".join(f"c{number}" for number in range(20_000))

    _, printed = check(POLICY.replace("churned", f"{{column: c, classes: [{classes}, c19999]}}"))

    assert "names `c19999` twice" in printed


def test_warnings_count_only_where_asked_to_be_strict(check: Check) -> None:
    text = POLICY.replace("data.new_rows >= 100", "failures >= 3")

    assert check(text)[0] == 0
    ended, printed = check(text, "--strict")

    assert ended == 3
    assert "churn.yaml:7:11: warning: `failures >= 3` is never true" in printed
    assert json.loads(check(text, "--json")[1])[0]["severity"] == "warning"
    assert check(text, "--github")[1].startswith("::warning file=churn.yaml,")


_MUTATIONS = st.lists(
    st.tuples(st.sampled_from(["flip", "delete", "swap", "double", "tab"]), st.integers(0, 400), st.integers(0, 400)),
    min_size=1,
    max_size=6,
)


def mutated(text: str, mutations: list[tuple[str, int, int]]) -> str:
    for kind, first, second in mutations:
        at, lines = first % max(len(text), 1), text.splitlines(keepends=True) or [""]
        one, other = first % len(lines), second % len(lines)
        if kind == "flip":
            text = f"{text[:at]}{chr(second)}{text[at + 1 :]}"
        elif kind == "delete":
            text = text[:at] + text[at + 1 + second % 20 :]
        elif kind == "tab":
            text = f"{text[:at]}\t{text[at:]}"
        else:
            lines[one], lines[other] = lines[other], lines[one] if kind == "swap" else lines[other]
            text = "".join(lines)
    return text


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([POLICY, *(path.read_text() for path in sorted(EXAMPLES.glob("*.yaml")))]), _MUTATIONS)
def test_whatever_happens_to_a_policy_problems_have_places_in_it(
    text: str, mutations: list[tuple[str, int, int]]
) -> None:
    changed = mutated(text, mutations)

    reading = read_policy_text(changed, "x.yaml", "/")

    lines = changed.split("\n")
    assert bool(reading.policies) != bool(reading.problems)
    for problem in (*reading.problems, *reading.warnings):
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        assert problem.message.isprintable()


_GOOD = st.sampled_from(["data.new_rows >= 100", "failures == 0", 'last.outcome != "promoted"', "(drift.max > 0.5)"])
_STYLES = {
    "plain": lambda words: " ".join(words),
    "single": lambda words: f"'{' '.join(words)}'",
    "double": lambda words: '"' + " ".join(words).replace('"', '\\"') + '"',
    "plain, folded": lambda words: "\n      ".join(words),
    "single, folded": lambda words: "'" + "\n      ".join(words) + "'",
    "folded": lambda words: ">-\n      " + "\n      ".join(words),
    "literal": lambda words: "|\n      " + "\n        ".join(words),
    "literal, far in": lambda words: "|2-\n      " + "\n      ".join(words),
}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(_GOOD, min_size=0, max_size=4),
    st.lists(_GOOD, max_size=3),
    st.sampled_from(sorted(_STYLES)),
    st.booleans(),
)
def test_a_wrong_word_is_found_where_it_stands_in_every_style_of_writing(
    before: list[str], after: list[str], style: str, windows: bool
) -> None:
    parts = [*before, "data.nwe_rows > 5", *after]
    words = [word if index == 0 else f"&& {word}" for index, word in enumerate(parts)]
    text = POLICY.replace("data.new_rows >= 100\n", f"{_STYLES[style](words)}\n")
    text = text.replace("\n", "\r\n") if windows else text

    problems = read_policy_text(text, "x.yaml", "/").problems

    places = [(problem.line, problem.column) for problem in problems if "data.nwe_rows" in problem.message]
    found = [text.split("\n")[line - 1][column - 1 :].startswith("data.nwe_rows") for line, column in places]
    assert found == [True]


@pytest.mark.parametrize(
    ("before", "after", "place", "said"),
    [
        ("better_by: 0}\n", "better_by: 0", "10:7", "The `{` is not closed"),
        ("better_by: 0}\n", "better_by: ", "10:7", "The `{` is not closed"),
        ("churned", "[churned, [a, b], ", "4:11", "The `[` is not closed"),
        ("target: churned", 'target: "churned', "4:11", "A quote is not closed."),
        ("    when:", "     when:", "7:10", "A `:` stands where no key can be."),
        ("    when:", "   when:", "7:4", "Begin it with `- ` like the entry in line 6"),
        ("    - {metric", "    {metric", "10:5", "must be a list"),
        ("  target: churned", "  target:churned", "5:1", "A key without `:`."),
        ("churned", '"a\\d"', "4:13", "Write the text in single quotes"),
        ("churned", "@churned", "4:11", "A value cannot begin with `@`."),
        ("model: churn", "model: churn\n%x", "2:3", "A line cannot begin with `%`."),
    ],
)
def test_what_is_no_yaml_is_said_in_words_at_its_place(
    check: Check, before: str, after: str, place: str, said: str
) -> None:
    _, printed = check(POLICY.replace(before, after))

    assert f"churn.yaml:{place}: " in printed
    assert said in printed
