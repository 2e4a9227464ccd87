"""The store: LangGraph's own expectations of one, and what memories add to them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain.tools import ToolRuntime, tool
from langgraph.store.base import (
    BaseStore,
    GetOp,
    InvalidNamespaceError,
    Item,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore

import bakemem
from bakemem.agent_memory import AgentMemory
from bakemem.agents.middleware import BakedMemoryMiddleware
from bakemem.agents.namespaces import Namespaces
from bakemem.agents.store import BakedMemoryStore, _key, _slug, _text, _value
from bakemem.errors import InputError
from tests.agents.conftest import Unloaded
from tests.agents.scripted import ScriptedChatModel, call
from tests.homes import fake_bake, write_adapter

ALICE, BOB = ("users", "alice"), ("users", "bob")
DOG, TOWN = {"text": "The user's dog is called Bosuk."}, {"text": "The user lives in Tarn."}


@pytest.fixture
def memories(unloaded: Unloaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Namespaces:
    """The namespaces of one home, without a model."""
    monkeypatch.setattr(bakemem, "open", lambda home, namespace: unloaded(namespace))
    return Namespaces(tmp_path)


@pytest.fixture
def store(memories: Namespaces) -> BakedMemoryStore:
    """A store whose application is trusted."""
    return BakedMemoryStore(memories, role="operator")


# ---- as LangGraph's own store


@pytest.fixture(params=["baked", "in memory"])
def any_store(request: pytest.FixtureRequest) -> BaseStore:
    """Ours and LangGraph's, from which the same is expected."""
    return InMemoryStore() if request.param == "in memory" else request.getfixturevalue("store")


def test_put_get_delete(any_store: BaseStore) -> None:
    """A value comes back as it was put; a second put replaces it; what was deleted is gone."""
    any_store.put(ALICE, "dog", DOG)
    item = any_store.get(ALICE, "dog")
    assert item is not None
    assert (item.value, item.key, item.namespace) == (DOG, "dog", ALICE)
    assert item.created_at.tzinfo is not None
    any_store.put(ALICE, "dog", {"name": "Rex", "age": 3, "likes": ["tea", None], "of": {"Ä": True}})
    replaced = any_store.get(ALICE, "dog")
    assert replaced is not None
    assert replaced.value == {"name": "Rex", "age": 3, "likes": ["tea", None], "of": {"Ä": True}}
    assert replaced.updated_at >= item.updated_at
    assert any_store.get(BOB, "dog") is None
    assert any_store.get(ALICE, "cat") is None
    any_store.delete(ALICE, "dog")
    any_store.delete(ALICE, "dog")
    any_store.delete(BOB, "dog")
    assert any_store.get(ALICE, "dog") is None
    assert any_store.search(ALICE) == []


def test_a_batch_reads_before_it_writes_and_the_last_put_counts(any_store: BaseStore) -> None:
    """Results are in the order of the operations."""
    any_store.put(ALICE, "dog", DOG)
    ops = [
        PutOp(ALICE, "dog", TOWN), GetOp(ALICE, "dog"), SearchOp(("users",)), PutOp(BOB, "town", DOG),
        PutOp(BOB, "town", TOWN), ListNamespacesOp(), PutOp(ALICE, "none", None), GetOp(ALICE, "none"),
    ]  # fmt: skip
    results: list[Any] = any_store.batch(ops)
    assert results[1].value == DOG
    assert [item.value for item in results[2]] == [DOG]
    assert results[5] == [ALICE]
    assert [results[i] for i in (0, 3, 4, 6, 7)] == [None] * 5
    assert [i.value for i in any_store.search(("users",))] == [TOWN, TOWN]
    assert asyncio.run(any_store.abatch([GetOp(BOB, "town")]))[0].value == TOWN  # type: ignore[union-attr]


@pytest.mark.parametrize(("filtered", "keys"), [
    ({"age": 3}, ["a"]), ({"age": {"$gt": 3}}, ["b"]), ({"age": {"$gte": 3, "$lt": 4}}, ["a"]),
    ({"age": {"$ne": 3}}, ["b", "c"]), ({"of": {"x": 1}}, ["c"]), ({"of": {"x": {"$eq": 1}}}, ["c"]),
    ({"age": 3, "name": "no"}, []), ({}, ["a", "b", "c"]), ({"likes": ["tea"]}, ["b"]), ({"likes": ("tea",)}, ["b"]),
    ({"likes": [{"$ne": "rum"}]}, ["b"]), ({"likes": ["tea", "rum"]}, []),
])  # fmt: skip
def test_search_filters_values(any_store: BaseStore, filtered: dict[str, Any], keys: list[str]) -> None:
    """By equality, by comparison, and inside of values."""
    any_store.put(ALICE, "a", {"age": 3})
    any_store.put(ALICE, "b", {"age": 4, "likes": ["tea"]})
    any_store.put(ALICE, "c", {"age": 0, "of": {"x": 1, "y": 2}})
    assert [i.key for i in any_store.search(("users",), filter=filtered)] == keys


