"""Every key of a policy, declared once: what it is for, its type, default and example, and the values it takes.

The key table of docs/policies.md and `retraind schema` are made of this; `python -m retrain_daemon.policies.reference`
prints the table. Reading itself is done by the modules of the sections, and tests hold them against each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from retrain_daemon.core.policy import IfWorse, MissingFiles, Mode, Outputs, Register, Then
from retrain_daemon.policies.value_schemas import (
    ALIAS,
    BOUND,
    CRON,
    DURATION,
    INTERPRETER,
    LABEL,
    MARKER,
    METRIC,
    MODEL,
    NAME,
    NOTHING,
    NUMBER,
    PATH,
    PREDICTED_METRIC,
    REFERENCE,
    ROWS,
    SCALAR,
    SIZE,
    SWITCH,
    TEXT,
    TIME_OF_DAY,
    WINDOW,
    Schema,
    count,
    either,
    list_of,
    named,
    number,
    one_of,
    section,
    share,
)

#: Where a value may only be a mapping, whose keys are declared by themselves.
MAPPING: Schema | None = None

_NOT_NEGATIVE = number(0)
_WORDS = either(TEXT, list_of(TEXT))
_EXPECTED = section(
    {"at_least": BOUND, "at_most": BOUND, "values": list_of(LABEL), "missing": share(0, 1)}, minProperties=1
)
_SPACE = section({"low": NUMBER, "high": NUMBER, "log": SWITCH, "step": NUMBER, "choices": list_of(SCALAR, 2)})
_HYPERPARAMETER = either(SCALAR, list_of(SCALAR), _SPACE, {"type": "object", "additionalProperties": SCALAR})
_SCHEDULE = either(CRON, section({"cron": CRON, "timezone": TEXT, "within": DURATION}, ("cron",)))
_QUIET = section({"from": TIME_OF_DAY, "to": TIME_OF_DAY, "timezone": TEXT}, ("from", "to"))
_UPSTREAM = either(MODEL, section({"model": MODEL, "alias": ALIAS}, ("model",)))


@dataclass(frozen=True)
class Key:
    """One key by its dotted name, `[]` for the entries of a list. `default` is in backticks where writing it changes
    nothing. `value` is what it takes besides a mapping of the keys below it; None: nothing else.
    """

    name: str
    kind: str
    default: str
    example: str
    meaning: str
    value: Schema | None

    @property
    def is_required(self) -> bool:
        """Whether its mapping must have it; a rule's part of another mapping may leave it to that."""
        return self.default.startswith("required")

    @property
    def row(self) -> str:
        """Its line in the key table."""
        return f"| `{self.name}` | {self.kind} | {self.default} | `{self.example}` |"


