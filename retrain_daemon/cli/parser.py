"""The verbs of `retraind` and their flags. What a verb does lives in the modules named here."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from retrain_daemon import __version__
from retrain_daemon.cli.arguments import Arguments
from retrain_daemon.cli.later import Module
from retrain_daemon.settings import LOG_FORMATS

accounting = Module("accounting")
asking = Module("asking")
checking = Module("checking")
demonstrating = Module("demonstrating")
diagnosing = Module("diagnosing")
dropped = Module("dropped")
explaining = Module("explaining")
initiating = Module("initiating")
inspecting = Module("inspecting")
installing = Module("installing")
reading = Module("reading")
restoring = Module("restoring")
running = Module("running")
schema = Module("schema")
status = Module("status")
telling = Module("telling")
testing = Module("testing")

EXIT_CODES = """\
exit codes:
  0  done                       5  refused, with the reason
  1  failed                     6  the registry does not answer
  2  wrong usage                7  another process holds the state folder
  3  a policy has problems      8  the state folder cannot be used
  4  not found                  9  the settings have problems
"""


def parse(argv: Sequence[str] | None) -> Arguments:
    """Read a command line; wrong usage ends the process with exit code 2, as argparse does."""
    return Arguments(**vars(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="retraind",
        description="Decides when to retrain which MLflow model, and promotes only on evidence.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"retraind {__version__}")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    _add_running(verbs)
    _add_reading(verbs)
    _add_asking(verbs)
    _add_drop(verbs)
    return parser


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, act: object, meaning: str, json: bool = False
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=meaning, description=meaning)
    parser.set_defaults(verb=act)
    parser.add_argument("--config", metavar="FILE", help="settings file (TOML)")
    parser.add_argument("--state", metavar="DIR", help="state folder")
    parser.add_argument("--policies", metavar="PATH", help="policy file or folder")
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow, sqlite:/// or http(s)://")
    if json:
        parser.add_argument("--json", action="store_true", help="print JSON for programs")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return number


def _said(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty; write the reason in a few words")
    return text


def _begun(text: str) -> str:
    """Every evidence begins with nothing, which no person means who names one."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty; write how the evidence begins, or leave it out")
    return text.strip()


