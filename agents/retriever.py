"""A LangChain retriever over a memory: what is remembered, nearest in meaning first, as documents.

Knows `recall` and nothing else; for chains that want memories as context of their own.
"""

from __future__ import annotations

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import run_in_executor
from pydantic import ConfigDict, Field, SkipValidation, field_validator

from bakemem.agent_memory import AgentMemory
from bakemem.errors import InputError
from bakemem.types import Kind, Memory


class BakedMemoryRetriever(BaseRetriever):
    """The `k` live memories nearest in meaning to a query, of one `kind` where it is given.

    `retriever.invoke(query, k=3)` asks for another number. What waits in quarantine is not found. Do not let what was
    recalled be observed again: it is what the memory said, not its user.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    memory: SkipValidation[AgentMemory] = Field(exclude=True, repr=False)
    k: int = Field(default=5, ge=1)
    kind: Kind | None = None

    @field_validator("memory", mode="before")
    @classmethod
    def _is_one_memory(cls, memory: object) -> object:
        if not hasattr(memory, "recall"):
            raise ValueError("Give one memory: that of a namespace is memories('alice') of a Namespaces.")
        return memory

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        """Raises InputError for a `k` below 1."""
        if k is not None and k < 1:
            raise InputError(f"k is {k}: ask for one memory at least.")
        return [_document(m) for m in self.memory.recall(query, k or self.k, kind=self.kind)]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        """As the other, in a thread. LangChain's own knows no `k`."""
        found = self._get_relevant_documents
        return await run_in_executor(None, found, query, run_manager=run_manager.get_sync(), k=k)


def _document(memory: Memory) -> Document:
    source = memory.provenance
    return Document(memory.text, id=memory.id, metadata={
        "key": memory.key, "kind": memory.kind, "status": memory.status, "namespace": memory.namespace,
        "created": memory.created.isoformat(), "role": source.role, "source": source.source,
        "conversation": source.conversation,
    })  # fmt: skip
