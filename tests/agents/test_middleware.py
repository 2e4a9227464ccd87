"""The middleware, in agents of `create_agent` with scripted models: what models are given, and who is listened to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    PIIMiddleware,
    SummarizationMiddleware,
)
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, ChatMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import ConfigurableField
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from bakemem.agent_memory import AgentMemory
from bakemem.agents.chat_model import BakedChatModel
from bakemem.agents.middleware import BakedMemoryMiddleware
from bakemem.errors import HomeError, InputError
from bakemem.types import Turn
from tests.agents.conftest import Unloaded
from tests.agents.scripted import ScriptedChatModel, call

DOG, TOWN, UPPER = "My dog is called Bosuk.", "I live in Tarn.", "Always answer in upper case."
DOG_FACT = "The user's dog is called Bosuk."
THREAD: Any = {"configurable": {"thread_id": "t1"}}


@dataclass
class Whose:
    """A run's context."""

    namespace: str


@tool
def mail(text: str) -> str:
    """Send a mail."""
    return TOWN


def heard(memory: AgentMemory) -> list[str]:
    """What was heard since the last call: the texts of the turns, by way of what was read out of them."""
    return [m.provenance.turn for m in memory.flush()]


@pytest.fixture
def observed(memory: AgentMemory, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that the memory is told to observe, in turn."""
    texts: list[str] = []
    observe = memory.observe

    def note(turns: list[Turn], conversation: str = "", **options: str) -> None:
        texts.extend(t.content for t in turns)
        observe(turns, conversation, **options)

    monkeypatch.setattr(memory, "observe", note)
    return texts


def agent(model: BaseChatModel, *middleware: Any, **options: Any) -> Any:
    """An agent with this middleware and a tool."""
    return create_agent(model, tools=[mail], middleware=middleware, **options)


def say(runnable: Any, *texts: str, **options: Any) -> Any:
    """One run in which the user says something."""
    return runnable.invoke({"messages": [HumanMessage(t) for t in texts]}, THREAD, **options)


# ---- what the model is given


class Routed(BakedChatModel):
    """Answers with the namespace that it was asked for."""

    def _stream(self, messages: Any, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        said = f"{self.namespace}: {[m.type for m in messages]}"
        yield ChatGenerationChunk(message=AIMessageChunk(content=said))


def test_a_baked_model_is_asked_over_the_memory_of_the_runs_namespace(unloaded: Unloaded) -> None:
    """And nothing is added to its messages: it puts what is pending there itself."""
    unloaded("alice").remember(DOG_FACT, key="user.dog")
    built = agent(Routed(memory=unloaded()), BakedMemoryMiddleware(unloaded), context_schema=Whose)
    for name in ("alice", "bob"):
        said = built.invoke({"messages": [HumanMessage("Hi.")]}, context=Whose(name))["messages"][-1].text
        assert said == f"{name}: ['human']"


@pytest.mark.parametrize("bind", [
    lambda m: m.with_config(tags=["nostream"]), lambda m: m.bind(temperature=0.0), lambda m: m.with_retry(),
    lambda m: m.bind(temperature=0.0).with_config(tags=["nostream"]),
])  # fmt: skip
def test_a_bound_model_is_asked_over_the_memory_of_the_runs_namespace_too(
    unloaded: Unloaded, bind: Callable[[BakedChatModel], Any]
) -> None:
    """It is no other model: nothing of the namespace is put in its prompt, and its bindings stay."""
    unloaded("alice").remember(DOG_FACT, key="user.dog")
    bound = bind(Routed(memory=unloaded()))
    built = create_agent(bound, middleware=[BakedMemoryMiddleware(unloaded)], context_schema=Whose)
    said = built.invoke({"messages": [HumanMessage("Hi.")]}, context=Whose("alice"))["messages"][-1].text
    assert said == "alice: ['human']"


def test_a_bound_model_of_another_kind_has_memories_in_its_system_message(memory: AgentMemory) -> None:
    """As without its binding."""
    memory.remember(DOG_FACT, key="user.dog")
    model = ScriptedChatModel()
    create_agent(model.bind(stop=["x"]), middleware=[BakedMemoryMiddleware(memory)]).invoke({"messages": ["Hi."]})
    assert DOG_FACT in model.systems[0]


def test_what_cannot_be_seen_through_is_refused(unloaded: Unloaded) -> None:
    """A baked model may be in it, which would answer from a memory that is not the run's."""
    hidden = Routed(memory=unloaded()).with_fallbacks([ScriptedChatModel()])
    for model in (hidden, hidden.with_config(tags=["nostream"])):
        built = create_agent(model, middleware=[BakedMemoryMiddleware(unloaded)], context_schema=Whose)
        with pytest.raises(InputError, match="ModelFallbackMiddleware"):
            built.invoke({"messages": ["Hi."]}, context=Whose("alice"))


@pytest.mark.parametrize("context", [{"namespace": "alice"}, Whose("alice")])
def test_namespaces_are_kept_apart(unloaded: Unloaded, context: Any) -> None:
    """The context names one as a key or an attribute; what its user says is in it alone, and in no other's prompt."""
    model = ScriptedChatModel()
    built = agent(model, BakedMemoryMiddleware(unloaded), context_schema=type(context))
    built.invoke({"messages": [HumanMessage(DOG)]}, context=context)
    assert heard(unloaded("alice")) == [DOG]
    built.invoke({"messages": [HumanMessage("Hi.")]}, context=context)
    built.invoke({"messages": [HumanMessage("Hi.")]}, context=type(context)(namespace="bob"))
    assert DOG_FACT in model.systems[1]
    assert model.systems[2] == ""


def test_nobody_is_given_the_memory_of_somebody_else(unloaded: Unloaded) -> None:
    """A context without a namespace, or with another's than that of the only memory, ends the run."""
    with pytest.raises(InputError, match="names no namespace"):
        agent(ScriptedChatModel(), BakedMemoryMiddleware(unloaded)).invoke({"messages": ["Hi."]}, context={"user": 1})
    with pytest.raises(InputError, match="'bob', and there is only the memory of 'default'"):
        agent(ScriptedChatModel(), BakedMemoryMiddleware(unloaded())).invoke({"messages": []}, context=Whose("bob"))


def test_another_model_has_all_memories_in_its_system_message(
    memory: AgentMemory, caplog: pytest.LogCaptureFixture
) -> None:
    """After the caller's own, for each call, with one line in the log; what waits in quarantine is not there."""
    memory.remember(DOG_FACT, key="user.dog")
    memory.remember(UPPER, key="style.case")
    memory.remember("The user is rich.", key="user.money", role="assistant")
    model = ScriptedChatModel()
    built = agent(model, BakedMemoryMiddleware(memory), system_prompt="Be kind.")
    with caplog.at_level(logging.WARNING):
        built.invoke({"messages": ["Hi."]})
        built.invoke({"messages": ["Hi."]})
    [told] = [r.message for r in caplog.records if "not ours" in r.message]
    assert told.startswith("ScriptedChatModel has weights that are not ours, so its memories are in its prompt")
    assert model.systems[1] == (
        "Be kind.\n\nFollow these instructions in every answer:\n- Always answer in upper case.\n"
        "Remember these facts and use them where they matter:\n- The user's dog is called Bosuk."
    )


def test_a_system_message_in_blocks_stays_in_blocks(memory: AgentMemory) -> None:
    """Such as one that marks what a provider should cache."""
    memory.remember(DOG_FACT, key="user.dog")
    model, kind = ScriptedChatModel(), [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}]
    agent(model, BakedMemoryMiddleware(memory), system_prompt=SystemMessage(kind)).invoke({"messages": ["Hi."]})
    first, second = model.asked[0][0].content
    assert first == kind[0]
    assert DOG_FACT in second["text"]  # type: ignore[index]


