"""The commands that change something: remember, observe, recall, release, rollback, bake, demo."""

from __future__ import annotations

import io
import json
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bakemem.agent_memory import AgentMemory
from bakemem.cli import main
from bakemem.cli.oven import Bars
from bakemem.memory import HomeLock, Journal, TurnQueue
from bakemem.types import Draft, Turn

Run = Callable[..., Result]

DOG, CASE, TOWN = "The user's dog is called Bosuk.", "Always answer in upper case.", "The user lives in Plinth."


def test_remember_keeps_a_memory(run: Run, home: Path) -> None:
    """With kind and key no model is needed; the home is made, and the answer says what happens next."""
    result = run("remember", DOG, "--kind", "fact", "--key", "user.dog")
    assert result.exit_code == 0
    assert f"fact user.dog: {DOG}" in result.stdout
    assert "bakemem bake" in result.stdout
    kept = json.loads(run("remember", CASE, "--kind", "instruction", "--key", "style.case", "--json").stdout)
    assert (kept["kind"], kept["key"], kept["text"], kept["status"]) == ("instruction", "style.case", CASE, "pending")


def test_remember_infers_what_is_not_given(run: Run, model: Any) -> None:
    """The model's reading of the text gives kind and key."""
    model.says[CASE] = [Draft("instruction", "style.case", CASE)]
    kept = json.loads(run("remember", CASE, "--json").stdout)
    assert (kept["kind"], kept["key"]) == ("instruction", "style.case")


def test_remember_reads_standard_input(run: Run) -> None:
    """`-` takes the text from a pipe, with or without a byte order mark."""
    kept = json.loads(run("remember", "-", "--key", "user.dog", "--json", stdin=b"\xef\xbb\xbf" + DOG.encode()).stdout)
    assert kept["text"] == DOG


@pytest.mark.parametrize(
    ("text", "stdin", "complaint"),
    [
        ("  ", None, "is empty"),
        ("x" * 2_001, None, "2,001 characters"),
        ("half \ud83d of a pair", None, "surrogate"),
        ("-", b"", "is empty"),
        ("-", b"a\xff", "standard input, line 1: this is not UTF-8"),
        ("-", b"\n\na\0", "standard input, line 3: there is a NUL"),
        ("-", b"x" * (16 << 20) + b"x", "larger than 16 MiB"),
    ],
)
def test_unusable_text_is_refused(run: Run, text: str, stdin: bytes | None, complaint: str) -> None:
    """Empty, huge, broken and binary text is refused in one line, and nothing is kept."""
    result = run("remember", text, "--key", "user.x", stdin=stdin)
    assert result.exit_code == 1
    assert complaint in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_observe_keeps_what_the_user_told(run: Run, model: Any, tmp_path: Path) -> None:
    """What is found is listed; the assistant's words are read, and never kept."""
    model.says = {"I have Bosuk.": [Draft("fact", "user.dog", DOG)], "Woof.": [Draft("fact", "user.cat", DOG)]}
    talk = tmp_path / "talk.txt"
    talk.write_text("user: I have Bosuk.\nassistant: Woof.\nuser: Bye.\n", encoding="utf-8")
    result = run("observe", str(talk))
    assert f"fact user.dog: {DOG}" in result.stdout
    assert "1 found in 2 turns." in result.stdout
    [memory] = json.loads(run("memories", "--json").stdout)
    assert memory["provenance"]["conversation"] == "talk.txt"


