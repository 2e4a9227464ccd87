"""Baked memory for `create_agent`: its model answers with what is remembered, and what its user says is remembered.

Knows LangChain's middleware and an `AgentMemory`; reads no memories itself, that goes on behind the chat.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any, NotRequired

from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse
from langchain.agents.middleware.types import PrivateStateAttr
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.runnables import Runnable, run_in_executor
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import RunnableConfigurableFields
from langgraph.config import get_config
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.runtime import Runtime
from langgraph.types import Command

from bakemem.agent_memory import AgentMemory
from bakemem.errors import HomeError, InputError
from bakemem.memory import LIVE, consolidate
from bakemem.prompts import system_text
from bakemem.types import Memory, Turn

from .chat_model import BakedChatModel
from .hearing import digest, turn_of
from .namespaces import Memories, memory_of, thread_of

_LOG = logging.getLogger(__name__)
_LEAST_TOKENS = 4  # of a fact: hardly any is shorter
_IN_A_TOOL = ContextVar("_IN_A_TOOL", default=False)  # a sub-agent with a thread of its own shows it by nothing else


class MemoryState(AgentState[Any]):
    """An agent's state, with what is known of its user's messages, by their ids: of those that were heard or that came
    before this middleware, digests of how they came and how they read at the end; and from the beginning of a run to
    its end the others, as the run got them.
    """

    bakemem_known: NotRequired[Annotated[dict[str, list[str]], PrivateStateAttr]]
    bakemem_said: NotRequired[Annotated[dict[str, str] | None, PrivateStateAttr]]


class BakedMemoryMiddleware(AgentMiddleware[MemoryState, Any, Any]):
    """Gives the agent's model its memory, and lets the memory listen to the agent's user.

    A `BakedChatModel`, bound or not, is asked over the memory of the run's namespace, and answers from its weights. Any
    other chat model has weights that are not ours: there this is *prompt memory*, said once in the log. Instructions,
    and facts up to `fact_tokens` tokens (else those nearest in meaning to what the user said last), are added to the
    system message of each call; they cost tokens, and fade in long conversations, as any prompt does.

    Heard is what the user says (human messages that no middleware made) once the model has answered it: by then it is
    redacted where that is asked for, and not yet summarised away. What other middleware writes around it is left out;
    where that has become another text, it is a document's, and goes to quarantine. Each message is heard once. The
    messages of an agent that runs inside another graph or in a tool of such an agent, as a sub-agent, may be a model's
    own: they are heard with `observe=True` only; with `observe=False` nothing is. One that cannot be kept is left out,
    with a warning.

    `memory` is an `AgentMemory`, or a function from a namespace to one (`Namespaces`); then the run's context names the
    namespace. A conversation bears its thread's id, if it has one.
    """

    state_schema = MemoryState

    def __init__(self, memory: Memories, *, observe: bool | None = None, fact_tokens: int = 1_000) -> None:
        super().__init__()
        self._memories, self._observe, self._fact_tokens = memory, observe, fact_tokens
        self._told = False

    # ---- what the model is given

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Calls the model with what is remembered. Raises InputError as `memory_of` does, and for a model of which
        nobody can see whether it is a baked one.
        """
        return handler(self._remembering(request))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """As `wrap_model_call`; the memory is asked in a thread."""
        return await handler(await run_in_executor(None, self._remembering, request))

    def _remembering(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        memory = memory_of(self._memories, request.runtime.context)
        if (ours := _over(memory, request.model)) is not None:
            return request.override(model=ours)
        self._tell(type(request.model).__name__)
        said = next((str(m.text) for m in reversed(request.messages) if _is_the_users(m)), "")
        prompt = prompt_memory(memory, said, self._fact_tokens)
        return request.override(system_message=_with(request.system_message, prompt)) if prompt else request

    def _tell(self, model: str) -> None:
        if not self._told:
            self._told = True
            _LOG.warning(
                "%s has weights that are not ours, so its memories are in its prompt: they cost tokens in every call. "
                "Take BakedChatModel to have them in the weights.", model,
            )  # fmt: skip

    # ---- who speaks

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        """Runs the tool; what an agent is told in it is a model's word."""
        with _in_a_tool():
            return handler(request)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        """As `wrap_tool_call`."""
        with _in_a_tool():
            return await handler(request)

    def _listens(self, runtime: Runtime[Any]) -> bool:
        return not _nested(runtime) if self._observe is None else self._observe

    # ---- what the user says

    def before_agent(self, state: MemoryState, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Keeps what the user says, and says otherwise now, before other middleware writes into it.

        Passes over what was answered before this middleware was there: an example, or heard in an earlier run.
        """
        if not self._listens(runtime):
            return None
        texts, known, unended = _texts(state["messages"]), state.get("bakemem_known"), state.get("bakemem_said")
        if known is None:
            known = _seen(_texts(_answered(state["messages"])), {}, {})
        elif unended is None:  # else the run before may have failed and left its documents in a message
            known = {i: kept for i, kept in known.items() if i in texts and digest(texts[i]) in kept}
        new = {i: text for i, text in texts.items() if i not in known}
        return {"bakemem_known": known, "bakemem_said": new | _some(unended or {}, new)}

    def after_model(self, state: MemoryState, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Observes what the user said and was not heard yet."""
        if not self._listens(runtime):
            return None
        texts, said = _texts(state["messages"]), state.get("bakemem_said") or {}
        if (known := state.get("bakemem_known")) is None:  # a run that goes on from before this middleware was there
            return {"bakemem_known": _seen(texts, {}, {})}
        new = {i: turn_of(said.get(i), text) for i, text in texts.items() if i not in known}
        if not new:
            return None
        memory = memory_of(self._memories, runtime.context)
        conversation = thread_of(runtime.execution_info)
        # One by one, so that one that cannot be kept costs no other.
        lost = {i for i, turn in new.items() if not _hear(memory, turn, conversation, i)}
        # Of messages that were removed nothing has to be known any more.
        kept = {i: text for i, text in texts.items() if i not in lost}
        return {"bakemem_known": _seen(kept, known, said), "bakemem_said": _some(said, lost)}

    async def aafter_model(self, state: MemoryState, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """As `after_model`, in a thread."""
        return await run_in_executor(None, self.after_model, state, runtime)

    def after_agent(self, state: MemoryState, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Notes how heard messages read at the run's end: one that comes in other words later was edited by its user.

        On other branches of a thread the journal knows what was heard.
        """
        if not self._listens(runtime):
            return None
        texts, known, said = _texts(state["messages"]), state.get("bakemem_known"), state.get("bakemem_said")
        heard = texts if known is None else _some(texts, known)
        return {"bakemem_known": _seen(heard, known or {}, {}), "bakemem_said": said or None}


def _nested(runtime: Runtime[Any]) -> bool:
    """Whether the run was begun by a tool, or in the thread of another graph by one of its nodes."""
    info = runtime.execution_info
    if _IN_A_TOOL.get() or (info is not None and "|" in info.checkpoint_ns):
        return True
    # With a thread of its own a sub-agent has a namespace of its own, and its caller's in what it inherits.
    return bool(get_config().get("metadata", {}).get("checkpoint_ns"))


@contextmanager
def _in_a_tool() -> Iterator[None]:
    token = _IN_A_TOOL.set(True)
    try:
        yield
    finally:
        _IN_A_TOOL.reset(token)


def _over(memory: AgentMemory, model: Runnable[Any, Any]) -> Any:
    """A baked model over this memory, in the bindings that it has; None for one whose weights are not ours."""
    if isinstance(model, BakedChatModel):
        return model.of(memory)
    for kind, inner in ((RunnableBindingBase, "bound"), (RunnableConfigurableFields, "default")):
        if isinstance(model, kind):
            ours = _over(memory, getattr(model, inner))
            return None if ours is None else model.model_copy(update={inner: ours})
    if isinstance(model, BaseChatModel):
        return None
    raise InputError(
        f"The agent's model is a {type(model).__name__}, and what is in it cannot be seen: it might answer from "
        "another's memory. Give the chat model itself, and ModelFallbackMiddleware or ModelRetryMiddleware beside it."
    )


def _hear(memory: AgentMemory, turn: Turn, conversation: str, message_id: str) -> bool:
    """Whether the memory needs no second try; the chat goes on without it."""
    try:
        memory.observe([turn], conversation, message_id=message_id)
    except InputError as error:
        _LOG.warning("Nothing is remembered of a message: %s", error)
    except HomeError as error:
        _LOG.warning("A message is observed again after the next answer: %s", error)
        return False
    return True


def prompt_memory(memory: AgentMemory, said: str, fact_tokens: int) -> str:
    """The memory prompt for a model whose weights are not ours: all instructions, and the facts that fit.

    That is all of them, or those nearest in meaning to `said` (the newest, where nothing was said).
    """
    instructions = memory.memories(tuple(LIVE), kind="instruction")
    most = fact_tokens // _LEAST_TOKENS + 1
    facts = memory.recall(said, most, kind="fact")
    if len(facts) < most:  # else there are more than fit: only then are all of them not worth a look
        facts = [*facts, *_others(memory, facts)]
    return consolidate([*instructions, *_fitting(facts, fact_tokens)]).text


def _others(memory: AgentMemory, facts: Sequence[Memory]) -> list[Memory]:
    """All other facts, the newest first."""
    known = {m.id for m in facts}
    return [m for m in reversed(memory.memories(tuple(LIVE), kind="fact")) if m.id not in known]


def _fitting(facts: Sequence[Memory], tokens: int) -> list[Memory]:
    """The first facts, up to so many tokens."""
    chosen, left = list[Memory](), tokens
    for fact in facts:
        left -= count_tokens_approximately([HumanMessage(fact.text)], extra_tokens_per_message=1, count_name=False)
        if left < 0:
            break
        chosen.append(fact)
    return chosen


def _with(message: SystemMessage | None, prompt: str) -> SystemMessage:
    """The caller's system message with the memory prompt after it."""
    if message is None:
        return SystemMessage(prompt)
    if isinstance(message.content, str):
        return message.model_copy(update={"content": system_text(message.content, prompt)})
    return message.model_copy(update={"content": [*message.content, {"type": "text", "text": f"\n\n{prompt}"}]})


def _is_the_users(message: AnyMessage) -> bool:
    """Whether a person said it: summaries and notices are human messages too, but they name where they are from."""
    human = isinstance(message, HumanMessage) or (isinstance(message, ChatMessage) and message.role == "user")
    return human and not message.additional_kwargs.get("lc_source")


def _texts(messages: Sequence[AnyMessage]) -> dict[str, str]:
    """What the user's messages read like, by their ids."""
    return {str(m.id): str(m.text) for m in messages if _is_the_users(m)}


def _answered(messages: Sequence[AnyMessage]) -> Sequence[AnyMessage]:
    return messages[: max((i for i, m in enumerate(messages) if isinstance(m, AIMessage)), default=0)]


def _seen(
    texts: Mapping[str, str], known: Mapping[str, list[str]], said: Mapping[str, str]
) -> dict[str, list[str]]:  # fmt: skip
    """Digests of how each message came, and of how it reads."""
    came = {i: known[i][0] if i in known else digest(said.get(i, text)) for i, text in texts.items()}
    return {i: [came[i], digest(text)] for i, text in texts.items()}


def _some(texts: Mapping[str, str], ids: Container[str]) -> dict[str, str]:
    return {i: text for i, text in texts.items() if i in ids}