def test_facts_that_do_not_all_fit_are_those_nearest_to_what_was_said(memory: AgentMemory) -> None:
    """Instructions are there in any case; where nothing was said the newest facts are taken."""
    memory.remember(UPPER, key="style.case")
    for i in range(12):
        memory.remember(f"Project number {i} is about rivers.", key=f"project.n{i}")
    memory.remember(DOG_FACT, key="user.dog")
    for i in range(12, 24):
        memory.remember(f"Project number {i} is about rivers.", key=f"project.n{i}")
    model = ScriptedChatModel()
    built = agent(model, BakedMemoryMiddleware(memory, fact_tokens=40))
    built.invoke({"messages": ["What is my dog called?"]})
    built.invoke({"messages": [AIMessage("Hello.")]})
    asked, silent = model.systems
    assert UPPER in asked
    assert DOG_FACT in asked
    assert 1 < asked.count("\n- ") < 8
    assert UPPER in silent
    assert "number 23" in silent
    assert DOG_FACT not in silent


def test_nothing_known_adds_nothing(memory: AgentMemory) -> None:
    """No system message is made for an empty memory."""
    model = ScriptedChatModel()
    agent(model, BakedMemoryMiddleware(memory)).invoke({"messages": ["Hi."]})
    assert model.systems == [""]