def test_observe_says_what_it_did_not_take(run: Run, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the memories, and why."""
    monkeypatch.setattr(AgentMemory, "rejected", property(lambda _: Counter({"turn too long": 2})))
    result = run("observe", "-", "--json", stdin="user: Bye.")
    assert (json.loads(result.stdout), result.stderr) == ([], "dropped: turn too long (2)\n")


def test_observe_tries_again_what_a_process_died_of(run: Run, home: Path, model: Any) -> None:
    """It says what stays unread and how to try it again; then no file is needed, and nothing is found twice."""
    run("memories")
    model.says = {"I have Bosuk.": [Draft("fact", "user.dog", DOG)]}
    journal = Journal(home / "journal.db")
    queue = TurnQueue(journal)
    queue.put([Turn("user", "I have Bosuk.")])
    for _ in range(3):
        queue.begin(queue.waiting()[0])
    journal.close()
    left = run("observe", "-", stdin="user: Bye.")
    assert "not read: I have Bosuk." in left.stderr
    assert "bakemem observe --again" in left.stderr
    result = run("observe", "--again")
    assert (f"fact user.dog: {DOG}" in result.stdout, result.stderr) == (True, "")
    assert "1 found in 1 turn." in result.stdout
    assert "0 found" in run("observe", "--again").stdout


def test_observe_needs_something_to_read(run: Run, home: Path) -> None:
    """A file, or the word to try again."""
    result = run("observe")
    assert (result.exit_code, "FILE" in result.stderr) == (2, True)
    assert not home.exists()


def test_observe_reads_standard_input(run: Run, model: Any) -> None:
    """JSON Lines from a pipe; with --json the memories come back as a list."""
    model.says = {"I have Bosuk.": [Draft("fact", "user.dog", DOG)]}
    found = json.loads(run("observe", "-", "--json", stdin='{"role": "user", "content": "I have Bosuk."}').stdout)
    assert [m["text"] for m in found] == [DOG]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"user: a\n\x80", "line 2: this is not UTF-8"), (b"user: a\nbob: b", "line 2: 'bob' is no role"), (None, "talk")],
)
def test_observe_names_the_bad_line(
    run: Run, home: Path, tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    """A file that cannot be read is refused before anything is opened."""
    talk = tmp_path / "talk"
    if content is not None:
        talk.write_bytes(content)
    result = run("observe", str(talk))
    assert result.exit_code == 1
    assert complaint in result.stderr
    assert not home.exists()


def test_recall_finds_the_nearest(run: Run, baked: Any) -> None:
    """By meaning, without a model; -k bounds how many."""
    found = json.loads(run("recall", "What is the dog called?", "-k", "1", "--json").stdout)
    assert [m["text"] for m in found] == [DOG]


def test_recall_says_why_it_finds_nothing(run: Run, baked: Any) -> None:
    """Nothing to look for is an error; where something else is known it does not say that nothing is."""
    empty = run("recall", "  ")
    assert (empty.exit_code, empty.stdout) == (1, "")
    assert "Say what to look for" in empty.stderr
    other = run("recall", "dog", "--source", "nobody")
    assert (other.exit_code, other.stdout) == (0, "")
    assert other.stderr == "No memory of that sort is pending or baked.\n"


def test_rollback_names_what_a_newer_memory_superseded(run: Run, baked: Any) -> None:
    """The version knows it, and no bake teaches it again."""
    baked.remember("The user's dog is called Tarin.", key="user.dog")
    told = run("rollback", "v1").stdout
    assert f"  {DOG}" in told
    assert "remember it again" in told
    assert [m["text"] for m in json.loads(run("rollback", "v2", "--json").stdout)["superseded"]] == [DOG]


def test_a_rollback_brings_back_what_was_true_before_a_mistake(run: Run, baked: Any) -> None:
    """What superseded it is held, and can be forgotten without it, or released in its place."""
    baked.remember("The user's dog is called Tarin.", key="user.dog")
    baked.bake()
    told = run("rollback", "v2").stdout.splitlines()
    assert [line.split()[0] for line in told if line[0] == " "] == ["held", "held", "back"]
    assert DOG[:20] in told[3]
    [tarin] = [m for m in json.loads(run("memories", "--status", "held", "--json").stdout) if m["key"] == "user.dog"]
    assert run("release", tarin["id"]).exit_code == 0
    answer = json.loads(run("rollback", "v4", "--json").stdout)
    assert (answer["live"], answer["back"]) == ("v4", [])
    answer = json.loads(run("rollback", "v2", "--json").stdout)
    assert ([m["text"] for m in answer["back"]], answer["superseded"]) == ([DOG], [])
    assert run("forget", tarin["id"], "--yes").exit_code == 0
    assert [m["text"] for m in json.loads(run("memories", "--status", "baked", "--json").stdout)] == [DOG, CASE]


def test_rollback_and_release(run: Run, baked: Any) -> None:
    """A rollback holds what only the newer version knew, a release gives it back, and a rollback forth restores."""
    result = run("rollback", "v1")
    assert result.stdout.startswith("v1 is live; v2 was.")
    assert CASE in result.stdout
    [held] = json.loads(run("memories", "--status", "held", "--json").stdout)
    assert run("rollback", "v1").stdout == "v1 was live already.\n"
    answer = json.loads(run("rollback", "base", "--json").stdout)
    assert (answer["was"], answer["live"], [m["text"] for m in answer["held"]]) == ("v1", None, [DOG])
    assert CASE in run("release", held["id"][:8]).stdout
    assert run("release", held["id"]).exit_code == 1  # it is pending by now
    assert json.loads(run("rollback", "v2", "--json").stdout)["live"] == "v2"
    assert run("rollback", "v3").exit_code == 1  # the gate refused it


def test_one_writer_at_a_time(run: Run, baked: Any) -> None:
    """While another process writes, writing says who it is, and reading works."""
    with HomeLock(baked.home):
        result = run("rollback", "v1")
        assert result.exit_code == 1
        assert "in use for writing by process" in result.stderr
        assert run("log").exit_code == 0


def test_a_bake_with_nothing_new_is_an_error(run: Run, keeper: Any, model: Any) -> None:
    """There must be something to bake."""
    result = run("bake", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["type"] == "BakeError"


def test_an_accepted_bake_serves(run: Run, keeper: Any, model: Any) -> None:
    """The stages are named, the report is printed, the version is live, and the memory is baked."""
    keeper.remember(DOG, key="user.dog")
    with (keeper.home / "config.toml").open("a", encoding="utf-8") as file:
        file.write("min_agreement = 0\nmin_abstention = 0\nmax_drift = 1\nmin_each = 0\nlearning_rate = 0.005\n"
                   "max_mention = 1\nmax_disfluency = 1000\n")  # fmt: skip
    result = run("bake")
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stderr.splitlines()] == ["stimulate", "rollout", "bake", "gate"]
    assert "v1 is live: 1 memory in the weights." in result.stdout
    assert "nats an answer token" in result.stdout
    assert run("memories", "--status", "baked").stdout.count(DOG) == 1


def test_a_pursuit_is_asked_for_and_shown(run: Run, baked: Any, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many rounds at most goes to the bake, how many were kept comes back, and that none was is said."""
    asked: list[object] = []
    kept = 2

    def pursued(self: AgentMemory, **options: object) -> Any:
        asked.append(options["pursue"])
        version = self.versions()[1]
        return replace(version, report=replace(version.report, pursued=kept))

    monkeypatch.setattr(AgentMemory, "bake", pursued)
    assert "2 rounds of Prompt Pursuit" in run("bake", "--pursue", "3").stdout
    assert json.loads(run("bake", "--json").stdout)["report"]["pursued"] == 2
    assert asked == [3, 0]
    assert "No round" not in run("bake").stdout
    kept = 0
    assert "No round of Prompt Pursuit was kept" in run("bake", "--pursue", "3").stdout
    assert "No round" not in run("bake").stdout
    assert run("bake", "--pursue", "-1").exit_code == 2


def test_a_refused_bake_exits_with_three(run: Run, baked: Any, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reasons are given, the old version stays live, and the pending memory pending."""

    def refused(self: AgentMemory, **options: object) -> Any:
        return self.versions()[-1]

    monkeypatch.setattr(AgentMemory, "bake", refused)
    result = run("bake")
    assert result.exit_code == 3
    assert "v3 was refused by the gate: v2 stays live" in result.stdout
    assert "refused: agreement with the prompted model is 50%" in result.stdout
    assert f"does not take in {baked.journal.memories('pending')[0].id[:8]}: {TOWN}" in result.stdout
    answer = run("bake", "--json")
    assert answer.exit_code == 3
    assert json.loads(answer.stdout)["report"]["accepted"] is False


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize(("number", "code", "kind"), [
    (signal.SIGINT, 130, "Interrupted"), (signal.SIGTERM, 143, "Terminated"),
])  # fmt: skip
def test_a_signal_says_that_nothing_is_lost(
    run: Run, baked: Any, model: Any, monkeypatch: pytest.MonkeyPatch, as_json: bool, number: signal.Signals,
    code: int, kind: str, request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    """Ctrl-C and SIGTERM have their exit codes, the journal is asked which version is live, and handlers come back."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # who starts the tests may have it ignored
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))

    def interrupted(self: AgentMemory, **options: object) -> Any:
        signal.raise_signal(number)

    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(AgentMemory, "bake", interrupted)
    result = run("bake", *["--json"] * as_json)
    assert result.exit_code == code
    message = json.loads(result.stdout)["error"]["message"] if as_json else result.stderr
    assert message.strip().endswith("Nothing was lost: v2 is live, and 1 memory waits in the prompt.")
    if as_json:
        assert json.loads(result.stdout)["error"]["type"] == kind
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers


