"""The chat model over a memory: what it asks of it, what it makes of replies, and what it says of bad input."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.exceptions import ContextOverflowError
from langchain_core.load import dumpd, load
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import ConfigurableField
from langchain_core.tools import tool
from pydantic import BaseModel, ValidationError

import bakemem
from bakemem.agent_memory import AgentMemory
from bakemem.agents.chat_model import BakedChatModel
from bakemem.agents.middleware import BakedMemoryMiddleware
from bakemem.errors import BusyError, ContextError, InputError, ServingError
from bakemem.memory import records
from bakemem.memory.database import Database
from bakemem.serving import Reply, Request
from bakemem.testing import FakeEngine
from bakemem.types import Turn, Version
from tests.agents.conftest import Unloaded
from tests.homes import fake_bake, write_adapter
from tests.tiny import OpenMemory

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'


@tool
def add(a: int) -> int:
    """Add one."""
    return a + 1


@tool
def weather(city: str) -> str:
    """Get the weather."""
    return city


class Scripted:
    """A memory that answers what is written down, and keeps what it was asked."""

    def __init__(self, memory: AgentMemory, monkeypatch: pytest.MonkeyPatch) -> None:
        self.memory, self.asked, self.says, self.pace = memory, list[dict[str, Any]](), "Yes it is.", 0.0
        self.busy = 0
        monkeypatch.setattr(memory, "respond", self._respond)

    def _respond(self, turns: Sequence[Turn], **options: Any) -> Reply:
        self.asked.append({"turns": list(turns), **options})
        if self.busy:
            self.busy -= 1
            raise BusyError("Too many requests wait.")
        return FakeEngine(lambda request: self.says, pace=self.pace).submit(Request(tuple(turns)))


@pytest.fixture
def scripted(open_memory: OpenMemory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    """A memory without a model that answers."""
    return Scripted(open_memory(), monkeypatch)


@pytest.fixture
def model(scripted: Scripted) -> BakedChatModel:
    """The chat model over it."""
    return BakedChatModel(memory=scripted.memory)


# ---- what is asked


def test_messages_become_turns(model: BakedChatModel, scripted: Scripted) -> None:
    """System messages are the caller's prompt, and calls and results keep their ids."""
    call = {"name": "add", "args": {"a": 1}, "id": "c1"}
    said: list[BaseMessage] = [
        SystemMessage("Be kind."), HumanMessage([{"type": "text", "text": "One?"}]), AIMessage("", tool_calls=[call]),
        ToolMessage("2", name="add", tool_call_id="c1"), SystemMessage("Be short."),
        ChatMessage(role="user", content="Two?"),
    ]  # fmt: skip
    model.invoke(said)
    [asked] = scripted.asked
    assert asked["system"] == "Be kind.\n\nBe short."
    roles = [(t.role, t.content) for t in asked["turns"]]
    assert roles == [("user", "One?"), ("assistant", ""), ("tool", "2"), ("user", "Two?")]
    assert json.loads(asked["turns"][1].tool_calls[0].arguments) == {"a": 1}
    assert (asked["turns"][2].source, asked["turns"][2].tool_call_id) == ("tool:add", "c1")


@pytest.mark.parametrize(("messages", "told"), [
    ([], "no messages"),
    ([FunctionMessage(content="1", name="f")], "FunctionMessage cannot be read"),
    ([ChatMessage(role="judge", content="x")], "role 'judge'"),
    ([HumanMessage([{"type": "image", "url": "http://x/y.png"}])], "image content"),
    ([HumanMessage([{"type": "document", "source": {"type": "text", "data": "x"}}])], "document content"),
    ([HumanMessage([{"type": "text-plain", "url": "http://x/y.txt"}])], "text-plain content"),
    ([ToolMessage([{"type": "json", "json": {"a": 1}}], tool_call_id="c1")], "json content"),
    ([AIMessage([{"type": "image", "url": "http://x/y.png"}])], "image content"),
])  # fmt: skip
def test_what_a_text_model_cannot_read_is_refused(model: BakedChatModel, messages: list[Any], told: str) -> None:
    """With an error of our tree that names it."""
    with pytest.raises(InputError, match=told):
        model.invoke(messages)