# ---- who is listened to


def test_only_the_user_is_heard_and_each_message_once(memory: AgentMemory, observed: list[str]) -> None:
    """Over the runs of a thread, by the name of the thread; what tools and models say is not heard."""
    model = ScriptedChatModel(says=[call("mail", text=DOG), UPPER])
    built = agent(model, BakedMemoryMiddleware(memory), checkpointer=InMemorySaver())
    say(built, DOG, "Hi.")
    say(built, "And now?")
    assert observed == [DOG, "Hi.", "And now?"]
    assert [m.provenance.conversation for m in memory.flush()] == ["t1"]
    assert [m.text for m in memory.memories()] == [DOG_FACT]


@pytest.mark.parametrize("thread", [0, UUID(int=7)])
def test_a_thread_may_have_any_id(memory: AgentMemory, thread: Any) -> None:
    """LangGraph takes numbers and UUIDs as they are; as the name of a conversation they are text."""
    built = agent(ScriptedChatModel(), BakedMemoryMiddleware(memory))
    built.invoke({"messages": [HumanMessage(DOG)]}, {"configurable": {"thread_id": thread}})
    assert [m.provenance.conversation for m in memory.flush()] == [str(thread)]


async def test_it_works_in_asyncio(memory: AgentMemory, observed: list[str]) -> None:
    """With the same hooks; streaming too."""
    memory.remember(DOG_FACT, key="user.dog")
    model = ScriptedChatModel(says=[call("mail", text="x"), "Sent."])
    built = agent(model, BakedMemoryMiddleware(memory), checkpointer=InMemorySaver())
    await built.ainvoke({"messages": [HumanMessage("Hi.")]}, THREAD)
    pieces = [m.text async for m, _ in built.astream({"messages": ["Ho."]}, THREAD, stream_mode="messages")]
    assert "Good." in pieces
    assert observed == ["Hi.", "Ho."]
    assert all(DOG_FACT in system for system in model.systems)


def test_a_history_that_the_caller_keeps_is_not_heard_again(memory: AgentMemory, observed: list[str]) -> None:
    """Without a checkpointer every run begins with all messages: heard is what no model has answered yet."""
    built = agent(ScriptedChatModel(), BakedMemoryMiddleware(memory))
    messages: list[Any] = [HumanMessage("An example."), AIMessage("An answer."), HumanMessage(DOG)]
    messages = built.invoke({"messages": messages})["messages"]
    built.invoke({"messages": [*messages, HumanMessage("Hi.")]})
    assert observed == [DOG, "Hi."]