def test_a_signal_in_the_middle_of_an_import_is_no_traceback(
    run: Run, baked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a library is left, so that the journal cannot be asked."""

    def interrupted(*arguments: object, **options: object) -> Any:
        raise KeyboardInterrupt

    def half(*arguments: object) -> Any:
        raise AttributeError("module 'sqlalchemy' has no attribute 'event'")

    monkeypatch.setattr("bakemem.open", interrupted)
    monkeypatch.setattr("bakemem.opening.read_journal", half)
    result = run("remember", "x", "--kind", "fact")
    assert result.exit_code == 130
    assert result.stderr.strip().endswith("Nothing was lost: `bakemem log` tells which version is live.")


def test_a_second_sigterm_does_not_hit_the_tidying_up(
    run: Run, baked: Any, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some send it twice: what follows the first one is done to its end."""
    tidied = []

    def interrupted(self: AgentMemory, **options: object) -> Any:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            tidied.append(True)

    monkeypatch.setattr(AgentMemory, "bake", interrupted)
    assert run("bake").exit_code == 143
    assert tidied


def test_a_command_in_another_thread_leaves_signals_alone(run: Run, baked: Any) -> None:
    """Python lets only the main thread set a handler: a command runs without one elsewhere."""
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(run("rollback", "v1")))
    thread.start()
    thread.join()
    assert results[0].exit_code == 0