def _add_running(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = _verb(verbs, "run", running.run, "Run the daemon.")
    run.add_argument("--once", action="store_true", help="do what is to be done now, then end")
    run.add_argument("--log-format", choices=LOG_FORMATS, help="how log lines are written")
    restore = _verb(verbs, "restore", restoring.restore, "Put a backup in the place of the journal; no daemon may run.")
    restore.add_argument("backup", nargs="?", help="which (default: the newest good one in STATE/backups)")
    demo = _verb(verbs, "demo", demonstrating.demo, "Show the whole story on handwritten digits, in about two minutes.")
    demo.add_argument("--folder", default="demo", help="where it happens; made anew at each start (default: demo)")
    meaning = "Show the steps that make this installation a service of systemd."
    install = verbs.add_parser("install", help=meaning, description=meaning)
    install.set_defaults(verb=installing.install)
    install.add_argument("--yes", action="store_true", help="do them; needs root")


def _add_reading(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = _verb(verbs, "check", checking.check, "Say every problem of policy files, with its place.", json=True)
    check.set_defaults(logs=False)
    check.add_argument("path", nargs="?", help="a policy file or folder (default: the policies in force)")
    check.add_argument("--github", action="store_true", help="print annotations for GitHub's checks")
    check.add_argument("--registry", action="store_true", help="also against MLflow and the data: seconds a model")
    check.add_argument("--strict", action="store_true", help="warnings count as problems")
    meaning = "Print the JSON Schema of policy files, for editors that complete and underline."
    verbs.add_parser("schema", help=meaning, description=meaning).set_defaults(verb=schema.schema, logs=False)
    test = _verb(verbs, "test", testing.test, "Try policies on virtual timelines, as their tests say.", json=True)
    test.set_defaults(logs=False)
    test.add_argument("path", nargs="?", help="a file of tests, its policy, or a folder (default: policies in force)")
    test.add_argument("-v", "--verbose", action="store_true", help="print the whole timeline of each test")
    plan = _verb(verbs, "plan", explaining.plan, "Say what would be done now and why, changing nothing.", json=True)
    plan.add_argument("model", nargs="?")
    facts = _verb(verbs, "facts", telling.facts, "Show every fact that rules see, and where it comes from.", json=True)
    facts.add_argument("model")
    facts.add_argument("--all", action="store_true", help="also scores by metrics that nothing asks for")
    inspect = _verb(verbs, "inspect", inspecting.inspect, "Say how a model can be trained further.", json=True)
    inspect.add_argument("model")
    inspect.add_argument("--version", type=int, help="which version (default: the champion)")
    init = _verb(verbs, "init", initiating.init, "Write a first policy for a registered model, with comments.")
    init.add_argument("model")
    init.add_argument("--version", type=int, help="which version (default: the champion)")
    init.add_argument("--data", metavar="PATH", help="the folder its files are dropped into, or its files: DIR/*.csv")
    init.add_argument("--target", default="", metavar="COLUMN", help="the column to predict")
    init.add_argument("--classes", nargs="+", default=[], metavar="CLASS", help="in the order of a network's outputs")
    init.add_argument("--output", metavar="FILE", help="write it here; what is there is never overwritten")
    data = _verb(verbs, "data", accounting.data, "Say what became of every dropped row.")
    data.add_argument("model")
    forms = data.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print JSON for programs")
    forms.add_argument("--side", choices=("train", "judge"), default="", help="print the rows of one side as csv")
    _verb(verbs, "status", status.status, "Show every model on one screen.", json=True)
    _verb(verbs, "doctor", diagnosing.doctor, "Check everything the daemon rests on, changing nothing.", json=True)
    history = _verb(verbs, "history", reading.history, "Show what happened, oldest first.", json=True)
    history.add_argument("model", nargs="?")
    history.add_argument("--limit", type=_count, default=50, help="at most so many lines (default: 50)")
    show = _verb(verbs, "show", reading.show, "Show one attempt: why, with what, and what settled it.", json=True)
    show.add_argument("attempt")


def _add_asking(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    adopt = _verb(verbs, "adopt", asking.adopt, "Name a first champion, or record what the champion learned from.")
    adopt.add_argument("model")
    adopt.add_argument("--version", type=int, help="point the champion's alias at this version")
    adopt.add_argument("--why", default="", help="the reason, for history and reviewers")
    adopt.add_argument("--learned-from", nargs="+", default=[], metavar="PATH", help="files it was trained on")
    for name, act, meaning in (
        ("retrain", asking.retrain, "Ask for a retrain now; passes the pace, not a pause."),
        ("rollback", asking.rollback, "Make the previous champion champion again, and pause the model."),
        ("pause", asking.pause, "Start nothing and move no alias until resumed."),
        ("resume", asking.resume, "Go on after a pause, a rollback or three failures."),
    ):
        parser = _verb(verbs, name, act, meaning)
        parser.add_argument("model")
        parser.add_argument("--why", default="", help="the reason, for history and reviewers")

    for name, act, meaning in (
        ("approve", asking.approve, "Let the challenger of an attempt that awaits approval become champion."),
        ("reject", asking.reject, "Keep the champion: end an attempt that awaits approval."),
    ):
        parser = _verb(verbs, name, act, meaning)
        parser.add_argument("attempt")
        parser.add_argument("--evidence", type=_begun, default=argparse.SUPPRESS,
                            help="only if this is how the evidence in `show` begins")  # fmt: skip
        parser.add_argument("--why", required=True, type=_said, help="the reason, for history and reviewers")


def _add_drop(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    drop = verbs.add_parser("drop", help="List dropped files, retract one, or let one in that looked wrong.")
    actions = drop.add_subparsers(required=True, metavar="ACTION")
    listing = _verb(actions, "list", dropped.drops, "Every dropped file, what became of it, what to do.", json=True)
    listing.add_argument("model", nargs="?")
    listing.add_argument("--quarantined", action="store_true", help="only files that wait for a person")
    for name, act, meaning in (
        ("retract", asking.retract, "Take a file out of training, judging and counts."),
        ("release", asking.release, "Let a quarantined file in that only looked wrong."),
    ):
        parser = _verb(actions, name, act, meaning)
        parser.add_argument("file", help="its path, its name or its number in the list")
        parser.add_argument("--model", help="needed when several models have such a file")
        parser.add_argument("--why", required=True, type=_said, help="the reason, for history and reviewers")