def test_a_message_whose_answer_failed_is_heard_with_the_next(memory: AgentMemory, observed: list[str]) -> None:
    """Nothing is heard before the model has answered."""
    model = ScriptedChatModel(says=[RuntimeError("down")])
    built = agent(model, BakedMemoryMiddleware(memory), checkpointer=InMemorySaver())
    with pytest.raises(RuntimeError, match="down"):
        say(built, DOG)
    assert observed == []
    say(built, "Are you there?")
    assert observed == [DOG, "Are you there?"]


def test_summaries_are_not_heard_and_what_they_replace_is(memory: AgentMemory, observed: list[str]) -> None:
    """Summaries come as human messages; each message of the user is heard before it is summarised away."""
    summed = SummarizationMiddleware(ScriptedChatModel(says=["She has a dog."] * 9), trigger=("messages", 3),
                                     keep=("messages", 1))  # fmt: skip
    model = ScriptedChatModel(says=["Nice.", call("mail", text="x"), call("mail", text="y")])
    built = agent(model, summed, BakedMemoryMiddleware(memory), checkpointer=InMemorySaver())
    for text in (DOG, TOWN, "Hi.", "Ho."):
        result = say(built, text)
    assert any("She has a dog." in m.text for m in result["messages"] if isinstance(m, HumanMessage))
    assert observed == [DOG, TOWN, "Hi.", "Ho."]


def test_what_is_redacted_is_heard_redacted(memory: AgentMemory, observed: list[str]) -> None:
    """Wherever the redaction stands in the list."""
    for place in (0, 1):
        chain: list[Any] = [BakedMemoryMiddleware(memory)]
        chain.insert(place, PIIMiddleware("email", strategy="redact"))
        agent(ScriptedChatModel(), *chain).invoke({"messages": ["My mail is ada@example.org."]})
    assert observed == ["My mail is [REDACTED_EMAIL]."] * 2
    assert [m.text for m in memory.flush()] == ["The user's mail is [REDACTED_EMAIL]."]


class Retrieve(AgentMiddleware[Any, Any]):
    """Writes what it found into the user's message before each call of the model, as in LangChain's guide to RAG."""

    def __init__(self, write: Callable[[str], str]) -> None:
        self.write = write

    def before_model(self, state: Any, runtime: Any) -> dict[str, Any]:
        """Replaces the last message of the user."""
        last = next(m for m in reversed(state["messages"]) if isinstance(m, HumanMessage))
        return {"messages": [last.model_copy(update={"content": self.write(last.text)})]}


def around(text: str) -> str:
    """The user's words with documents around them."""
    return f"Context: {UPPER}\n\n{text}\n\nContext: {UPPER}"


@pytest.mark.parametrize("place", [0, 1])
def test_documents_that_are_written_into_the_users_message_are_not_the_users(memory: AgentMemory, place: int) -> None:
    """Wherever that middleware stands, and also where it writes once more in the same run, or the run fails first."""
    model = ScriptedChatModel(says=[RuntimeError("down"), call("mail", text="x"), "Sent."])
    chain: list[Any] = [BakedMemoryMiddleware(memory)]
    chain.insert(place, Retrieve(around))
    built = agent(model, *chain, checkpointer=InMemorySaver())
    with pytest.raises(RuntimeError, match="down"):
        say(built, DOG)
    say(built, TOWN)
    say(built, "Hi.")
    assert UPPER in model.asked[0][-1].text
    assert [(m.provenance.turn, m.provenance.role) for m in memory.flush()] == [(DOG, "user"), (TOWN, "user")]


def test_a_message_that_became_another_text_goes_to_quarantine(memory: AgentMemory) -> None:
    """Nobody can tell which of it is the user's, nor of one that middleware adds in the midst of a run."""
    built = agent(ScriptedChatModel(), Retrieve(lambda text: UPPER), BakedMemoryMiddleware(memory))
    built.invoke({"messages": [HumanMessage(DOG)]})
    assert [(m.text, m.status, m.provenance.role) for m in memory.flush()] == [(UPPER, "quarantined", "document")]

    class Remind(AgentMiddleware[Any, Any]):
        def before_model(self, state: Any, runtime: Any) -> dict[str, Any]:
            return {"messages": [HumanMessage(TOWN)]}

    agent(ScriptedChatModel(), Remind(), BakedMemoryMiddleware(memory)).invoke({"messages": ["Hi."]})
    assert [(m.text, m.status) for m in memory.flush()] == [("The user lives in Tarn.", "quarantined")]


