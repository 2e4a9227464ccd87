"""The long-lived assistant: its log, its window, what it learns, its commands, and what a crash leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bakemem.agent_memory import AgentMemory
from bakemem.agents.assistant import Assistant
from bakemem.errors import BusyError, HomeLockedError, InputError, NotFoundError, ServingError
from bakemem.memory import HomeLock
from bakemem.serving import Request
from bakemem.types import Draft, Provenance, Turn
from tests.memory.test_erase import traces
from tests.talks import DOG, FakeServing, open_talk
from tests.tiny import OpenMemory

Open = Callable[..., tuple[AgentMemory, FakeServing]]
TOLD = "My dog is called Bosuk."
SAYS = {TOLD: [DOG]}


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Open]:
    """Opens the memory of one home, after closing the one that was open."""
    opened: list[AgentMemory] = []

    def make(says: Any = SAYS, **settings: Any) -> tuple[AgentMemory, FakeServing]:
        for memory in opened:
            memory.close()
        memory, serving = open_talk(tmp_path, says, **settings)
        opened.append(memory)
        return memory, serving

    yield make
    for memory in opened:
        memory.close()


def logged(assistant: Assistant) -> list[tuple[str, str | None]]:
    """The conversation as pairs of text and reply."""
    return [(e.text, e.reply) for e in assistant.past()]


def test_a_conversation_goes_on_after_a_restart(reopen: Open) -> None:
    """The model sees what was said before, in its order, and another conversation sees nothing of it."""
    Assistant(reopen()[0]).say("One.").text()
    memory, serving = reopen()
    assert Assistant(memory).say("Two.").text() == "You said Two."
    assert serving.asked == [[Turn("user", "One."), Turn("assistant", "You said One."), Turn("user", "Two.")]]
    Assistant(memory, "work").say("Three.").text()
    assert serving.asked[-1] == [Turn("user", "Three.")]


def test_what_is_said_is_logged_before_the_reply_and_the_reply_after_it(reopen: Open) -> None:
    """A reader sees both as soon as they are there."""
    seen: list[Any] = []

    def answer(request: Request) -> str:
        seen.append(logged(assistant))
        return "Yes."

    assistant = Assistant(reopen(answer=answer)[0])
    assistant.say("Is it?").text()
    assert seen == [[("Is it?", None)]]
    assert logged(assistant) == [("Is it?", "Yes.")]


def test_it_learns_from_the_user_and_never_from_itself(reopen: Open) -> None:
    """Told once, and by key; what the assistant says is not even read."""
    memory, _ = reopen({**SAYS, f"You said {TOLD}": [Draft("fact", "self.dog", "Bosuk said so.")]})
    assistant = Assistant(memory)
    assistant.say(TOLD).text()
    assert str(assistant.learned()) == "learned: user.dog"
    assistant.say(TOLD).text()
    assert not assistant.learned()
    [kept] = memory.memories()
    assert (kept.key, kept.provenance.role, kept.provenance.conversation) == ("user.dog", "user", "default")


def test_what_was_said_to_another_is_not_told_here(reopen: Open) -> None:
    """Several assistants may share a memory."""
    memory, _ = reopen()
    here, there = Assistant(memory, "here"), Assistant(memory, "there")
    there.say(TOLD).text()
    assert not here.learned()
    assert str(there.learned()) == "learned: user.dog"


def test_it_tells_what_the_user_had_it_forget(reopen: Open, tmp_path: Path) -> None:
    """“Forget that …” takes the memory, the log of it, and itself."""
    assistant = Assistant(reopen()[0])
    assistant.say(TOLD).text()
    [kept] = assistant.learned().kept
    assistant.say("Forget that my dog is called Bosuk.").text()
    assert str(assistant.learned()) == f"forgotten: fact {kept.id[:8]}"
    assert logged(assistant) == []
    assert traces(tmp_path, "bosuk") == []


def test_a_closed_reply_keeps_what_was_said_and_learns(reopen: Open) -> None:
    """Ctrl-C in a reply cancels the reply and nothing else."""
    memory, serving = reopen(pace=0.05)
    assistant = Assistant(memory)

    def stopped() -> None:
        with assistant.say(TOLD) as reply:
            next(reply)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert logged(assistant) == [(TOLD, "You")]
    assert str(assistant.learned()) == "learned: user.dog"
    assistant.say("And?").text()
    assert serving.asked[-1][-3:] == [Turn("user", TOLD), Turn("assistant", "You"), Turn("user", "And?")]


def test_an_unread_reply_ends_when_the_next_thing_is_said(reopen: Open) -> None:
    """Whoever lets go of a reply loses nothing that the user said, and a closed reply gives nothing more."""
    assistant = Assistant(reopen(pace=0.05)[0])
    first = assistant.say(TOLD)
    next(first)
    assistant.say("And?").text()
    assert list(first) == []
    assert logged(assistant) == [(TOLD, "You"), ("And?", "You said And?")]


@pytest.mark.parametrize("text", ["", "  \n", "half \ud83d of a pair", "a \0 b", "x" * 1_000_001])
def test_what_cannot_be_said_changes_nothing(reopen: Open, text: str) -> None:
    """A clear error, no row, and the conversation goes on."""
    assistant = Assistant(reopen()[0])
    assistant.say("One.").text()
    with pytest.raises(InputError):
        assistant.say(text)
    assert logged(assistant) == [("One.", "You said One.")]
    assert assistant.say("Two.").text() == "You said Two."


@pytest.mark.parametrize(
    ("error", "learned"), [(InputError("Too long."), ""), (BusyError("Full."), "learned: user.dog")]
)
def test_what_may_yet_be_refused_is_observed_by_no_conversation_beside_it(
    reopen: Open, monkeypatch: pytest.MonkeyPatch, error: Exception, learned: str
) -> None:
    """It is once it was kept, by whichever goes on first."""
    memory, _ = reopen()
    mine, beside = Assistant(memory), Assistant(memory, "beside")

    def stream(text: str, **options: object) -> None:
        beside.learned()
        assert memory.memories() == []
        raise error

    monkeypatch.setattr(memory, "stream", stream)
    with pytest.raises(type(error)):
        mine.say(TOLD)
    beside.learned()
    assert len(memory.memories()) == len(mine.past()) == bool(learned)
    assert str(mine.learned()) == learned


def test_what_no_model_can_read_is_taken_back(open_memory: OpenMemory) -> None:
    """Text longer than the context would be in the way of all that follows."""
    assistant = Assistant(open_memory(auto_extract=False))
    with pytest.raises(InputError, match="tokens"):
        assistant.say("word " * 5_000)
    assert logged(assistant) == []


@pytest.mark.parametrize("error", [BusyError("Too many."), NotFoundError("There is no version 'v9'.")])
def test_what_could_not_be_answered_is_kept_and_learned(
    reopen: Open, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """It was not the text's fault; the model does not see it again."""
    memory, serving = reopen()
    assistant = Assistant(memory)
    with monkeypatch.context() as patch, pytest.raises(type(error)):
        patch.setattr(serving, "reply", lambda *_, **__: (_ for _ in ()).throw(error))
        assistant.say(TOLD)
    assert logged(assistant) == [(TOLD, None)]
    assert str(assistant.learned()) == "learned: user.dog"
    assistant.say("And?").text()
    assert serving.asked[-1][-1:] == [Turn("user", "And?")]
    assert len(serving.asked[-1]) == 2  # the memory prompt before it


