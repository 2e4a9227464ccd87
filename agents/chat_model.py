"""A LangChain chat model that answers from baked memory: pending memories in its prompt, the rest in its weights.

Ties messages to `AgentMemory.respond`; the base model's own chat template writes tools. Knows no middleware.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, aclosing
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LangSmithParams, LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel, agenerate_from_stream, generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.outputs import ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough, run_in_executor
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr, SkipValidation, field_validator, model_validator

from bakemem.agent_memory import AgentMemory
from bakemem.chat_options import ChatOptions
from bakemem.errors import BusyError, ContextError, InputError, NotFoundError
from bakemem.serving import Reply

from .asked import Asked, Patience, TooLong
from .forms import asked_schema, beginning, chosen_tool, held_to, json_schema, tool_name
from .messages import turns_of
from .namespaces import Namespaces
from .tool_calls import Listener

_IGNORED = ("strict", "parallel_tool_calls", "tools", "tool_choice", "ls_structured_output_format", "json_schema",
            "response_format", "stream")  # fmt: skip


class BakedChatModel(BaseChatModel):
    """A chat model over an `AgentMemory`: `BakedChatModel(memory=memory)`, or `BakedChatModel(home="./memory")`.

    The live version answers, with pending memories in its prompt; `version` pins another (`base`: none), `strength`
    scales it. A memory that is opened from `home` is opened when it is first needed, shared by the model's copies
    (which LangChain makes for each call with `configurable_fields`), and closed by `close`.
    Each reply's `response_metadata` names the version that gave it. With `window` the oldest turns are left out of a
    conversation that is too long for the model, which is an error without. Tool calls and structured output are held
    to their schemas as they are written, unless `strict` is off.
    """

    model_config = ConfigDict(populate_by_name=True, arbitrary_types_allowed=True, extra="forbid")

    memory: SkipValidation[AgentMemory | None] = Field(default=None, exclude=True, repr=False)
    home: str | None = None
    model_name: str | None = Field(default=None, alias="model")
    namespace: str = "default"
    version: str | None = None
    strength: float = 1.0
    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float = 1.0
    seed: int | None = None
    stop_sequences: list[str] = Field(default_factory=list, alias="stop")
    timeout: float | None = None
    max_retries: int = 2
    window: bool = False
    strict: bool = True
    logprobs: bool = False
    streaming: bool | None = None  # LangChain takes a False, also of a copy that sets all fields, for "never stream"
    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False, description="not used: it runs here")
    opened: SkipValidation[dict[str, Namespaces]] = Field(default_factory=dict, exclude=True, repr=False)
    _known: dict[str, str] | None = PrivateAttr(default=None)  # of a copy for one reply, read before it begins

    @field_validator("home", mode="before")
    @classmethod
    def _as_text(cls, home: Any) -> Any:
        return os.fspath(home) if isinstance(home, os.PathLike) else home

    @model_validator(mode="after")
    def _has_a_memory(self) -> BakedChatModel:
        if self.memory is not None:
            for name, value in _place(self.memory).items():
                given = getattr(self, name) if name in self.model_fields_set else None
                if name == "home" and given is not None:
                    given = str(Path(given).expanduser().absolute())
                if given not in (None, value):
                    raise ValueError(f"{name} is {given!r}, but the memory's is {value!r}: give the memory alone.")
                setattr(self, name, value)
        elif self.home is None:
            raise ValueError("Give a memory (memory=bakemem.open(...)) or the folder of one (home=...).")
        else:
            self.home = str(Path(self.home).expanduser().absolute())  # wherever the program goes on to work
            if (model := self._homes.settings["model"]) != self.model_name:
                raise ValueError(f"{self.home} was given the model {model!r}: give {self.model_name!r} another home.")
        return self

    def of(self, memory: AgentMemory) -> BakedChatModel:
        """The same model over another memory."""
        return self.model_copy(update={"memory": memory, **_place(memory)})

    def close(self) -> None:
        """Close the memory if it was opened here, for the model's copies too; it is opened again when it is needed."""
        with ExitStack() as ending:  # whatever fails, the rest is closed
            for homes in list(self.opened.values()):
                ending.callback(homes.release)

    @property
    def _memory(self) -> AgentMemory:
        return self.memory if self.memory is not None else self._homes(self.namespace)

    @property
    def _homes(self) -> Namespaces:
        """The memories of the home, which a copy may have another of."""
        home = str(Path(str(self.home)).expanduser().absolute())
        return self.opened.get(home) or self.opened.setdefault(home, Namespaces(home, model=self.model_name))

    # ---- what LangChain asks of a model

    @property
    def _llm_type(self) -> str:
        return "bakemem"

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """It is, by the folder of its memory; there are no secrets."""
        return True

    @classmethod
    def get_lc_namespace(cls) -> list[str]:
        """Where it is imported from."""
        return ["bakemem", "agents", "chat_model"]

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """What an answer depends on: a cache that is keyed by it never answers from an older memory."""
        knowing = self._known if self._known is not None else self._knowing(self.version)
        return {
            "home": self.home, "namespace": self.namespace, "model": self.model_name, **knowing,
            "strength": self.strength, "temperature": self.temperature, "max_tokens": self.max_tokens,
            "top_p": self.top_p, "seed": self.seed, "stop": self.stop_sequences, "strict": self.strict,
            "logprobs": self.logprobs, "window": self.window,
        }  # fmt: skip

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        model = self._ready(kwargs) if self._known is None else self
        known = {**model._identifying_params, **kwargs, **(model._known or {}), "stop_now": stop}
        return f"{self._llm_type} {json.dumps(known, sort_keys=True, default=str)}"

    def _ready(self, kwargs: dict[str, Any]) -> BakedChatModel:
        """A copy for one reply with these options, which has read what the reply knows."""
        ready = self.model_copy()
        ready._known = self._knowing(kwargs.get("version", self.version))
        return ready

    def _knowing(self, version: str | None) -> dict[str, str]:
        """What a reply knows: the id of the version that gives it, as names move on, and the moment of the memory.

        A moment never comes again: what was asked in one and answered in the next is in no cache for a third.
        """
        memory = self._memory
        moment = memory.moment() if version is None else ""
        name = version or memory.live or "base"
        try:
            found = name if name == "base" else memory.servable(name).id
        except (NotFoundError, InputError) as error:  # nothing was ever kept under that
            found = str(error)
        return {"version": found, "moment": moment}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = LangSmithParams(ls_provider="bakemem", ls_model_type="chat",
                                 ls_model_name=str(kwargs.get("model") or self.model_name or "starter"))  # fmt: skip
        temperature, longest = kwargs.get("temperature", self.temperature), kwargs.get("max_tokens", self.max_tokens)
        if temperature is not None:
            params["ls_temperature"] = temperature
        if longest is not None:
            params["ls_max_tokens"] = longest
        if stops := stop or self.stop_sequences:
            params["ls_stop"] = stops
        return params

    def get_token_ids(self, text: str) -> list[int]:
        """The token ids of a text, by the base model's tokenizer."""
        return self._memory.base.template.ids(text)

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], *,
        tool_choice: str | bool | dict[str, Any] | None = None, parallel_tool_calls: bool | None = None, **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:  # fmt: skip
        """The model with tools that it may call; `tool_choice` is auto, none, any, or the name of the one to call.

        With `parallel_tool_calls=False` only the first call of a reply is kept.
        """
        described = [convert_to_openai_tool(tool) for tool in tools]
        chosen = chosen_tool(tool_choice, [tool_name(tool) for tool in described])
        if parallel_tool_calls is not None:
            kwargs["parallel_tool_calls"] = parallel_tool_calls
        return self.bind(tools=described, tool_choice=chosen, **kwargs)

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False,
        method: Literal["function_calling", "json_mode", "json_schema"] = "function_calling", **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:  # fmt: skip
        """Answers in a schema's form: by a call of a tool with that schema (`json_schema` too), or in `json_mode` as
        JSON that your prompt asks for. Keys come in the schema's order. With `strict=False` it is held to nothing.
        """
        strict = kwargs.pop("strict", None)
        if strict is not None and strict != self.strict:
            held = self.model_copy(update={"strict": strict})
            return held.with_structured_output(schema, include_raw=include_raw, method=method, **kwargs)
        if method in ("function_calling", "json_schema"):
            return super().with_structured_output(schema, include_raw=include_raw, **kwargs)
        if method != "json_mode":
            raise ValueError(f"Method {method!r} is not known: give function_calling, json_schema or json_mode.")
        if kwargs:
            raise ValueError(f"The argument {min(kwargs)!r} is not known: give schema, include_raw, method or strict.")
        shown = {"kwargs": {"method": method}, "schema": schema}
        asked = self.bind(ls_structured_output_format=shown, json_schema=json_schema(schema))
        parser: Runnable[Any, Any] = JsonOutputParser()
        if isinstance(schema, type) and is_basemodel_subclass(schema):
            parser = PydanticOutputParser(pydantic_object=schema)
        if not include_raw:
            return asked | parser
        parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
        unparsed = RunnablePassthrough.assign(parsed=lambda _: None)
        return RunnableMap(raw=asked) | parsed.with_fallbacks([unparsed], exception_key="parsing_error")

    # ---- replies

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any,
    ) -> ChatResult:  # fmt: skip
        return generate_from_stream(self._stream(messages, stop, run_manager, **kwargs))

    async def _agenerate(
        self, messages: list[BaseMessage], stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None, **kwargs: Any,
    ) -> ChatResult:  # fmt: skip
        return await agenerate_from_stream(self._astream(messages, stop, run_manager, **kwargs))

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:  # fmt: skip
        patience = self._patience(kwargs)
        while True:
            try:
                asked = self._ask(messages, stop, kwargs, patience.since)
                break
            except BusyError as error:
                time.sleep(patience.pause(error))
        with asked.in_time():
            for piece in asked.reply:
                if text := asked.listener.hear(piece):
                    yield ChatGenerationChunk(message=AIMessageChunk(content=text))
        yield from asked.rest()

    async def _astream(
        self, messages: list[BaseMessage], stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None, **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:  # fmt: skip
        patience = self._patience(kwargs)
        while True:
            try:
                asked = await run_in_executor(None, self._ask, messages, stop, kwargs, patience.since)
                break
            except BusyError as error:
                await asyncio.sleep(patience.pause(error))  # on the loop: a thread would be missed by others
        with asked.in_time():
            async for piece in asked.reply:
                if text := asked.listener.hear(piece):
                    yield ChatGenerationChunk(message=AIMessageChunk(content=text))
        for chunk in asked.rest():
            yield chunk

    async def agenerate(self, *args: Any, **kwargs: Any) -> LLMResult:
        """As LangChain's; the memory is opened and read in a thread, as the loop would stand still meanwhile."""
        ready = await run_in_executor(None, self._ready, kwargs)
        return await super(BakedChatModel, ready).agenerate(*args, **kwargs)

    async def astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[AIMessageChunk]:
        """As `agenerate`."""
        ready = await run_in_executor(None, self._ready, kwargs)
        stream: Any = super(BakedChatModel, ready).astream(*args, **kwargs)
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                yield chunk

    def _patience(self, kwargs: dict[str, Any]) -> Patience:
        return Patience(self.max_retries, kwargs.get("timeout", self.timeout))

    def _ask(self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any], since: float) -> Asked:
        """Begin a reply. Raises BusyError when too many wait."""
        turns = turns_of(messages)
        tools = kwargs.get("tools") or []
        names = [tool_name(tool) for tool in tools]
        if (choice := chosen_tool(kwargs.get("tool_choice"), names)) == "none":
            names = []
        base, strict = self._memory.base, kwargs.get("strict")
        prefix = beginning(base, choice, names)
        held = self.strict if strict is None else strict
        schema = asked_schema(kwargs, names)
        alone = kwargs.get("parallel_tool_calls") is False
        grammar = held_to(base, tools if names else [], choice, prefix, schema, alone=alone) if held else ""
        options = self._options(stop, kwargs)
        if turns[0].role == "system":
            options["system"] = turns.pop(0).content
        try:
            reply = self._memory.respond(turns, tools=tools if names else (), prefix=prefix, grammar=grammar, **options)
        except ContextError as error:
            raise TooLong(str(error)) from error
        listener = Listener(names, prefix, most=1 if alone else None)
        try:
            giver = self._giver(reply)
        except BaseException:
            reply.close()
            raise
        return Asked(reply, listener, giver, since, kwargs.get("timeout", self.timeout))

    def _giver(self, reply: Reply) -> dict[str, str]:
        """Who gives a reply: without a name of its own the model is the one that the home's settings name."""
        memory, given = self._memory, reply.adapter_id
        version = (given and memory.name_of(given)) or "base"
        return {"model_name": self.model_name or memory.config.model, "adapter_version": version}

    def _options(self, stop: list[str] | None, kwargs: dict[str, Any]) -> ChatOptions:
        own: dict[str, Any] = {
            "version": self.version, "strength": self.strength, "temperature": self.temperature, "seed": self.seed,
            "max_tokens": self.max_tokens, "top_p": self.top_p, "logprobs": self.logprobs, "window": self.window,
            "timeout": self.timeout,
        }  # fmt: skip
        if unknown := [name for name in kwargs if name not in own and name not in _IGNORED]:
            raise InputError(f"The option {unknown[0]!r} is not known: give one of {', '.join(sorted(own))}.")
        own |= {name: value for name, value in kwargs.items() if name in own}
        return ChatOptions(
            version=own["version"], strength=own["strength"], temperature=own["temperature"], seed=own["seed"],
            max_new_tokens=own["max_tokens"], top_p=own["top_p"], logprobs=own["logprobs"], window=own["window"],
            stop=stop if stop is not None else self.stop_sequences,
        )  # fmt: skip


def _place(memory: AgentMemory) -> dict[str, str]:
    """Where a memory is kept, as the fields that would open it again."""
    return {"home": str(memory.home), "model_name": memory.config.model, "namespace": memory.namespace}