KEYS: tuple[Key, ...] = (
    Key("model", "name of a registered model", "this or `models` is required", "churn",
        "The registered model in MLflow.", MODEL),
    Key("models", "name or pattern, a list of them, or a mapping: see [Fleets](#fleets)",
        "this or `model` is required", '"churn-*"',
        "Every registered model that matches: one policy for each, {model} standing for its name.", _WORDS),
    Key("models.match", "name or pattern of registered models, or a list of them", "required in the mapping",
        '["churn-*", fraud]', "The models that the file is about.", _WORDS),
    Key("models.except", "the same, of those that are left out", "none", '[churn-de, "*-test"]',
        "Models that it is not about, although they match.", _WORDS),
    Key("alias", "alias that is read as the champion and moved on promotion", "`champion`", "production",
        "The alias that is read as the champion, and moved when a challenger wins.", ALIAS),
    Key("description", "text", "none", "Weekly churn scores", "A sentence for whoever reads `retraind status`.", TEXT),
    Key("schedules", "mapping of names to a cron line, or to `cron`, `timezone` (UTC) and `within` (24h)", "none",
        '{weekly: {cron: "0 3 * * sun", timezone: Europe/Berlin, within: 6h}}',
        "Slots by the clock. A rule may ask for schedule.NAME.", named(_SCHEDULE, NAME)),
    Key("upstream", "mapping of names to models, or to mappings, see below", "none", "{embeddings: text-embeddings}",
        "Models that this one depends on. A rule may ask for upstream.NAME.changed.", named(_UPSTREAM, NAME)),
    Key("data.path", "folder and file name pattern; a relative path starts at the policy's folder", "required",
        "/srv/drops/churn/*.parquet", "The drop folder and which of its files count.", PATH),
    Key("data.complete", "`settle` or `marker`, see below", "`{settle: 30s}`", "{settle: 5m}",
        "When a file counts as complete.", MAPPING),
    Key("data.complete.settle", "duration", "`30s`", "2m", "It has not changed for so long.", DURATION),
    Key("data.complete.marker", "file name that holds `{name}`", "none", '"{name}.done"',
        "A file of this name lies beside it, {name} standing for its own.", MARKER),
    Key("data.target", "column, or a mapping", "required", "churned", "The column to predict.", TEXT),
    Key("data.target.column", "column", "required in the mapping", "churned", "The column to predict.", TEXT),
    Key("data.target.columns", "list of columns, in the place of `column`", "none", "[low, high]",
        "The columns of a regression with several outputs, in the model's order.", list_of(TEXT, 2)),
    Key("data.target.positive", "the class that metrics of two classes are about", "none", '"yes"',
        "The class that f1, precision, recall and average_precision are about.", LABEL),
    Key("data.target.classes", "list of labels", "those the model knows", '["no", "yes"]',
        "The labels in the order of a network's outputs.", list_of(LABEL, 2)),
    Key("data.target.unknown_classes", "share between 0% and 50%", "`0%`", "1%",
        "Up to this share of the rows may have labels that the champion does not know; they are set aside.",
        share(0, 0.5)),
    Key("data.features", "list of columns and patterns", "the columns of the model's signature", '[age, "pixel_*"]',
        "The columns that the model is given, in this order.", list_of(TEXT)),
    Key("data.shape", "list of sizes", "that of the model's signature", "[1, 8, 8]",
        "The shape of one row as a tensor.", list_of(count(1, 10**7), 1, 8)),
    Key("data.model_outputs", "`logits`, `probabilities` or `value`", "none", "logits", "What a network gives.",
        one_of(Outputs)),
    Key("data.weight", "column", "every row counts the same", "trust", "Weights of rows in training.", TEXT),
    Key("data.group", "column", "none", "customer_id",
        "Rows with the same value stay on one side of the holdout, and count as one in the statistics.", TEXT),
    Key("data.row_id", "column or list of columns", "all columns that are read", "[customer_id, event_time]",
        "What makes a row the same row again when it is dropped a second time.", _WORDS),
    Key("data.event_time", "column", "when the file arrived", "event_time", "When a row happened.", TEXT),
    Key("data.window", "`all`, a duration, a number of rows, or a number of files", "`all`", "180d",
        "What training and judging see.", WINDOW),
    Key("data.holdout", "share between 1% and 90%, or `newest`", "`20%`", "30%",
        "Which rows judge: a share by stable hash, which never trains, or the newest.", share(0.01, 0.9)),
    Key("data.holdout.newest", "duration", "none", "14d",
        "Rows of the last span before the newest row judge first, and train afterwards.", DURATION),
    Key("data.missing", "`refuse` or `skip`", "`refuse`", "skip",
        "What is done while a recorded file is gone from its folder.", one_of(MissingFiles)),
    Key("data.polling", "`true` or `false`", "`false`", "true",
        "The folder is on a file system that other machines write to: it is looked into regularly.", SWITCH),
    Key("data.follow_links", "`true` or `false`", "`false`", "true",
        "A symbolic link counts as the file it points to.", SWITCH),
    Key("data.expect", "mapping of columns and patterns to what is expected, see below",
        "nothing beyond the built-in checks", "{age: {at_least: 0, at_most: 120, missing: 5%}}",
        "What every file must show in single columns before any of its rows is used.", named(_EXPECTED)),
    Key("data.label_delay", "duration; needs `event_time`", "none", "7d",
        "Rows that happened less than this ago are not used yet: their labels may still change.", DURATION),
    Key("train.mode", "`refit`, `warm_start` or `incremental`", "`warm_start`", "refit",
        "How training continues from the champion.", one_of(Mode)),
    Key("train.hyperparameters",
        "mapping of names to values, lists of values, values by name, or spaces that `train.search` chooses from",
        "`{}`", "{classifier__C: 0.5}",
        "Hyperparameters by the framework's own names; what is not named stays as it was.",
        {"type": "object", "additionalProperties": _HYPERPARAMETER}),
    Key("train.search", "mapping, or `null`; needs a space among the hyperparameters", "none",
        "{trials: 40, stop_after: 1h, metric: log_loss}",
        "Hyperparameters that are spaces are chosen by trials on the training side.", NOTHING),
    Key("train.search.trials", "whole number from 1 to 1,000", "required in `search`", "40",
        "At most so many trials.", count(1, 1000)),
    Key("train.search.metric", "metric of predictions", "required in `search`", "log_loss",
        "The best by this metric is trained.", PREDICTED_METRIC),
    Key("train.search.stop_after", "duration", "none", "1h", "After so long no further trial is started.", DURATION),
    Key("train.with", "`package.module:function`, or `null`", "none", '"our_package.training:fit"',
        "The team's own function that trains.", either(REFERENCE, NOTHING)),
    Key("train.model", "`package.module:factory`, or `null`", "none", '"our_package.nets:build"',
        "What builds the network without weights.", either(REFERENCE, NOTHING)),
    Key("train.python", "path of an interpreter, or `null`", "the daemon's own", "/opt/envs/churn/bin/python",
        "The interpreter that the training runs in.", either(INTERPRETER, NOTHING)),
    Key("train.replay", "number of rows, or `null`; mode `incremental` only", "none", "20000 rows",
        "So many older rows are mixed into an incremental training, against forgetting.", either(ROWS, NOTHING)),
    Key("train.limits.run_for", "duration", "`2h`", "30m", "A training that runs longer is ended.", DURATION),
    Key("train.limits.memory", "size", "that of the settings", "8GiB", "What it may take together.", SIZE),
    Key("train.limits.processes", "whole number", "that of the settings", "64", "How many processes it may have.",
        count(1, 10**6)),
    Key("train.limits.cpus", "number, 0.1 to 4096", "no limit", "1.5", "How many CPUs it may use.", number(0.1, 4096)),
    Key("train.limits.gpus", "whole number, 0 to 64", "`0`", "1", "GPUs of its own, for which it waits.",
        count(0, 64)),
    Key("train.retries", "whole number, 0 to 100", "`2`", "0",
        "How often a training that failed is tried again.", count(0, 100)),
    Key("retrain[].name", "text, different for each rule", "required", "enough fresh rows",
        "What the rule is for; history and runs name it.", TEXT),
    Key("retrain[].when", "rule, see below", "required", "data.new_rows >= 10000",
        "A CEL expression over facts. The first rule that is true decides the recipe.", TEXT),
    Key("retrain[].train", "like `train`, merged over it key by key", "`{}`", "{mode: refit}",
        "What this rule trains otherwise.", {"$ref": "#/$defs/train"}),
    Key("retrain[].observe", "`true` or `false`", "`false`", "true",
        "The rule is evaluated and reported, and starts nothing.", SWITCH),
    Key("retrain[].require", "like `promote.require`, in its place for attempts that this rule begins",
        "the lines of `promote`", "[{metric: accuracy, better_by: 0.01}]",
        "What must hold of challengers that this rule had trained.", {"$ref": "#/$defs/require"}),
    Key("pace.cooldown", "duration from one start to the next", "none", "6h",
        "At least so long from the start of one attempt to the next.", DURATION),
    Key("pace.per_day", "starts in 24 hours", "no limit", "4", "At most so many starts in 24 hours.",
        count(1, 10_000)),
    Key("pace.quiet_hours", "`from`, `to` and `timezone`, or a list of such", "none",
        '{from: "22:00", to: "06:00", timezone: Europe/Berlin}', "Hours in which nothing starts by itself.",
        either(_QUIET, list_of(_QUIET, 1, 20))),
    Key("promote.require[].metric", "metric of predictions or of the stored model, see below", "required", "roc_auc",
        "What the line is about.", METRIC),
    Key("promote.require[].better_by", "number, not negative", "one claim is required", "0.01",
        "Improvement by more than this must be shown, within the error budget.", _NOT_NEGATIVE),
    Key("promote.require[].not_worse_by", "number, not negative", "one claim is required", "0.005",
        "Harm beyond this must be ruled out, also against the anchor.", _NOT_NEGATIVE),
    Key("promote.require[].unless_worse_by", "number, not negative", "one claim is required", "0.05",
        "Harm beyond this must not be shown.", _NOT_NEGATIVE),
    Key("promote.require[].at_least", "number", "one claim is required", "0.8",
        "The challenger's own value must be shown to reach this.", NUMBER),
    Key("promote.require[].at_most", "number", "one claim is required", "0.6",
        "The challenger's own value must be shown not to exceed this.", NUMBER),
    Key("promote.require[].slices", "column; with `unless_worse_by` only", "none", "region",
        "The line looks at the rows of each value of this column by themselves.", TEXT),
    Key("promote.require[].min_rows", "whole number of rows that the metric is about",
        "with `unless_worse_by` that of `promote`, else none", "300",
        "With fewer rows that the metric is about nothing is shown.", count(1)),
    Key("promote.require[].observe", "`true` or `false`", "`false`", "true",
        "The line is measured and reported, and settles nothing.", SWITCH),
    Key("promote.confidence", "share between 50% and 99.9%, one-sided", "`95%`", "99%",
        "How sure each bound is, one-sided.", share(0.5, 0.999)),
    Key("promote.min_rows", "whole number", "`200`", "1000", "So many rows must be able to judge.", count(1)),
    Key("promote.inconclusive", "`keep`, `ask`, or a mapping", "`keep`", "ask",
        "What becomes of a challenger of which nothing is shown.", one_of(Then)),
    Key("promote.inconclusive.judge_again_every", "number of rows", "no second look", "2000 rows",
        "It is judged again when so many more rows can judge.", ROWS),
    Key("promote.inconclusive.at_most", "whole number, 1 to 20; needs `judge_again_every`", "2", "3",
        "So many times at most.", count(1, 20)),
    Key("promote.inconclusive.then", "`keep` or `ask`", "`keep`", "ask",
        "What follows after the last look: the champion stays, or a person decides.", one_of(Then)),
    Key("promote.approval", "`automatic`, `required`, or a mapping", "`automatic`", "required",
        "Whether a person must approve what the evidence would promote.", one_of(("automatic", "required"))),
    Key("promote.approval.within", "duration", "7 days", "3d", "After so long nothing is promoted any more.", DURATION),
    Key("promote.after_promotion", "mapping", "a promotion is not watched", "{watch: 5000 rows}",
        "The version before goes on being compared after a promotion.", MAPPING),
    Key("promote.after_promotion.watch", "number of rows", "required in the mapping", "5000 rows",
        "On so many rows, at half of them and at all.", ROWS),
    Key("promote.after_promotion.if_worse", "`rollback` or `notify`", "rollback", "notify",
        "What follows if the promoted version is shown to be worse.", one_of(IfWorse)),
    Key("promote.register", "`winners` or `all`", "`winners`", "all", "Which challengers become versions.",
        one_of(Register)),
)  # fmt: skip

HEAD = ("| key | type | default | example |", "|---|---|---|---|")


def key_table() -> Iterator[str]:
    """The lines of the key table of docs/policies.md."""
    yield from HEAD
    for key in KEYS:
        yield key.row


if __name__ == "__main__":
    print("\n".join(key_table()))  # noqa: T201  what it is run for