def test_a_reply_that_breaks_off_is_kept_as_far_as_it_came(reopen: Open) -> None:
    """With the error for the caller."""
    memory, serving = reopen(pace=0.05)
    assistant = Assistant(memory)
    reply = assistant.say("One two three.")
    next(reply)
    serving.close()
    with pytest.raises(ServingError):
        reply.text()
    [(text, kept)] = logged(assistant)
    assert text == "One two three."
    assert kept is not None
    assert "You said One two three.".startswith(kept)


def test_old_exchanges_make_room_and_memories_stay(open_memory: OpenMemory) -> None:
    """The model sees the newest that fit; the log keeps all, and the memory prompt is in front of each request."""
    memory = open_memory(auto_extract=False)
    memory.remember("The user's dog is called Bosuk.", key="user.dog")
    assistant, dropped, context = Assistant(memory), 0, memory.base.context
    for n in range(12):
        reply = assistant.say(f"Question {n}: {'word ' * (context // 8)}")
        reply.text()
        assert reply.ending is not None
        assert reply.ending.prompt_tokens < context
        dropped += reply.ending.dropped_turns
    assert dropped >= 4
    assert dropped % 2 == 0
    assert len(assistant.past()) <= 12 - dropped // 2
    assert len(Assistant(memory).past()) == 12
    assert "Bosuk" in memory.pending_prompt()