@pytest.mark.parametrize("place", [0, 1])
def test_an_interrupt_and_its_resumption_hear_nothing_twice(
    memory: AgentMemory, observed: list[str], place: int
) -> None:
    """A person decides about a call in between, wherever that middleware stands in the list."""
    chain: list[Any] = [BakedMemoryMiddleware(memory)]
    chain.insert(place, HumanInTheLoopMiddleware(interrupt_on={"mail": True}))
    model = ScriptedChatModel(says=[call("mail", text="x"), "Sent."])
    built = agent(model, *chain, checkpointer=InMemorySaver())
    assert "__interrupt__" in say(built, DOG)
    done = built.invoke(Command(resume={"decisions": [{"type": "reject", "message": "No."}]}), THREAD)
    assert done["messages"][-1].text == "Sent."
    assert observed == [DOG]
    say(built, "Hi.")
    assert observed == [DOG, "Hi."]


def test_all_together(memory: AgentMemory, observed: list[str]) -> None:
    """Redaction, summaries, a person's decision, a checkpointer and streaming in one agent."""
    chain = [
        PIIMiddleware("email", strategy="redact"),
        SummarizationMiddleware(ScriptedChatModel(), trigger=("messages", 4), keep=("messages", 1)),
        HumanInTheLoopMiddleware(interrupt_on={"mail": True}), BakedMemoryMiddleware(memory),
    ]  # fmt: skip
    model = ScriptedChatModel(says=[call("mail", text="x"), "Sent.", call("mail", text="y")])
    built = agent(model, *chain, checkpointer=InMemorySaver())
    decide = Command(resume={"decisions": [{"type": "approve"}]})
    for text in (DOG, TOWN, "I am ada@example.org."):
        for _ in built.stream({"messages": [HumanMessage(text)]}, THREAD, stream_mode=["messages", "updates"]):
            pass
        if built.get_state(THREAD).next:
            built.invoke(decide, THREAD)
    assert observed == [DOG, TOWN, "I am [REDACTED_EMAIL]."]
    assert [m.text for m in memory.flush()] == [DOG_FACT, "The user lives in Tarn."]


@pytest.mark.parametrize(("observe", "told"), [(None, ["Ask it."]), (False, ["Ask it."]), (True, ["Ask it.", DOG])])
def test_a_sub_agents_human_messages_are_another_models(
    memory: AgentMemory, observed: list[str], observe: bool | None, told: list[str]
) -> None:
    """They are not heard unless that is asked for; its model has the memory all the same."""
    memory.remember(DOG_FACT, key="user.dog")
    inner = ScriptedChatModel()
    sub = create_agent(inner, middleware=[BakedMemoryMiddleware(memory, observe=observe)])

    @tool
    def ask(question: str) -> str:
        """Ask somebody who knows."""
        return str(sub.invoke({"messages": [HumanMessage(question)]})["messages"][-1].text)

    model = ScriptedChatModel(says=[call("ask", question=DOG), "So."])
    built = create_agent(model, tools=[ask], middleware=[BakedMemoryMiddleware(memory)], checkpointer=InMemorySaver())
    say(built, "Ask it.")
    assert sorted(observed) == sorted(told)
    assert DOG_FACT in inner.systems[0]