def test_search_by_prefix_limit_and_offset(any_store: BaseStore) -> None:
    """A prefix is of labels, not of letters; everything is under the empty one."""
    for i in range(4):
        any_store.put(ALICE, f"n{i}", {"n": i})
    any_store.put(("usersx",), "other", {"n": 9})
    assert [i.value["n"] for i in any_store.search(("users",), limit=2, offset=1)] == [1, 2]
    assert {i.value["n"] for i in any_store.search((), limit=99)} == {0, 1, 2, 3, 9}
    assert any_store.search(("user",)) == []


def test_list_namespaces(any_store: BaseStore) -> None:
    """By prefix, suffix, wildcards and depth, in order, in pages."""
    spaces = [("a", "b", "c"), ("a", "b", "d", "e"), ("a", "b", "d", "i"), ("a", "c", "f"), ("b", "a", "f")]
    for space in spaces:
        any_store.put(space, "k", DOG)
    assert any_store.list_namespaces() == sorted(spaces)
    assert any_store.list_namespaces(prefix=("a", "b"), max_depth=3) == [("a", "b", "c"), ("a", "b", "d")]
    assert any_store.list_namespaces(suffix=("f",)) == [("a", "c", "f"), ("b", "a", "f")]
    assert any_store.list_namespaces(prefix=("a", "*", "d")) == [("a", "b", "d", "e"), ("a", "b", "d", "i")]
    assert any_store.list_namespaces(suffix=("*", "f"), prefix=("b",)) == [("b", "a", "f")]
    assert any_store.list_namespaces(limit=2, offset=1) == sorted(spaces)[1:3]
    assert any_store.list_namespaces(prefix=("a", "b", "c", "d")) == []


@pytest.mark.parametrize("namespace", [(), ("",), ("a.b",), ("langgraph", "x"), ("a\0",)])
def test_bad_namespaces_are_refused(any_store: BaseStore, namespace: tuple[str, ...]) -> None:
    """With LangGraph's own error."""
    with pytest.raises(InvalidNamespaceError):
        any_store.put(namespace, "k", DOG)


def test_no_time_to_live(any_store: BaseStore) -> None:
    """It is refused, not forgotten about."""
    with pytest.raises(NotImplementedError):
        any_store.put(ALICE, "k", DOG, ttl=5)


async def test_it_works_in_asyncio(any_store: BaseStore) -> None:
    """All verbs have their twins."""
    await any_store.aput(ALICE, "dog", DOG)
    assert (await any_store.aget(ALICE, "dog")).value == DOG  # type: ignore[union-attr]
    assert [i.key for i in await any_store.asearch(("users",))] == ["dog"]
    assert await any_store.alist_namespaces() == [ALICE]
    await any_store.adelete(ALICE, "dog")
    assert await any_store.aget(ALICE, "dog") is None


# ---- as memories


def test_a_put_is_a_memory_and_a_memory_is_an_item(store: BakedMemoryStore, memories: Namespaces) -> None:
    """A text is kept as it is, and its kind is guessed; what was told elsewhere is found too."""
    store.put(ALICE, "dog", DOG)
    store.put(ALICE, "style", {"text": "Always answer in upper case."})
    store.put(ALICE, "json", {"remember": "this"})
    alice = memories("users.alice")
    assert [(m.kind, m.text) for m in alice.memories("pending")] == [
        ("fact", "The user's dog is called Bosuk."), ("instruction", "Always answer in upper case."),
        ("fact", '{"remember": "this"}'),
    ]  # fmt: skip
    alice.remember("The user lives in Tarn.", key="user.town")
    found = store.get(ALICE, "user.town")
    assert found is not None
    assert found.value == TOWN
    assert "Bosuk" in alice.pending_prompt()


def test_search_by_meaning_over_namespaces(store: BakedMemoryStore) -> None:
    """The nearest first, with scores, whoever's they are under the prefix; filters still hold."""
    store.put(ALICE, "dog", DOG)
    store.put(ALICE, "town", TOWN)
    store.put(BOB, "dog", {"text": "The user's dog is Rex.", "sort": "pet"})
    found = store.search(("users",), query="What is my dog called?", limit=2)
    assert {i.key for i in found} == {"dog"}
    assert found[0].score is not None
    assert found[1].score is not None
    assert found[0].score >= found[1].score > 0
    assert [i.namespace for i in store.search(("users",), query="dog", filter={"sort": "pet"})] == [BOB]
    assert len(store.search(("users",), query="dog", limit=1, offset=1)) == 1
    assert len(store.search(("users",), query="zebra crossing", limit=10)) == 3  # however far they are