def test_options_and_strength_reach_the_model(reopen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that it was made with, and the strength that was set since."""
    memory, _ = reopen()
    asked: list[dict[str, Any]] = []
    stream = AgentMemory.stream

    def streamed(self: AgentMemory, text: str, **options: Any) -> Any:
        asked.append(options)
        return stream(self, text, **options)

    monkeypatch.setattr(AgentMemory, "stream", streamed)
    assistant = Assistant(memory, system="Be kind.")
    assert assistant.command("/strength").value == 1.0
    assert assistant.command("/strength 0.5").value == 0.5
    for wrong in ("nan", "-1", "4.1", "much", "inf"):
        with pytest.raises(InputError, match=r"is no strength|Strength .* is out of range"):
            assistant.command(f"/strength {wrong}")
    assistant.say("Hi.").text()
    assert asked == [{"system": "Be kind.", "strength": 0.5, "history": [], "window": True}]


def test_why_quotes_no_turn_that_is_forgotten(reopen: Open) -> None:
    """As of a memory that was said in one breath with another one."""
    memory, _ = reopen()
    memory._journal.add(Draft("fact", "user.town", "The user lives in Plinth."), Provenance())
    why = Assistant(memory).command("/why Where do I live in?").text
    assert "The user lives in Plinth." in why
    assert "“" not in why


def test_commands_about_memories(reopen: Open, tmp_path: Path) -> None:
    """What is remembered can be listed, explained and erased, by key or by id, from the log too."""
    memory, _ = reopen()
    assistant = Assistant(memory)
    assert assistant.command("/memories").text == "Nothing is remembered yet."
    assert assistant.command("/remember The user's cat is called Zilma.").text.startswith("learned: fact ")
    assert not assistant.learned()  # it was told already
    assistant.say(TOLD).text()
    assistant.learned()
    why = assistant.command("/why What is my dog called?").text
    assert "user.dog: The user's dog is called Bosuk." in why
    assert f"in the prompt; said by user {time.strftime('%Y')}" in why
    assert assistant.command("/why").text == assistant.command(f"/why {TOLD}").text
    assert len(assistant.command("/memories\t").text.splitlines()) == 2
    assert assistant.command("/forget USER.dog").text.startswith("forgotten: fact ")
    [cat] = memory.memories("pending")
    assert traces(tmp_path, "bosuk") == []
    assistant.command(f"/forget {cat.id[:8]}")
    assert traces(tmp_path, "zilma") == []
    assert memory.memories("pending") == []


@pytest.mark.parametrize(
    ("line", "error", "told"),
    [
        ("/", InputError, "/help lists"),
        ("/what", InputError, "There is no /what"),
        ("/remember", InputError, "is empty"),
        ("/remember half \ud83d", InputError, "surrogate"),
        ("/forget", InputError, "Say what to forget"),
        ("/forget abcd", NotFoundError, "abcd"),
        ("/why", InputError, "Say a question"),
        ("/bake all", InputError, "from-base"),
        ("/rollback", InputError, "Say which"),
        ("/rollback v7", NotFoundError, "v7"),
    ],
)
def test_wrong_commands_say_what_to_do(reopen: Open, line: str, error: type[Exception], told: str) -> None:
    """And change nothing."""
    assistant = Assistant(reopen()[0])
    with pytest.raises(error, match=told):
        assistant.command(line)
    assert assistant.memory.memories() == []


def test_help_lists_every_command(reopen: Open) -> None:
    """And no other."""
    assistant = Assistant(reopen()[0])
    listed = [line.split()[0] for line in assistant.command("/help").text.splitlines()]
    assert listed == ["/remember", "/forget", "/memories", "/why", "/bake", "/versions", "/rollback", "/strength",
                      "/help", "/quit"]  # fmt: skip
    assert assistant.command(" /quit ").command == "quit"


@pytest.mark.slow
def test_commands_about_versions(open_memory: OpenMemory) -> None:
    """Bake, list, roll back, forget: as the memory's own methods, told in a line or two."""
    memory = open_memory(auto_extract=False)
    assistant = Assistant(memory)
    assert assistant.command("/versions").text == "base  live"
    assistant.command(f"/remember {DOG.text}")
    stages: list[str] = []
    told = assistant.command("/bake", progress=lambda stage, *_: stages.append(stage)).text
    assert told == "v1 is live: 1 memory in the weights."
    assert "gate" in stages
    assert "in the weights (v1)" in assistant.command("/why dog").text
    first, last = assistant.command("/versions").text.splitlines()
    assert (first.split()[:2], last) == (["v1", "live"], "base")
    rolled = assistant.command("/rollback base").text.splitlines()
    assert rolled[0] == "base is live; v1 was."
    assert rolled[1].startswith("held ")
    assert assistant.command("/rollback base").text == "base was live already."
    assistant.command("/rollback v1")
    [dog] = memory.memories("baked")
    memory.remember("The user's dog is called Tarin.", key=dog.key)
    assistant.command("/bake")
    assistant.command("/rollback v1")
    assert {m.status for m in memory.memories(key=dog.key)} == {"baked", "held"}
    told = assistant.command(f"/forget {dog.key}").text  # the live one and the one that is held
    assert "v1, v2 learned it" in told
    assert memory.memories(["baked", "held", "superseded"]) == []
    assert "tainted" in assistant.command("/versions").text


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 201])
def test_a_conversation_needs_a_name(reopen: Open, name: str) -> None:
    """Said at once, not at the first word."""
    with pytest.raises(InputError, match="no name for a conversation"):
        Assistant(reopen()[0], name)


