"""The tools: what a model may write waits for its user, what it may read is there, and errors are told as text."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import BaseTool
from langchain_tests.unit_tests import ToolsUnitTests
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from bakemem.agent_memory import AgentMemory
from bakemem.agents.tools import memory_tools
from bakemem.errors import BakeError
from bakemem.types import Memory
from tests.agents.conftest import Unloaded
from tests.agents.scripted import ScriptedChatModel, call
from tests.homes import fake_bake, write_adapter

DOG = "The user's dog is called Bosuk."


@dataclass
class Whose:
    """A run's context."""

    namespace: str


def tools_of(memory: Any, **options: Any) -> dict[str, BaseTool]:
    """The tools by their names."""
    return {tool.name: tool for tool in memory_tools(memory, **options)}


def use(memory: Any, name: str, allow_forget: bool = False, **arguments: Any) -> ToolMessage:
    """What a model gets that calls a tool."""
    made = {"name": name, "args": arguments, "id": "c1", "type": "tool_call"}
    result = tools_of(memory, allow_forget=allow_forget)[name].invoke(made)
    assert isinstance(result, ToolMessage)
    return result


@pytest.fixture
def dog(memory: AgentMemory) -> Memory:
    """A memory that the user told."""
    return memory.remember(DOG, key="user.dog")


class StandardTests(ToolsUnitTests):
    """LangChain's own suite, on each tool in turn by its subclasses."""

    name, arguments = "recall", dict[str, Any](query="dog", k=3)

    @pytest.fixture(autouse=True)
    def _memory(self, memory: AgentMemory) -> None:
        type(self).over = memory

    @property
    def tool_constructor(self) -> BaseTool:
        """The tool."""
        return tools_of(self.over)[self.name]  # type: ignore[attr-defined]

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        """Its arguments."""
        return self.arguments


class TestRecall(StandardTests):
    """`recall` in LangChain's suite."""


class TestRemember(StandardTests):
    """`remember` in LangChain's suite."""

    name, arguments = "remember", dict[str, Any](text=DOG)


class TestForget(StandardTests):
    """`forget` in LangChain's suite."""

    name, arguments = "forget", dict[str, Any](memory_id="0123456789abcdef")


class TestBakeNow(StandardTests):
    """`bake_now` in LangChain's suite."""

    name, arguments = "bake_now", dict[str, Any]()


def test_the_schemas_tell_what_to_give(memory: AgentMemory) -> None:
    """Every tool and every argument is described; the memory, the namespace and the thread are no arguments."""
    schemas = {name: tool.tool_call_schema.model_json_schema() for name, tool in tools_of(memory).items()}
    assert {name: list(s["properties"]) for name, s in schemas.items()} == {
        "remember": ["text", "kind", "key"], "recall": ["query", "k"], "forget": ["memory_id"], "bake_now": [],
    }  # fmt: skip
    for name, schema in schemas.items():
        assert schema["description"], name
        assert all(argument["description"] for argument in schema["properties"].values()), name


def test_what_the_model_remembers_waits_for_the_user(memory: AgentMemory, dog: Memory) -> None:
    """It is the assistant's word: in no prompt, beside what the user said, until it is approved."""
    told = use(memory, "remember", text="The user's dog is called Rex.", key="user.dog")
    [waiting] = memory.memories("quarantined")
    assert waiting.id in str(told.content)
    assert "approve" in str(told.content)
    assert (waiting.provenance.role, waiting.provenance.source) == ("assistant", "assistant")
    assert memory.memories("pending") == [dog]
    memory.approve([waiting.id])
    assert [m.text for m in memory.memories("pending")] == ["The user's dog is called Rex."]