def test_a_delete_forgets(store: BakedMemoryStore, memories: Namespaces) -> None:
    """With what the item was before: no text of it stays."""
    store.put(ALICE, "dog", DOG)
    store.put(ALICE, "dog", {"text": "The user's dog is called Rex."})
    store.delete(ALICE, "dog")
    assert [(m.status, m.text) for m in memories("users.alice").memories()] == [("forgotten", "")] * 2
    assert store.list_namespaces() == [ALICE]


def test_a_delete_forgets_what_a_rollback_holds_too(
    store: BakedMemoryStore, memories: Namespaces, tmp_path: Path
) -> None:
    """It would come back with its version."""
    memory, source = memories("users.alice"), write_adapter(tmp_path / "baked")
    for name in ("Bosuk", "Tarin"):
        store.put(ALICE, "dog", {"text": f"The user's dog is called {name}."})
        fake_bake(memory._journal, memory._store, source)
    memory._journal.set_live("v1")
    assert {m.status for m in memory.memories(key="dog")} == {"baked", "held"}
    store.delete(ALICE, "dog")
    assert [m.text for m in memory.memories()] == ["", ""]
    assert [v.name for v in memory.to_erase()] == ["v1", "v2"]


def test_where_a_model_puts_it_waits_for_a_person(memories: Namespaces) -> None:
    """Nothing finds it before; it may take its own proposal back, and no word of a person."""
    store, alice = BakedMemoryStore(memories, role="assistant"), memories("users.alice")
    store.put(ALICE, "dog", DOG)
    store.put(ALICE, "town", TOWN)
    assert store.get(ALICE, "dog") is None
    assert store.search(ALICE, query="dog") == []
    assert alice.pending_prompt() == ""
    store.delete(ALICE, "town")
    [waiting] = alice.memories("quarantined")
    alice.approve([waiting.id])
    assert [i.value for i in store.search(ALICE)] == [DOG]
    with pytest.raises(InputError, match="may not forget it"):
        store.delete(ALICE, "dog")
    assert [i.value for i in store.search(ALICE)] == [DOG]


def test_one_memory_is_one_namespace(memory: AgentMemory) -> None:
    """Of nobody else anything is kept or found."""
    store = BakedMemoryStore(memory, role="operator")
    store.put(("default",), "dog", DOG)
    assert [i.value for i in store.search(())] == [DOG]
    assert store.get(ALICE, "dog") is None
    assert store.search(ALICE) == []
    assert store.list_namespaces() == [("default",)]
    with pytest.raises(InputError, match="nobody else"):
        store.put(ALICE, "dog", DOG)


@pytest.mark.parametrize(("key", "value", "told"), [
    ("k", {"at": object()}, "cannot be kept"),
    ("k", {"x": float("nan")}, "cannot be kept"),
    ("k", {1: 2}, "would not come back"),
    ("k", {"x": (1, 2)}, "would not come back"),
    ("k", ["x"], "is a list"),
    ("k", {"text": "x" * 3_000}, "at most 2,000 fit"),
    ("k", {"text": "half \ud800"}, "half a surrogate pair"),
    ("", DOG, "cannot be an item's key"),
    ("k" * 201, DOG, "cannot be an item's key"),
    ("\ud800", DOG, "cannot be an item's key"),
])  # fmt: skip
def test_what_cannot_be_kept_is_refused_before_anything_is(
    store: BakedMemoryStore, key: str, value: Any, told: str
) -> None:
    """Also where it comes last in a batch."""
    with pytest.raises(InputError, match=told):
        store.batch([PutOp(ALICE, "dog", DOG), PutOp(ALICE, key, value)])
    assert store.search(()) == []


def test_what_may_not_be_stored_is_refused_before_anything_is(unloaded: Unloaded) -> None:
    """By the redaction, also where it comes last in a batch."""
    store = BakedMemoryStore(unloaded(redaction="refuse"), role="operator")
    mail = {"text": "Write to ann@example.org."}
    with pytest.raises(InputError, match="email"):
        store.batch([PutOp(("default",), "dog", DOG), PutOp(("default",), "mail", mail)])
    assert store.search(()) == []