def test_secrets_are_kept_from_the_log(reopen: Open, tmp_path: Path) -> None:
    """Masked in what both say; the model sees later what was kept."""
    memory, serving = reopen(redaction="mask")
    assistant = Assistant(memory)
    assert assistant.say("I am ada@example.com.").text() == "You said I am ada@example.com."
    assistant.say("Who am I?").text()
    assert serving.asked[-1][0] == Turn("user", "I am [email].")
    assert traces(tmp_path, "ada@example") == []


DYING = """
import os, signal, sys
from pathlib import Path
from bakemem.assistant import Assistant
from tests.talks import DOG, open_talk

def answer(request):
    text = request.turns[-1].content
    if text == "My dog is called Bosuk.":
        os.kill(os.getpid(), signal.SIGKILL)
    return f"You said {text}"

assistant = Assistant(open_talk(Path(sys.argv[1]), answer=answer)[0])
assistant.say("One.").text()
assistant.say("My dog is called Bosuk.").text()
"""


@pytest.mark.slow
def test_a_process_that_is_killed_in_a_reply_loses_that_reply_alone(tmp_path: Path, reopen: Open) -> None:
    """The next one goes on: what was asked is there, unanswered, and is learned from once."""
    died = subprocess.run([sys.executable, "-c", DYING, str(tmp_path)], cwd=Path(__file__).parents[2], check=False,
                          env={**os.environ, "PYTHONPATH": "."})  # fmt: skip
    assert died.returncode == -signal.SIGKILL
    memory, serving = reopen()
    assistant = Assistant(memory)
    assert logged(assistant) == [("One.", "You said One."), (TOLD, None)]
    assert str(assistant.learned()) == "learned: user.dog"
    assert memory.conversations.unheard() == []
    assistant.say("Two.").text()
    assert [turn.content for turn in serving.asked[-1][1:]] == ["One.", "You said One.", "Two."]


def test_a_second_process_is_told_that_the_home_is_taken(tmp_path: Path, reopen: Open) -> None:
    """With the known error."""
    Assistant(reopen()[0])
    with pytest.raises(HomeLockedError):
        HomeLock(tmp_path).acquire()