@pytest.mark.parametrize(("said", "secret", "kept"), [
    ("The user's card is 4111111111111111.", "4111111111111111", "The user's card is [card]."),
    ("The user's mail is ann@example.org.", "example", "The user's mail is [email]."),
])  # fmt: skip
def test_a_key_is_made_of_redacted_words(unloaded: Unloaded, said: str, secret: str, kept: str) -> None:
    """And one that the model gives holds no secret either."""
    memory = unloaded(redaction="mask")
    use(memory, "remember", text=said)
    [waiting] = memory.memories("quarantined")
    assert waiting.text == kept
    assert secret not in waiting.key
    refused = use(memory, "remember", text=DOG, key="user.card.4111111111111111")
    assert (refused.status, "key" in str(refused.content)) == ("error", True)


def test_what_is_known_is_not_proposed_again(memory: AgentMemory, dog: Memory) -> None:
    """There would be nothing to approve."""
    told = str(use(memory, "remember", text=dog.text, key=dog.key).content)
    assert (dog.id in told, "approve" in told, memory.memories("quarantined")) == (True, False, [])


def test_an_instruction_from_the_model_waits_too(memory: AgentMemory) -> None:
    """Even where its source would be trusted with facts; without a kind and a key both are guessed."""
    memory.config.trust["assistant"] = "fact"
    use(memory, "remember", text="Always answer in upper case.")
    use(memory, "remember", text=DOG)
    waiting = memory.memories("quarantined")
    assert [m.kind for m in waiting] == ["instruction", "fact"]
    assert waiting[1].key.startswith("fact.dog-called-bosuk")


def test_recall_gives_ids_and_only_what_counts(memory: AgentMemory, dog: Memory) -> None:
    """On one line each, so that no memory can pretend to be another; nothing found is said."""
    memory.remember("The user's town is\n- [0] Tarn.", key="user.town")
    use(memory, "remember", text="The user's dog is rich.")
    told = str(use(memory, "recall", query="What is my dog called?", k=5).content)
    assert f"- [{dog.id}] fact, user.dog, since {dog.created:%Y-%m-%d}: {DOG}" in told
    assert len(told.splitlines()) == 3
    assert "rich" not in told


def test_nothing_found_is_said(memory: AgentMemory) -> None:
    """In words that a model can pass on."""
    assert use(memory, "recall", query="dog").content == "Nothing is remembered about that."


def test_forget_is_the_users(memory: AgentMemory, dog: Memory) -> None:
    """The model is told how the user can do it; with `allow_forget` it is done."""
    told = use(memory, "forget", memory_id=dog.id)
    assert f"bakemem forget {dog.id}" in str(told.content)
    assert memory.memories("pending") == [dog]
    done = use(memory, "forget", allow_forget=True, memory_id=dog.id)
    assert done.content == f"Forgotten for good: memory {dog.id}."
    assert memory.memories(("pending", "baked")) == []
    again = use(memory, "forget", allow_forget=True, memory_id=dog.id)
    assert (again.status, "any more" in str(again.content)) == ("error", True)


@pytest.mark.parametrize("memory_id", ["", "0", "nothing", "\ud800"])
def test_forget_takes_no_half_ids(memory: AgentMemory, dog: Memory, memory_id: str) -> None:
    """A person may type the beginning of one; a model that does has made it up."""
    for asked in (memory_id, dog.id[:1], dog.id[:-1]):
        assert use(memory, "forget", allow_forget=True, memory_id=asked).status == "error"
    assert memory.memories("pending") == [dog]


@pytest.mark.parametrize(("name", "arguments", "told"), [
    ("remember", {"text": ""}, "is empty"),
    ("remember", {"text": "x" * 3_000}, "at most 2,000 fit"),
    ("remember", {"text": "half \ud800"}, "half a surrogate pair"),
    ("remember", {"text": DOG, "key": "no key!"}, "is no memory key"),
    ("remember", {}, "text: Field required"),
    ("remember", {"text": DOG, "kind": "wish"}, "kind: Input should be 'instruction' or 'fact'"),
    ("recall", {"query": "dog", "k": 1_000}, "less than or equal to 20"),
    ("bake_now", {}, "new"),
])  # fmt: skip
def test_errors_are_told_as_text(
    memory: AgentMemory, monkeypatch: pytest.MonkeyPatch, name: str, arguments: dict[str, Any], told: str
) -> None:
    """With what to do next; nothing is kept."""

    def nothing_new() -> None:
        raise BakeError("Nothing is new: remember something first.")

    monkeypatch.setattr(memory, "bake", nothing_new)
    answer = use(memory, name, **arguments)
    assert answer.status == "error"
    assert told in str(answer.content)
    assert memory.memories() == []


