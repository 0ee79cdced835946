"""The report's page and decision.json, from values; and what a worker keeps for them."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retrain_daemon.core.attempts import State
from retrain_daemon.core.judge import judge
from retrain_daemon.core.policy import Claim, Promotion, Requirement, Target
from retrain_daemon.worker.attempt_words import plain, version_description
from retrain_daemon.worker.decision_file import DecisionFile, decision_json, schema_text
from retrain_daemon.worker.evaluate import Predictions
from retrain_daemon.worker.mlflow_story import run_note
from retrain_daemon.worker.report_data import ReportData, load_report_data, save_report_data
from retrain_daemon.worker.report_measures import keep_report_data
from retrain_daemon.worker.report_page import render
from tests.browser import CHROMIUM, WITHOUT, browser
from tests.reported import (
    HOSTILE,
    REQUIRED,
    a_job,
    hostile_report,
    kept_of,
    of_classes,
    of_numbers,
    rows,
    some_evidence,
    some_report,
)

DOCS = Path(__file__).parents[2] / "docs"


def test_rows_that_flipped_are_counted_and_shown_with_both_predictions() -> None:
    truth = pd.Series(["yes"] * 4 + ["no"] * 4)
    ours = Predictions(labels=np.array(["yes", "no", "no", "yes", "no", "no", "yes", "no"], dtype=object))
    theirs = Predictions(labels=np.array(["yes", "yes", "yes", "no", "no", "no", "yes", "no"], dtype=object))
    flipped = kept_of((rows(truth), ours, theirs)).flipped
    assert flipped is not None
    assert (flipped.better, flipped.worse, flipped.other) == (2, 1, 0)
    assert [(row.truth, row.champion, row.challenger) for row in flipped.worse_examples] == [("yes", "yes", "no")]


def test_a_roc_curve_has_the_area_that_the_metric_says() -> None:
    from sklearn.metrics import roc_auc_score

    made = of_classes()
    curves = kept_of(made).roc
    assert curves is not None
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in zip(curves.champion, curves.champion[1:], strict=False))
    assert made[1].probabilities is not None
    assert area == pytest.approx(roc_auc_score(made[0].target == "yes", made[1].probabilities[:, 1]), abs=0.002)
    assert len(curves.champion) <= 202


@pytest.mark.parametrize("classes", [("no", "yes"), tuple(f"class {number}" for number in range(40))])
def test_what_is_kept_for_a_report_stays_small(classes: tuple[str, ...], tmp_path: Path) -> None:
    save_report_data(tmp_path / "kept.json", kept_of(of_classes(20_000, classes)))
    assert (tmp_path / "kept.json").stat().st_size < 300_000


def test_a_regression_shows_residuals_and_the_largest_changes() -> None:
    data = kept_of(of_numbers(), Target("price"))
    assert data.residuals is not None
    assert data.flipped is not None
    assert len(data.residuals.champion) == 300
    assert data.flipped.better + data.flipped.worse + data.flipped.other == data.rows


def test_plots_that_cannot_be_made_are_said_and_cost_no_training(tmp_path: Path) -> None:
    judging, ours, _ = of_classes(50)
    short = Predictions(labels=np.array(["yes"], dtype=object))
    kept = tmp_path / "reports" / "churn-1.json"
    keep_report_data(a_job(Target("churned", "yes"), str(kept)), judging, judging.target.to_numpy(), ours, short)
    assert "plots could not be made" in load_report_data(str(kept)).problem


def test_values_that_are_secret_in_the_environment_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_PASSWORD", "kyoto-1987")
    judging, ours, theirs = of_classes(300)
    frame = judging.features.frame()
    frame["region"] = "kyoto-1987"
    flipped = kept_of((judging, ours, theirs)).flipped
    assert flipped is not None
    assert flipped.better_examples
    assert "kyoto-1987" not in repr(flipped)


def test_nothing_in_data_becomes_markup_of_the_page() -> None:
    page = render(hostile_report(), kept_of(of_classes(classes=(HOSTILE, "a", "b"))))
    assert page.count("<script") == 0
    assert page.count("<img") == 0
    assert page.count("</style>") == page.count("</pre>") == 1
    assert "49 }" not in page
    assert "href" not in page


def test_a_page_without_plots_says_why() -> None:
    assert "the file with what plots show is gone" in render(some_report(), load_report_data("/nowhere/kept.json"))


def test_a_page_says_what_a_person_is_asked_to_approve() -> None:
    page = render(some_report(State.JUDGED), ReportData())
    assert "would replace version 7 if a person approves" in page


def test_a_page_does_not_let_a_person_approve_unknowingly_what_was_not_shown() -> None:
    job = some_report(State.JUDGED)
    shown = judge(Promotion(require=REQUIRED[:1]), some_evidence())
    unclear = judge(Promotion(require=REQUIRED), some_evidence())
    clear_page, page = (
        render(replace(job, attempt=replace(job.attempt, verdict=verdict)), ReportData())
        for verdict in (shown, unclear)
    )
    assert "Nothing was shown" not in clear_page
    assert "Nothing was shown, so a person is asked. Version 8 would replace version 7 if" in page


def test_a_page_says_that_a_person_approved_what_was_promoted() -> None:
    assert "Version 8 replaced version 7, as ada approved: " in render(some_report(), ReportData())


def test_a_line_against_harm_is_not_said_to_be_shown_when_no_harm_is() -> None:
    job = some_report()
    lines = (
        Requirement("recall", Claim.UNLESS_WORSE_BY, 0.05, slices="region"),
        Requirement("recall", Claim.UNLESS_WORSE_BY, 0.001),
    )
    verdict = judge(Promotion(require=lines), some_evidence())
    page = render(replace(job, attempt=replace(job.attempt, verdict=verdict)), ReportData())
    badges = re.findall(r'<h3>(recall[^<]*).*?<span class="badge \w+">([^<]+)</span>', page)
    assert [word for _, word in badges] == ["no harm shown", "harm shown"]
    assert badges[0][0].startswith("recall where region = ")


def test_a_line_that_is_only_observed_is_marked_in_page_and_description() -> None:
    job = some_report()
    lines = (*REQUIRED, Requirement("recall", Claim.UNLESS_WORSE_BY, 0.001, observe=True))
    verdict = judge(Promotion(require=lines), some_evidence())
    attempt = replace(job.attempt, verdict=verdict)
    badges = re.findall(
        r'<span class="badge (\w+)">([^<]+)</span>', render(replace(job, attempt=attempt), ReportData())
    )
    assert ("open", "harm shown, only observed") in badges
    assert r"harm is shown (only observed)" in version_description(attempt)


def test_a_line_against_an_earlier_champion_says_so_in_its_name() -> None:
    assert "<h3>roc_auc against version 4</h3>" in render(some_report(), ReportData())


@pytest.mark.parametrize("state", [State.PROMOTED, State.REJECTED, State.INCONCLUSIVE, State.JUDGED])
def test_a_first_champion_replaces_no_version_zero(state: State) -> None:
    job = some_report(state)
    evidence = replace(some_evidence(), champion_version=0, anchor=None)
    verdict = judge(Promotion(require=REQUIRED), evidence)
    attempt = replace(job.attempt, champion_version=0, continues=None, evidence=evidence, verdict=verdict)
    page = render(replace(job, attempt=attempt), ReportData())
    assert "ersion 0" not in page
    assert "left aside</span>" in page
    assert "ersion 0" not in run_note(attempt, "1", "run", "report.html")


def test_descriptions_in_mlflow_show_names_letter_by_letter() -> None:
    assert plain("[x](javascript:alert(1)) <b>") == r"\[x\](javascript:alert(1)) \<b\>"


def test_a_versions_description_shows_no_picture_that_stands_in_data() -> None:
    job = some_report()
    assert job.attempt.verdict is not None
    said = replace(job.attempt.verdict, summary="recall where region=![x](http://192.0.2.1/x.png): harm is shown")
    described = version_description(replace(job.attempt, rule="<b>", verdict=said))
    assert r"\!\[x\](http" in described
    assert "<" not in described.replace(r"\<", "")


@pytest.mark.parametrize("state", [State.PROMOTED, State.REJECTED, State.INCONCLUSIVE, State.JUDGED])
def test_decision_json_has_every_field_that_the_schema_asks_for(state: State) -> None:
    written = json.loads(decision_json(some_report(state)))
    schema = json.loads((DOCS / "decision.schema.json").read_text())
    assert written.keys() == schema["properties"].keys()
    assert written["evidence"].keys() == schema["$defs"]["Evidence"]["properties"].keys()
    assert written["state"] == state.value


def test_the_schema_in_the_documentation_is_that_of_the_program() -> None:
    said = "run: python -m retrain_daemon.worker.decision_file > docs/decision.schema.json"
    assert (DOCS / "decision.schema.json").read_text() == schema_text(), said


def test_the_documentation_names_every_field_of_decision_json() -> None:
    told = (DOCS / "decision.md").read_text()
    assert [field.name for field in fields(DecisionFile) if f"`{field.name}`" not in told] == []


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason=WITHOUT)
@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)])
def test_a_browser_shows_the_page_without_errors_requests_or_overflow(tmp_path: Path, width: int, dark: bool) -> None:
    file = tmp_path / "report.html"
    file.write_text(render(hostile_report(), kept_of(of_classes(classes=(HOSTILE, "a", "b")))), "utf-8")
    with browser() as page:
        page.look_as(width, dark=dark)
        page.open(f"file://{file}")
        assert page.errors == []
        assert page.requests == [f"file://{file}"]
        assert page.value("document.documentElement.scrollWidth") <= width
        assert page.value("document.querySelector('#verdict').getBoundingClientRect().height") > 20
        assert page.value("[...document.querySelectorAll('svg.plot path.line')].length") >= 6
        assert page.value(
            "[...document.querySelectorAll('svg.plot')].every(e => e.getBoundingClientRect().width > 200)"
        )
        assert page.value("document.querySelectorAll('script, img, a, iframe').length") == 0