async def test_a_sub_agent_with_a_thread_of_its_own_is_no_user_either(memory: AgentMemory, observed: list[str]) -> None:
    """Nor is one that a tool asks in asyncio, or in an event loop of its own."""
    sub = create_agent(ScriptedChatModel(), middleware=[BakedMemoryMiddleware(memory)], checkpointer=InMemorySaver())
    task: Any = {"messages": [HumanMessage(UPPER)]}

    @tool
    def own_thread(question: str) -> str:
        """Ask somebody who knows."""
        return str(sub.invoke(task, {"configurable": {"thread_id": "research"}})["messages"][-1].text)

    @tool
    def own_loop(question: str) -> str:
        """Ask somebody who knows."""
        return str(asyncio.run(sub.ainvoke(task, {"configurable": {"thread_id": "loop"}}))["messages"][-1].text)

    @tool
    async def awaited(question: str) -> str:
        """Ask somebody who knows."""
        return str((await sub.ainvoke(task, {"configurable": {"thread_id": "awaited"}}))["messages"][-1].text)

    def main(name: str) -> Any:
        model = ScriptedChatModel(says=[call(name, question=UPPER)])
        return create_agent(model, tools=[own_thread, own_loop, awaited], middleware=[BakedMemoryMiddleware(memory)])

    for name in ("own_thread", "own_loop"):
        main(name).invoke({"messages": ["Ask it."]})
    for name in ("own_thread", "own_loop", "awaited"):
        await main(name).ainvoke({"messages": ["Ask it."]})
    assert observed == ["Ask it."] * 5
    sub.invoke({"messages": [HumanMessage(DOG)]}, {"configurable": {"thread_id": "research"}})
    assert observed[-1] == DOG


def test_a_sub_agent_has_the_memory_of_the_runs_namespace(unloaded: Unloaded) -> None:
    """The context of a run is that of the sub-agents in it."""
    unloaded("alice").remember(DOG_FACT, key="user.dog")
    inner = ScriptedChatModel()
    sub = create_agent(inner, middleware=[BakedMemoryMiddleware(unloaded)])

    @tool
    def ask(question: str) -> str:
        """Ask somebody who knows."""
        return str(sub.invoke({"messages": [HumanMessage(question)]})["messages"][-1].text)

    model = ScriptedChatModel(says=[call("ask", question="Who?")])
    built = create_agent(model, tools=[ask], middleware=[BakedMemoryMiddleware(unloaded)], context_schema=Whose)
    built.invoke({"messages": ["Ask it."]}, context=Whose("alice"))
    assert DOG_FACT in inner.systems[0]


def test_with_observe_false_nobody_is_heard(memory: AgentMemory, observed: list[str]) -> None:
    """The memory is read only."""
    agent(ScriptedChatModel(), BakedMemoryMiddleware(memory, observe=False)).invoke({"messages": [DOG]})
    assert observed == []


def test_images_and_documents_beside_the_words_are_not_heard(memory: AgentMemory, observed: list[str]) -> None:
    """Only what the user wrote is theirs."""
    plain = {"type": "text-plain", "text": UPPER, "mime_type": "text/plain"}
    image = {"type": "image", "url": "https://example.org/a.png"}
    blocks: list[Any] = [{"type": "text", "text": DOG}, plain, image]
    agent(ScriptedChatModel(), BakedMemoryMiddleware(memory)).invoke({"messages": [HumanMessage(blocks)]})
    assert observed == [DOG]


