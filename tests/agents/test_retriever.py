"""The retriever: LangChain's own suite on it, and what a document tells of its memory."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.retrievers import BaseRetriever
from langchain_tests.integration_tests import RetrieversIntegrationTests
from pydantic import ValidationError

from bakemem.agent_memory import AgentMemory
from bakemem.agents.retriever import BakedMemoryRetriever
from bakemem.errors import InputError

TEXTS = ["The user's dog is called Bosuk.", "The dog of Ann is Rex.", "A dog barks.", "Answer with a dog."]


@pytest.fixture
def told(memory: AgentMemory) -> AgentMemory:
    """A memory of dogs, one of which waits in quarantine."""
    for i, text in enumerate(TEXTS):
        memory.remember(text, key=f"dog.n{i}")
    memory.remember("The user's dog is called Max.", key="dog.max", role="assistant")
    return memory


class TestStandard(RetrieversIntegrationTests):
    """LangChain's suite."""

    @pytest.fixture(autouse=True)
    def _memory(self, told: AgentMemory) -> None:
        type(self).memory = told

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        """The class."""
        return BakedMemoryRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        """Its arguments."""
        return {"memory": self.memory}  # type: ignore[attr-defined]

    @property
    def retriever_query_example(self) -> str:
        """A question."""
        return "What is my dog called?"


def test_a_document_is_a_memory(told: AgentMemory) -> None:
    """The nearest first, with its id, key, kind and origin, and nothing that waits in quarantine."""
    found = BakedMemoryRetriever(memory=told, k=9).invoke("What is the user's dog called?")
    assert sorted(d.page_content for d in found) == sorted(TEXTS)
    assert found[0].page_content == TEXTS[0]
    [memory] = told.memories(key="dog.n0")
    assert found[0].id == memory.id
    assert found[0].metadata == {
        "key": "dog.n0", "kind": "fact", "status": "pending", "namespace": "default",
        "created": memory.created.isoformat(), "role": "user", "source": "user", "conversation": "",
    }  # fmt: skip


def test_one_kind(told: AgentMemory) -> None:
    """Where only instructions, or only facts, are wanted."""
    found = BakedMemoryRetriever(memory=told, kind="instruction").invoke("dog")
    assert [d.page_content for d in found] == ["Answer with a dog."]


async def test_a_question_may_ask_for_fewer(told: AgentMemory) -> None:
    """In asyncio too, where LangChain's own way knows no `k`."""
    retriever = BakedMemoryRetriever(memory=told)
    assert len(retriever.invoke("dog", k=2)) == len(await retriever.ainvoke("dog", k=2)) == 2
    assert [len(found) for found in await retriever.abatch(["dog", "Rex"], k=1)] == [1, 1]


def test_nothing_is_found_for_nothing(told: AgentMemory) -> None:
    """An empty question has no nearest memory, and fewer than one cannot be asked for."""
    retriever = BakedMemoryRetriever(memory=told)
    assert retriever.invoke(" ") == []
    with pytest.raises(InputError, match="k is 0"):
        retriever.invoke("dog", k=0)
    with pytest.raises(ValidationError):
        BakedMemoryRetriever(memory=told, k=0)


def test_a_function_of_namespaces_is_no_memory(memory: AgentMemory) -> None:
    """It is told where the retriever is made, and how to take one."""
    with pytest.raises(ValidationError, match="memories"):
        BakedMemoryRetriever(memory=lambda namespace: memory)