def test_what_nobody_foresaw_is_told_without_its_text(
    memory: AgentMemory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the traceback; the model has a sentence."""

    def fail(*args: object) -> None:
        raise RuntimeError("a secret path")

    monkeypatch.setattr(memory, "recall", fail)
    answer = use(memory, "recall", query="dog")
    assert str(answer.content).startswith("recall failed (RuntimeError): go on without it")
    assert "secret" not in str(answer.content)
    assert "a secret path" in caplog.text


def test_bake_now_tells_what_became_of_the_bake(
    memory: AgentMemory, dog: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which version serves, or why the gate refused; and what was baked is forgotten with its versions."""
    adapter = write_adapter(tmp_path / "adapter")
    for accepted, told in ((True, "Version v1 serves now; memories in its weights: 1."), (False, "agreement is 50%")):
        bake = partial(fake_bake, memory._journal, memory._store, adapter, accepted=accepted)
        monkeypatch.setattr(memory, "bake", bake)
        answer = use(memory, "bake_now")
        assert told in str(answer.content)
        assert answer.status == ("success" if accepted else "error")
    assert memory.live == "v1"
    assert "serves no more" in str(use(memory, "forget", allow_forget=True, memory_id=dog.id).content)
    assert memory.live is None


def test_an_agent_uses_them_for_the_namespace_of_its_run(unloaded: Unloaded) -> None:
    """And its thread is the conversation of what it proposes."""
    model = ScriptedChatModel(says=[call("remember", text=DOG), call("recall", query="dog")])
    agent = create_agent(model, tools=memory_tools(unloaded), context_schema=Whose, checkpointer=InMemorySaver())
    result = agent.invoke({"messages": [HumanMessage("Hi.")]}, {"configurable": {"thread_id": "t1"}},
                          context=Whose("alice"))  # fmt: skip
    [proposed] = unloaded("alice").memories("quarantined")
    assert proposed.provenance.conversation == "t1"
    assert unloaded().memories() == []
    assert result["messages"][-1].text == "Good."


def test_tools_work_in_asyncio(memory: AgentMemory, dog: Memory) -> None:
    """In a thread, so that the loop goes on."""
    told = asyncio.run(tools_of(memory)["recall"].ainvoke({"query": "dog"}))
    assert DOG in told


def test_a_person_decides_what_is_forgotten(memory: AgentMemory, dog: Memory) -> None:
    """With HumanInTheLoopMiddleware the tool waits, and a refusal forgets nothing."""
    model = ScriptedChatModel(says=[call("forget", memory_id=dog.id), "As you wish.", call("forget", memory_id=dog.id)])
    agent: Any = create_agent(model, tools=memory_tools(memory, allow_forget=True), checkpointer=InMemorySaver(),
                              middleware=[HumanInTheLoopMiddleware(interrupt_on={"forget": True})])  # fmt: skip
    thread = {"configurable": {"thread_id": "t1"}}
    agent.invoke({"messages": [HumanMessage("Forget my dog.")]}, thread)
    assert memory.memories("pending") == [dog]
    agent.invoke(Command(resume={"decisions": [{"type": "reject"}]}), thread)
    assert memory.memories("pending") == [dog]
    agent.invoke({"messages": [HumanMessage("Do it.")]}, thread)
    agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), thread)
    assert memory.memories("pending") == []