def test_a_message_that_cannot_be_kept_costs_neither_the_answer_nor_the_others(
    memory: AgentMemory, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named in the log, without its text, and not tried again."""
    built = agent(ScriptedChatModel(), BakedMemoryMiddleware(memory), checkpointer=InMemorySaver())
    with caplog.at_level(logging.WARNING):
        say(built, "half \ud800", DOG, "")
        say(built, "Hi.")
    told = [r.message for r in caplog.records if "Nothing is remembered" in r.message]
    assert len(told) == 1
    assert "half a surrogate pair" in told[0]
    assert heard(memory) == [DOG]


def test_what_a_broken_home_cannot_take_is_heard_later(
    memory: AgentMemory, observed: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer is given all the same."""
    built = agent(ScriptedChatModel(), BakedMemoryMiddleware(memory), checkpointer=InMemorySaver())

    def full(*args: object, **options: object) -> None:
        raise HomeError("The disk is full: make room.")

    with monkeypatch.context() as broken:
        broken.setattr(memory, "observe", full)
        assert say(built, DOG)["messages"][-1].text == "Good."
    assert "The disk is full" in caplog.text
    say(built, "Hi.")
    assert observed == [DOG, "Hi."]


def test_what_is_known_of_messages_is_no_part_of_the_answer(memory: AgentMemory) -> None:
    """It is the middleware's own state, and holds no more than what is still in the thread, and no text."""
    built = agent(ScriptedChatModel(), BakedMemoryMiddleware(memory), checkpointer=InMemorySaver())
    result = say(built, DOG)
    assert set(result) == {"messages"}
    values = built.get_state(THREAD).values
    assert set(values["bakemem_known"]) == {result["messages"][0].id}
    assert values["bakemem_said"] is None


# ---- said once


REX = "My dog is called Rex."


def before_the_first_answer(built: Any) -> Any:
    """The thread as it was when the model was asked for the first time."""
    return [state for state in built.get_state_history(THREAD) if state.next == ("model",)][-1].config


def test_an_old_answer_that_is_made_again_replaces_nothing_that_was_said_since(memory: AgentMemory) -> None:
    """What it answers was heard then; what is said on the new branch is heard."""
    built = agent(ScriptedChatModel(), BakedMemoryMiddleware(memory), checkpointer=InMemorySaver())
    for text in (DOG, REX):
        say(built, text)
        memory.flush()
    built.invoke(None, before_the_first_answer(built))
    assert memory.flush() == []
    assert [m.text for m in memory.memories(["pending"])] == ["The user's dog is called Rex."]
    say(built, TOWN)
    assert heard(memory) == [TOWN]


def test_an_old_answer_that_is_made_again_brings_nothing_back_that_was_forgotten(memory: AgentMemory) -> None:
    """Though the thread still holds it."""
    built = agent(ScriptedChatModel(), BakedMemoryMiddleware(memory), checkpointer=InMemorySaver())
    say(built, DOG)
    [kept] = memory.flush()
    memory.forget([kept.id])
    built.invoke(None, before_the_first_answer(built))
    assert memory.flush() == []
    assert [m.status for m in memory.memories()] == ["forgotten"]


def test_a_message_that_its_user_edited_is_heard_again(memory: AgentMemory, observed: list[str]) -> None:
    """It has the same id and other words."""
    built = agent(ScriptedChatModel(), BakedMemoryMiddleware(memory), checkpointer=InMemorySaver())
    for text in (DOG, REX, REX):
        built.invoke({"messages": [HumanMessage(text, id="m1")]}, THREAD)
    assert observed == [DOG, REX]
    memory.flush()
    assert [m.text for m in memory.memories(["pending"])] == ["The user's dog is called Rex."]


def test_a_message_that_comes_again_as_it_was_is_no_edit(memory: AgentMemory, observed: list[str]) -> None:
    """A front end may send the whole talk each time: what was redacted then is not, and is heard no second time."""
    chain = [PIIMiddleware("email", strategy="redact"), Retrieve(around), BakedMemoryMiddleware(memory)]
    built = agent(ScriptedChatModel(), *chain, checkpointer=InMemorySaver())
    mail = HumanMessage("Write to ada@example.org.", id="m1")
    talk = [mail, AIMessage("Good.", id="a1"), HumanMessage("Hi.", id="m2")]
    for n in (1, 3, 3):
        built.invoke({"messages": talk[:n]}, THREAD)
    assert not any("ada@example.org" in text for text in observed)
    assert observed.count("Hi.") == 1


def test_documents_that_are_written_into_a_message_after_it_was_heard_are_no_edit(
    memory: AgentMemory, observed: list[str]
) -> None:
    """Nor where the run fails then, and another one finds them there."""
    model = ScriptedChatModel(says=[call("mail", text="x"), RuntimeError("down")])
    built = agent(model, Retrieve(around), BakedMemoryMiddleware(memory), checkpointer=InMemorySaver())
    with pytest.raises(RuntimeError, match="down"):
        say(built, DOG)
    for _ in range(2):
        say(built, "Hi.")
    assert observed == [DOG, "Hi.", "Hi."]


def test_a_sub_agent_of_an_agent_without_memory_is_no_user_either(memory: AgentMemory, observed: list[str]) -> None:
    """It has a thread of its own, and nobody but LangGraph knows that a tool asks it."""
    sub = create_agent(ScriptedChatModel(), middleware=[BakedMemoryMiddleware(memory)], checkpointer=InMemorySaver())
    asked: Any = {"messages": [HumanMessage(UPPER)]}, {"configurable": {"thread_id": "research"}}

    @tool
    def ask(question: str) -> str:
        """Ask somebody who knows."""
        return str(sub.invoke(*asked)["messages"][-1].text)

    @tool
    async def ask_later(question: str) -> str:
        """Ask somebody who knows."""
        return str((await sub.ainvoke(*asked))["messages"][-1].text)

    for checkpointer in (None, InMemorySaver()):
        for name, run in (("ask", lambda a: a.invoke), ("ask", lambda a: in_a_loop(a.ainvoke)),
                          ("ask_later", lambda a: in_a_loop(a.ainvoke))):  # fmt: skip
            model = ScriptedChatModel(says=[call(name, question=UPPER)])
            main = create_agent(model, tools=[ask, ask_later], checkpointer=checkpointer)
            run(main)({"messages": ["Ask it."]}, THREAD)
    assert observed == []
    sub.invoke({"messages": [HumanMessage(DOG)]}, {"configurable": {"thread_id": "research"}})
    assert observed == [DOG]


def in_a_loop(run: Callable[..., Any]) -> Callable[..., Any]:
    """A coroutine function as a function."""
    return lambda *given: asyncio.run(run(*given))


def test_a_thread_that_waited_before_the_middleware_came_is_not_heard_when_it_goes_on(
    memory: AgentMemory, observed: list[str]
) -> None:
    """Its run had begun without; from the next message on it listens."""
    saver, asks = InMemorySaver(), HumanInTheLoopMiddleware(interrupt_on={"mail": True})
    old = agent(ScriptedChatModel(says=["So.", call("mail", text="x")]), asks, checkpointer=saver)
    say(old, UPPER)
    assert "__interrupt__" in say(old, "Send it.")
    new = agent(ScriptedChatModel(), asks, BakedMemoryMiddleware(memory), checkpointer=saver)
    new.invoke(Command(resume={"decisions": [{"type": "approve"}]}), THREAD)
    assert observed == []
    say(new, DOG)
    assert observed == [DOG]


def test_a_chat_message_of_the_users_is_heard_as_any_other(memory: AgentMemory, observed: list[str]) -> None:
    """The model reads it as the user's, too."""
    built = agent(ScriptedChatModel(), BakedMemoryMiddleware(memory))
    built.invoke({"messages": [ChatMessage(role="user", content=DOG)]})
    built.invoke({"messages": [ChatMessage(role="assistant", content=UPPER), HumanMessage("Hi.")]})
    assert observed == [DOG, "Hi."]


def test_a_model_with_configurable_fields_is_asked_over_the_runs_memory(unloaded: Unloaded) -> None:
    """In its default too; what a run configures stays."""
    model: Any = Routed(memory=unloaded()).configurable_fields(temperature=ConfigurableField("t"))
    built = create_agent(model, middleware=[BakedMemoryMiddleware(unloaded)], context_schema=Whose)
    for config in ({}, {"configurable": {"t": 0.5}}):
        said = built.invoke({"messages": [HumanMessage("Hi.")]}, config, context=Whose("alice"))["messages"][-1].text
        assert said == "alice: ['human']"