@pytest.mark.parametrize(("value", "kept"), [
    ({"note": "My card:\n4111111111111111", "n": 1}, {"note": "My card:\n[card]", "n": 1}),
    ({"note": "Write to\nann@example.org", "n": 1}, {"note": "Write to\n[email]", "n": 1}),
    ({"cards": [4111111111111111, None, True], "n": 1}, {"cards": ["[card]", None, True], "n": 1}),
    ({"of": {"ann@example.org": 1.5}, "n": 1}, {"of": {"[email]": 1.5}, "n": 1}),
])  # fmt: skip
def test_a_value_is_redacted_in_its_parts_and_keeps_its_shape(
    unloaded: Unloaded, tmp_path: Path, value: dict[str, Any], kept: dict[str, Any]
) -> None:
    """As JSON a line break hid a number beside it, and a mask in the place of a number was no JSON."""
    memory = unloaded(redaction="mask")
    store = BakedMemoryStore(memory, role="operator")
    store.put(("default",), "a", value)
    assert [i.value for i in store.search(("default",), filter={"n": 1})] == [kept]
    with pytest.raises(InputError, match="key"):
        store.put(("default",), "ann@example.org", DOG)
    with pytest.raises(InputError, match="Two keys"):
        store.put(("default",), "b", {"ann@example.org": 1, "bob@example.org": 2})
    memory.close()
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("journal.db*"))
    assert not any(secret in raw for secret in (b"4111111111111111", b"example.org", b"example.org".hex().encode()))


def test_unknown_operations_are_refused(store: BakedMemoryStore) -> None:
    """And unknown operators of filters."""
    store.put(ALICE, "dog", DOG)
    with pytest.raises(InputError, match=r"\$in"):
        store.search(ALICE, filter={"text": {"$in": ["x"]}})
    with pytest.raises(InputError, match="str is not known"):
        store.batch(["get"])  # type: ignore[list-item]
    assert store.search(ALICE, filter={"text": {"$gt": 1}}) == []
    assert store.batch([ListNamespacesOp((MatchCondition("prefix", ("*",)),))]) == [[ALICE]]


@settings(max_examples=50)
@given(
    key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=24),
    value=st.one_of(
        st.builds(lambda text: {"text": text}, st.text(max_size=40) | st.just('{"text": "x"}') | st.just("{")),
        st.dictionaries(st.text(max_size=5), st.recursive(st.none() | st.booleans() | st.integers() | st.text(),
                                                         lambda inner: st.lists(inner, max_size=3)), max_size=3),
    ),
)  # fmt: skip
def test_whatever_is_kept_comes_back_as_it_was(key: str, value: dict[str, Any]) -> None:
    """Keys and values survive the way to a memory and back; what does not is refused."""
    assert _key(_slug(key)) == key
    assert _value(_text(value).strip()) == value


def test_an_agents_tools_reach_it(store: BakedMemoryStore, memories: Namespaces) -> None:
    """Through the runtime, as any store; the next run's model has what was put."""

    @tool
    def note(text: str, runtime: ToolRuntime) -> str:
        """Keep a note."""
        assert runtime.store is not None
        runtime.store.put(ALICE, "note", {"text": text})
        return "Noted."

    model = ScriptedChatModel(says=[call("note", text="The user lives in Tarn.")])
    agent = create_agent(model, tools=[note], store=store, middleware=[BakedMemoryMiddleware(memories("users.alice"))])
    for _ in range(2):
        agent.invoke({"messages": ["Hi."]})  # type: ignore[arg-type]
    assert "Tarn" in model.systems[-1]


def test_it_is_all_there_after_a_restart(tmp_path: Path) -> None:
    """With a real index, and a key that is no slug."""
    for _ in range(2):
        with Namespaces(tmp_path) as memories:
            store = BakedMemoryStore(memories, role="operator")
            store.put(ALICE, "Dog No. 1", DOG)
            assert store.list_namespaces() == [ALICE]
            assert [i.key for i in store.search((), query="dog")] == ["Dog No. 1"]


@pytest.mark.parametrize("key", ["", "/memories/" + "x" * 200])
def test_what_could_not_be_put_is_not_there(any_store: BaseStore, key: str) -> None:
    """Neither an error nor an end to all the other operations of a batch, whatever the namespace."""
    any_store.put(ALICE, "dog", DOG)
    for namespace in (ALICE, BOB, ("a\nb" * 99,)):
        assert any_store.get(namespace, key) is None
        any_store.delete(namespace, key)
    found, missing = any_store.batch([GetOp(ALICE, "dog"), GetOp(ALICE, key)])
    assert isinstance(found, Item)
    assert (found.value, missing) == (DOG, None)


def test_of_another_users_nothing_is_deleted(memory: AgentMemory) -> None:
    """A store of one user has nothing of them."""
    kept = memory.remember("Tea.", key="tea")
    BakedMemoryStore(memory, role="operator").delete(BOB, "tea")
    assert memory.memories() == [kept]