def test_bars_add_up_what_is_counted_in_rounds() -> None:
    """A stage that starts counting anew does not start its bar anew, and the KL shows where it came from."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=io.StringIO())) as progress:
        bars = Bars(progress)
        for stage, done, total in (
            ("stimulate", 5, 10), ("stimulate", 10, 10), ("stimulate", 4, 4), ("rollout", 3, 3), ("rollout", 1, 3),
        ):  # fmt: skip
            bars(stage, done, total, None)
        bars("bake", 1, 2, 4.0)
        bars("bake", 2, 2, 0.5)
        bars("gate", 0, 5, None)
        seen = {t.description: (t.completed, t.total, t.fields["kl"], t.visible) for t in progress.tasks}
    assert seen["stimulate"] == (14, 14, "", True)
    assert seen["rollout"] == (6, 6, "", True)
    assert seen["bake"] == (2, 2, "KL 4.000 → 0.500 nats", True)
    assert seen["gate"] == (0, 5, "", True)


@pytest.mark.parametrize("accepted", [True, False])
def test_demo_passes_its_options_on(monkeypatch: pytest.MonkeyPatch, accepted: bool) -> None:
    """Seed, form, picture and home reach the demo, and a refused bake is exit code 3; BAKEMEM_HOME is not for it."""
    import bakemem.demo

    calls: list[tuple[object, ...]] = []

    def play(*arguments: object) -> bool:
        calls.append(arguments)
        return accepted

    monkeypatch.setattr(bakemem.demo, "run", play)
    monkeypatch.setenv("BAKEMEM_HOME", "mine")
    result = CliRunner().invoke(main, ["demo", "--seed", "3", "--json", "--out", "a.png"], catch_exceptions=False)
    assert result.exit_code == (0 if accepted else 3)
    assert calls == [(3, True, Path("a.png"), None)]