def test_text_is_read_in_blocks_too(model: BakedChatModel, scripted: Scripted) -> None:
    """Documents of plain text too; what another model noted beside its words, and a provider's marks, are passed over,
    calls are not.
    """
    call = {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}}
    said = AIMessage([{"type": "reasoning", "reasoning": "Hm."}, {"type": "text", "text": "So."}, call],
                     tool_calls=[{"name": "add", "args": {"a": 1}, "id": "c1"}])  # fmt: skip
    document = {"type": "text-plain", "mime_type": "text/plain", "text": "A tale."}
    model.invoke(
        [
            HumanMessage(["Sum up:", document]),
            said,
            ToolMessage([{"cachePoint": {"type": "default"}}, "2"], tool_call_id="c1"),
        ]
    )
    turns = scripted.asked[0]["turns"]
    assert [turn.content.split() for turn in turns] == [["Sum", "up:", "A", "tale."], ["So."], ["2"]]
    assert [call.name for call in turns[1].tool_calls] == ["add"]


def test_options_of_a_call_win(model: BakedChatModel, scripted: Scripted) -> None:
    """Over those of the model; unknown ones are refused, so that a typing error is seen."""
    model.invoke("x", temperature=0.3, max_tokens=7, seed=4, version="base", strength=0.5, stop=["now"], window=True)
    asked = scripted.asked[0]
    assert (asked["temperature"], asked["max_new_tokens"], asked["seed"]) == (0.3, 7, 4)
    assert (asked["version"], asked["strength"], asked["stop"], asked["window"]) == ("base", 0.5, ["now"], True)
    with pytest.raises(InputError, match="'temprature' is not known"):
        model.invoke("x", temprature=0.3)


def test_who_waits_asks_again(model: BakedChatModel, scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as `max_retries` says, and then the error is the engine's."""
    monkeypatch.setattr("bakemem.agents.chat_model.time.sleep", lambda seconds: None)
    scripted.busy = 2
    assert model.invoke("x").content == "Yes it is."
    scripted.busy = 3
    with pytest.raises(BusyError):
        model.invoke("x")


def test_the_time_for_a_reply_holds_while_places_are_waited_for(scripted: Scripted) -> None:
    """It is an error before the wait, not an answer after it."""
    scripted.busy = 3
    model = BakedChatModel(memory=scripted.memory, timeout=0.2, max_retries=3)
    with pytest.raises(TimeoutError, match="no place"):
        model.invoke("x")
    assert scripted.busy == 2


# ---- replies


def test_a_reply_is_read_to_its_end_after_the_memory_was_closed(
    model: BakedChatModel, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who gave it is known when it begins, and nothing is asked of the memory at its end."""
    stream = model.stream("x")
    first = next(stream)
    monkeypatch.setattr(AgentMemory, "name_of", None)
    monkeypatch.setattr(BakedChatModel, "_memory", None)
    chunks = [first, *stream]
    assert "".join(str(chunk.content) for chunk in chunks) == "Yes it is."
    assert chunks[-1].response_metadata["adapter_version"] == "base"


def test_a_call_that_cannot_be_read_comes_in_events_too(model: BakedChatModel, scripted: Scripted) -> None:
    """Alone, and beside a good one; the tokens are counted once."""
    bound = model.bind_tools([add])
    for scripted.says, good in (("<tool_call>{broken", 0), (f"Hi. {CALL} and <tool_call>{{oops</tool_call>.", 1)):
        told, streamed = bound.invoke("x"), bound.stream_events("x", version="v3").output
        for message in (told, streamed):
            assert (len(message.tool_calls), len(message.invalid_tool_calls)) == (good, 1)
            assert message.usage_metadata == told.usage_metadata


def test_a_call_with_half_a_sign_does_no_harm_to_its_thread(model: BakedChatModel, scripted: Scripted) -> None:
    """No prompt could hold half a surrogate pair, and the thread would fail for ever."""
    scripted.says = CALL.replace('"a": 1', '"a": 1, "b": "caf\\ud83d"')
    [made] = model.bind_tools([add]).invoke("x").tool_calls
    assert made["args"] == {"a": 1, "b": "caf?"}


def test_a_reply_costs_the_same_however_many_versions_there_are(
    model: BakedChatModel, scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version that gave it is found by its id, and the others are not read: not for a cache's key either."""
    memory, parsed = scripted.memory, list[str]()
    for _ in range(3):
        version = fake_bake(memory._journal, memory._store, write_adapter(tmp_path / "new"))
    engine = FakeEngine(lambda request: "Yes.")
    engine.attach(version.id, version.adapter.folder)
    monkeypatch.setattr(memory, "respond", lambda turns, **_: engine.submit(Request(tuple(turns), version.id)))

    def counted(row: Mapping[Any, Any], *rest: Any, real: Callable[..., Version] = records.version_of) -> Version:
        parsed.append(row["name"])
        return real(row, *rest)

    monkeypatch.setattr(records, "version_of", counted)
    model._get_llm_string()
    assert model.invoke("x").response_metadata["adapter_version"] == "v3"
    assert set(parsed) == {"v3"}


def test_a_reply_says_what_it_cost_and_who_gave_it(model: BakedChatModel) -> None:
    """Tokens, why it ended, and the version."""
    reply = model.invoke("x")
    assert reply.usage_metadata is not None
    assert reply.usage_metadata["output_tokens"] == 3
    told = reply.response_metadata
    assert (told["adapter_version"], told["finish_reason"], told["model_provider"]) == ("base", "stop", "bakemem")


def test_calls_are_found_in_streams_too(model: BakedChatModel, scripted: Scripted) -> None:
    """Whole, once, with an id that a template can take, and not in the text."""
    scripted.says = f"Let me see. {CALL}"
    bound = model.bind_tools([add, weather])
    chunks = list(bound.stream("What is 1 + 1?"))
    full = chunks[0]
    for chunk in chunks[1:]:
        full = full + chunk
    for reply in (full, bound.invoke("What is 1 + 1?"), asyncio.run(bound.ainvoke("What is 1 + 1?"))):
        assert reply.content == "Let me see."
        assert [(c["name"], c["args"]) for c in reply.tool_calls] == [("add", {"a": 1})]
        assert len(str(reply.tool_calls[0]["id"])) == 9
    assert [t["function"]["name"] for t in scripted.asked[0]["tools"]] == ["add", "weather"]
    assert scripted.asked[0]["prefix"] == ""


@pytest.mark.parametrize(("choice", "begun"), [
    ("any", '<tool_call>\n{"name": "'), (True, '<tool_call>\n{"name": "'), ("auto", ""), ("none", ""),
    ("required", '<tool_call>\n{"name": "'), (False, ""),
    ("weather", '<tool_call>\n{"name": "weather", "arguments":'),
    ({"type": "function", "function": {"name": "weather"}}, '<tool_call>\n{"name": "weather", "arguments":'),
])  # fmt: skip
def test_a_choice_begins_the_reply(
    model: BakedChatModel, scripted: Scripted, choice: Any, begun: str, tokenizer: object
) -> None:
    """As the template writes a call, bound or given with the call; with `none` the model does not see the tools."""
    model.bind_tools([add, weather], tool_choice=choice).invoke("x")
    model.bind_tools([add, weather]).invoke("x", tool_choice=choice)
    assert len(scripted.asked) == 2
    for asked in scripted.asked:
        assert asked["prefix"] == begun
        assert len(asked["tools"]) == (0 if choice == "none" else 2)


def test_a_choice_of_no_tool_is_refused(model: BakedChatModel) -> None:
    """At once."""
    with pytest.raises(InputError, match="none of the tools: add"):
        model.bind_tools([add], tool_choice="subtract")
    with pytest.raises(InputError, match="none of the tools: add"):
        model.bind_tools([add]).invoke("x", tool_choice="subtract")


def test_one_call_at_a_time(model: BakedChatModel, scripted: Scripted) -> None:
    """Where parallel calls are not wanted."""
    scripted.says = f"{CALL}\n{CALL}"
    assert len(model.bind_tools([add]).invoke("x").tool_calls) == 2
    assert len(model.bind_tools([add], parallel_tool_calls=False).invoke("x").tool_calls) == 1


def test_signs_of_any_script_come_through_whole(model: BakedChatModel, scripted: Scripted) -> None:
    """In the arguments of a call, in one piece and in a stream."""
    scripted.says = '<tool_call>\n{"name": "weather", "arguments": {"city": "你好啊集团 こんにちは"}}\n</tool_call>'
    bound = model.bind_tools([weather])
    *chunks, last = bound.stream("x")
    for chunk in reversed(chunks):
        last = chunk + last
    for reply in (bound.invoke("x"), last):
        assert [c["args"] for c in reply.tool_calls] == [{"city": "你好啊集团 こんにちは"}]


def test_a_call_that_cannot_be_read_is_told(model: BakedChatModel, scripted: Scripted) -> None:
    """As an invalid tool call, which agents can answer."""
    scripted.says = '<tool_call>\n{"name": "add", "arguments": {"a": '
    reply = model.bind_tools([add]).invoke("x")
    assert reply.tool_calls == []
    assert len(reply.invalid_tool_calls) == 1


def test_structured_output_in_json_mode(model: BakedChatModel, scripted: Scripted) -> None:
    """Parsed, with the raw message and the error beside it when asked for."""

    class Dog(BaseModel):
        name: str

    scripted.says = '{"name": "Bosuk"}'
    assert model.with_structured_output(Dog, method="json_mode").invoke("x") == Dog(name="Bosuk")
    scripted.says = "I do not know."
    both = model.with_structured_output(Dog, method="json_mode", include_raw=True).invoke("x")
    assert both["parsed"] is None
    assert both["parsing_error"] is not None
    with pytest.raises(ValueError, match="'magic' is not known"):
        model.with_structured_output(Dog, method="magic")  # type: ignore[arg-type]


class Town(BaseModel):
    """Where somebody lives."""

    name: str


def test_an_agents_answer_may_be_in_a_schema_of_the_provider(model: BakedChatModel, scripted: Scripted) -> None:
    """`ProviderStrategy` asks for it by OpenAI's `response_format`: the reply is held to that, as in JSON mode."""
    scripted.says = '{"name": "Tarn"}'
    built = create_agent(model, response_format=ProviderStrategy(Town))
    assert built.invoke({"messages": ["Where?"]})["structured_response"] == Town(name="Tarn")
    model.with_structured_output(Town, method="json_mode").invoke("Where?")
    provided, in_json_mode = (asked["grammar"] for asked in scripted.asked)
    assert provided == in_json_mode != ""


@pytest.mark.parametrize("given", [
    "json", {"type": "json_object"}, {"type": "json_schema"}, {"type": "json_schema", "json_schema": {"name": "x"}},
])  # fmt: skip
def test_a_format_that_is_no_schema_is_refused(model: BakedChatModel, given: Any) -> None:
    """And one beside tools, as a reply is held to one of them."""
    with pytest.raises(InputError, match="response_format"):
        model.invoke("x", response_format=given)
    schema = {"type": "json_schema", "json_schema": {"name": "town", "schema": Town.model_json_schema()}}
    with pytest.raises(InputError, match="ToolStrategy"):
        model.bind_tools([add]).invoke("x", response_format=schema)


def test_a_stream_is_an_option_that_says_nothing_here(model: BakedChatModel) -> None:
    """LangChain itself gives it to models of providers."""
    assert model.invoke("x", stream=True).content == "Yes it is."


def test_a_slow_reply_is_given_up(scripted: Scripted) -> None:
    """After `timeout` seconds, in threads and in asyncio; its place is free."""
    scripted.says, scripted.pace = "word " * 200, 0.02
    model = BakedChatModel(memory=scripted.memory, timeout=0.1)
    with pytest.raises(ServingError, match="longer than"):
        model.invoke("x")
    with pytest.raises(TimeoutError):
        asyncio.run(model.ainvoke("x"))


def test_a_reply_that_nobody_reads_on_keeps_no_program_from_ending(scripted: Scripted) -> None:
    """As one whose reader failed, and whose traceback still holds it: the timer's thread is a daemon's."""
    scripted.says = "word " * 9
    stream = BakedChatModel(memory=scripted.memory, timeout=60).stream("x")
    before = set(threading.enumerate())
    next(stream)
    started = set(threading.enumerate()) - before
    assert started
    assert all(thread.daemon for thread in started)
    stream.close()  # type: ignore[attr-defined]


# ---- what it is


def test_a_cache_never_answers_from_an_older_memory(open_memory: OpenMemory) -> None:
    """A new memory, another version or strength, another option: each is another key."""
    memory = open_memory()
    model = BakedChatModel(memory=memory)
    keys = [model._get_llm_string()]
    memory.remember("The user's dog is called Bosuk.")
    keys += [model._get_llm_string(), model._get_llm_string(temperature=0.5), model._get_llm_string(stop=["x"])]
    keys += [BakedChatModel(memory=memory, strength=0.5)._get_llm_string()]
    keys += [BakedChatModel(memory=memory, version="base")._get_llm_string()]
    assert len(set(keys)) == len(keys)


def test_a_cached_reply_is_given_again(scripted: Scripted) -> None:
    """While nothing changes, and no longer."""
    model = BakedChatModel(memory=scripted.memory, cache=InMemoryCache())
    assert [model.invoke("x").content for _ in range(2)] == ["Yes it is."] * 2
    assert len(scripted.asked) == 1
    scripted.memory.remember("The user's dog is called Bosuk.")
    model.invoke("x")
    assert len(scripted.asked) == 2


def test_a_cached_reply_is_of_the_version_not_of_its_name(
    open_memory: OpenMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tag moves on, and what may serve no more is not answered from a cache either."""
    memory, ids = open_memory(), {"good": "1" * 12}

    def servable(name: str) -> SimpleNamespace:
        if name not in ids:
            raise InputError("It never serves again.")
        return SimpleNamespace(id=ids[name])

    monkeypatch.setattr(memory, "servable", servable)
    model, other = BakedChatModel(memory=memory, version="good"), BakedChatModel(memory=memory)
    keys = [model._get_llm_string(), BakedChatModel(memory=memory, version="good", logprobs=True)._get_llm_string()]
    assert other._get_llm_string(version="good") == other._get_llm_string(version="good")
    pinned = other._get_llm_string(version="good")
    ids["good"] = "2" * 12
    keys += [model._get_llm_string()]
    assert pinned != other._get_llm_string(version="good")
    del ids["good"]
    keys += [model._get_llm_string()]
    assert len(set(keys)) == 4


def test_it_is_written_down_and_read_back(scripted: Scripted) -> None:
    """By its home, without the memory itself and without a key."""
    model = BakedChatModel(memory=scripted.memory, temperature=0.5, stop=["x"], api_key="hidden")
    written = dumpd(model)
    assert "hidden" not in json.dumps(written)
    again = load(written, allowed_objects=[BakedChatModel], valid_namespaces=["bakemem"])
    assert (again.home, again.temperature, again.stop_sequences) == (str(scripted.memory.home), 0.5, ["x"])


@pytest.mark.parametrize("make", [
    lambda memory: BakedChatModel(), lambda memory: BakedChatModel(home="x", temprature=1),
    lambda memory: BakedChatModel(memory=memory, model="another/model"),
    lambda memory: BakedChatModel(memory=memory, namespace="alice"),
], ids=["no memory", "typing error", "another model", "another namespace"])  # fmt: skip
def test_a_wrong_model_is_refused(make: Callable[[AgentMemory], object], scripted: Scripted) -> None:
    """When it is made."""
    with pytest.raises(ValidationError):
        make(scripted.memory)


def test_a_tool_that_a_provider_runs_is_refused(model: BakedChatModel) -> None:
    """There is nobody here to run it."""
    with pytest.raises(InputError, match="web_search"):
        model.bind_tools([{"type": "web_search"}])


@pytest.mark.parametrize("method", ["function_calling", "json_mode"])
def test_structured_output_may_be_held_to_nothing(model: BakedChatModel, scripted: Scripted, method: Any) -> None:
    """With `strict=False`; and a misspelt argument is an error."""
    schema = {"title": "Town", "type": "object", "properties": {"name": {"type": "string"}}}
    model.with_structured_output(schema, method=method, include_raw=True).invoke("x")
    model.with_structured_output(schema, method=method, include_raw=True, strict=False).invoke("x")
    assert [bool(asked["grammar"]) for asked in scripted.asked] == [True, False]
    with pytest.raises(ValueError, match="strikt"):
        model.with_structured_output(schema, method=method, strikt=False)


def test_tokens_are_counted_by_the_base(model: BakedChatModel, scripted: Scripted) -> None:
    """As summarising middleware asks."""
    assert model.get_num_tokens("Hello there") == scripted.memory.base.template.count("Hello there")


# ---- on a base that answers at random


def test_too_long_a_conversation_is_an_error_of_both_trees(open_memory: OpenMemory) -> None:
    """LangChain's summarisers catch one, our callers the other; with a window it is answered."""
    memory = open_memory()
    long = [HumanMessage("word " * 3000), AIMessage("yes"), HumanMessage("x")]
    with pytest.raises(ContextOverflowError) as caught:
        BakedChatModel(memory=memory, max_tokens=4).invoke(long)
    assert isinstance(caught.value, ContextError)
    windowed = BakedChatModel(memory=memory, max_tokens=4, window=True).invoke(long)
    assert windowed.response_metadata["dropped_turns"] == 2


def test_logprobs_and_stops(open_memory: OpenMemory) -> None:
    """Come through to the engine and back."""
    reply = BakedChatModel(memory=open_memory(), max_tokens=3, temperature=0.0, logprobs=True).invoke("x")
    assert len(reply.response_metadata["logprobs"]["content"]) == 3
    assert reply.response_metadata["finish_reason"] == "length"


def test_lone_surrogates_are_refused(open_memory: OpenMemory) -> None:
    """With an error that says what to do."""
    with pytest.raises(InputError, match="lone surrogates"):
        BakedChatModel(memory=open_memory()).invoke("half \ud83d")


def test_a_home_is_opened_when_needed_and_closed(open_memory: OpenMemory, tmp_path: Any) -> None:
    """By `close`, which leaves a memory that was given alone."""
    model = BakedChatModel(home=str(tmp_path / "own"), model="starter")
    assert not (tmp_path / "own").exists()
    assert "Bosuk" not in str(model._identifying_params)
    assert (tmp_path / "own").exists()
    model.close()
    model.close()
    memory = open_memory()
    BakedChatModel(memory=memory).close()
    assert memory.memories() == []


def test_a_model_of_a_home_is_named_as_its_settings_name_it(
    open_memory: OpenMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens are counted by that name, in asyncio too."""
    memory = open_memory(model="some/model")
    monkeypatch.setattr(bakemem, "open", lambda *args, **options: memory)
    model = BakedChatModel(home="./own", max_tokens=2)
    with get_usage_metadata_callback() as used:
        replies = [model.invoke("x"), asyncio.run(model.ainvoke("x"))]
    assert {reply.response_metadata["model_name"] for reply in replies} == set(used.usage_metadata) == {"some/model"}


def test_copies_of_a_model_share_what_it_opened(open_memory: OpenMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """LangChain makes one for each call of `configurable_fields`."""
    memory, opened = open_memory(), list[str]()

    def note(home: Any, *, namespace: str, **settings: Any) -> AgentMemory:
        opened.append(namespace)
        return memory

    monkeypatch.setattr(bakemem, "open", note)
    model = BakedChatModel(home="./own", max_tokens=2).configurable_fields(
        temperature=ConfigurableField(id="t"), namespace=ConfigurableField(id="who"))  # fmt: skip
    for configurable in ({"t": 0.0}, {"t": 1.0}, {}, {"who": "alice"}, {"who": "alice", "t": 0.5}):
        model.with_config(configurable=configurable).invoke("x")
    assert opened == ["default", "alice"]


def test_copies_find_the_home_wherever_the_program_works(
    open_memory: OpenMemory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A relative home is where the model was made; each home is opened once, and all are closed together."""
    memory, opened, closed = open_memory(), list[Path](), list[None]()

    def note(home: Any, **settings: Any) -> AgentMemory:
        opened.append(home)
        return memory

    monkeypatch.setattr(bakemem, "open", note)
    monkeypatch.setattr(memory, "close", lambda: closed.append(None))
    monkeypatch.chdir(tmp_path)
    model = BakedChatModel(home="own", max_tokens=2)
    copies = model.configurable_fields(home=ConfigurableField(id="home"), model_name=ConfigurableField(id="model"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for configurable in ({}, {"home": "other"}, {}, {"home": "other"}):
        copies.with_config(configurable=configurable).invoke("x")
    assert opened == [tmp_path / "own", tmp_path / "elsewhere" / "other"]
    with pytest.raises(ValidationError, match="another home"):
        copies.with_config(configurable={"model": "/some/other"}).invoke("x")
    model.close()
    assert len(closed) == 2


def test_a_home_is_opened_beside_the_loop(open_memory: OpenMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it takes a while: other tasks go on, whether one waits for the answer or reads it as it comes."""
    memory, threads = open_memory(), list[int]()

    def slowly(*args: Any, **options: Any) -> AgentMemory:
        threads.append(threading.get_ident())
        return memory

    monkeypatch.setattr(bakemem, "open", slowly)

    async def read() -> None:
        assert [chunk async for chunk in BakedChatModel(home="./own", max_tokens=4).astream("x")]

    asyncio.run(BakedChatModel(home="./own", max_tokens=4).ainvoke("x"))
    asyncio.run(read())
    assert len(threads) == 2
    assert threading.get_ident() not in threads


class Meanwhile(BaseRateLimiter):
    """Between the look into a cache and the reply, once."""

    def __init__(self, todo: Callable[[], object]) -> None:
        self._todo = [todo]

    def acquire(self, *, blocking: bool = True) -> bool:
        """Does it."""
        if self._todo:
            self._todo.pop()()
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        """As `acquire`."""
        return self.acquire(blocking=blocking)


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_what_was_asked_before_a_change_and_answered_after_is_in_no_cache(scripted: Scripted, way: str) -> None:
    """It would tell what was forgotten since, where all is as it was when it was asked."""
    memory, kept = scripted.memory, list[str]()

    def remember() -> None:
        kept.append(memory.remember("The user's dog is called Bosuk.", key="user.dog").id)
        scripted.says = "Bosuk."

    model = BakedChatModel(memory=memory, cache=InMemoryCache(), rate_limiter=Meanwhile(remember))

    async def ask() -> str:
        return str((await model.ainvoke("x") if way == "ainvoke" else model.invoke("x")).content)

    assert await ask() == "Bosuk."
    memory.forget(kept)
    scripted.says = "I do not know."
    assert [await ask() for _ in range(2)] == ["I do not know."] * 2
    assert len(scripted.asked) == 2


@pytest.mark.parametrize("cache", [None, InMemoryCache()])
async def test_the_loop_does_no_sql(scripted: Scripted, monkeypatch: pytest.MonkeyPatch, cache: Any) -> None:
    """All conversations stand still meanwhile, and LangGraph's development server makes an error of it."""
    real = Database.read

    def read(self: Database) -> Any:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        return real(self)

    monkeypatch.setattr(Database, "read", read)
    model = BakedChatModel(memory=scripted.memory, cache=cache)
    assert (await model.ainvoke("x")).content == "Yes it is."
    assert "".join([str(chunk.content) async for chunk in model.astream("x")]) == "Yes it is."
    told = await create_agent(model, middleware=[BakedMemoryMiddleware(scripted.memory)]).ainvoke({"messages": ["x"]})
    assert told["messages"][-1].text == "Yes it is."


async def test_who_waits_for_a_place_is_in_nobodys_way(unloaded: Unloaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither holds a thread of the loop's executor while too many wait: here it has one."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    alice, bob = Scripted(unloaded("alice"), monkeypatch), Scripted(unloaded("bob"), monkeypatch)
    for memory in (alice.memory, bob.memory):
        monkeypatch.setattr(type(memory), "base", SimpleNamespace(template=None))
    alice.busy = 10**9
    waiting = asyncio.create_task(BakedChatModel(memory=alice.memory, max_retries=9).ainvoke("x"))
    while not alice.asked:
        await asyncio.sleep(0)
    for _ in range(3):
        assert (await BakedChatModel(memory=bob.memory, strict=False).ainvoke("x")).content == "Yes it is."
    assert not waiting.done()
    waiting.cancel()


def test_a_copy_with_configured_fields_streams(model: BakedChatModel) -> None:
    """LangChain sets all fields of it, and a `streaming` that is set to False ends all streams."""
    configured = model.configurable_fields(temperature=ConfigurableField("t"))
    config: Any = {"configurable": {"t": 0.5}}
    assert len(list(configured.stream("x", config))) == len(list(model.stream("x"))) > 2


def test_a_copy_with_another_home_is_over_that(tmp_path: Path) -> None:
    """A path is a home too; each is opened when it is needed, and closed with the others."""
    model = BakedChatModel(home=tmp_path / "one")  # type: ignore[arg-type]
    other = model.model_copy(update={"home": str(tmp_path / "two")})
    assert [m._memory.home for m in (model, other)] == [tmp_path / "one", tmp_path / "two"]
    model.close()
    other._memory.remember("Tea.", key="tea", kind="fact")
    other.close()


def test_half_a_sign_in_a_tools_name_can_be_written_down(scripted: Scripted) -> None:
    """As in its arguments."""
    scripted.says = CALL.replace("add", "caf\\ud83d")
    reply = BakedChatModel(memory=scripted.memory, strict=False).bind_tools([add]).invoke("x")
    assert "caf?" in reply.model_dump_json()
