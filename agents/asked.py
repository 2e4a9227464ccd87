"""A reply of a baked model on its way to LangChain: read in time, and ended with calls, tokens and its version.

Knows replies and chunks; knows no memory.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk

from bakemem.errors import BusyError, ContextError, ServingError
from bakemem.memory import storable
from bakemem.serving import Ending, Reply

from .tool_calls import Listener


class TooLong(ContextError, ContextOverflowError):
    """The conversation is longer than the model reads: an error of bakemem's tree and of LangChain's."""


class TimedOut(ServingError, TimeoutError):
    """The reply took longer than it was given."""


class Patience:
    """How long a reply waits for its place: it is asked for again up to `most` times, within `timeout` seconds."""

    def __init__(self, most: int, timeout: float | None) -> None:
        self.since, self._timeout = time.monotonic(), timeout
        self._pauses = iter([0.5 * 2.0**i for i in range(most)])

    def pause(self, error: BusyError) -> float:
        """Seconds until the next try. Raises the error when there is none, TimedOut when it would come too late."""
        if (pause := next(self._pauses, None)) is None:
            raise error
        if self._timeout is not None and time.monotonic() + pause - self.since >= self._timeout:
            raise TimedOut(f"There was no place for a reply in {self._timeout} seconds: ask again later.") from error
        return pause


@dataclass(frozen=True, slots=True)
class Asked:
    """A reply that has begun, who listens to it, and who gives it; it was asked for at `since` (of `time.monotonic`)
    and may take `timeout` seconds.
    """

    reply: Reply
    listener: Listener
    giver: Mapping[str, str]
    since: float
    timeout: float | None

    @contextmanager
    def in_time(self) -> Iterator[None]:
        """Inside, the reply is read; it frees its place when it takes too long, or is read no more."""
        timer = None
        if self.timeout is not None:
            timer = threading.Timer(max(0.0, self.since + self.timeout - time.monotonic()), self.reply.close)
        try:
            if timer:
                timer.daemon = True  # a program may end though somebody still holds the reply
                timer.start()
            yield
            if timer and self.reply.ending.finish == "cancelled":
                raise TimedOut(f"The reply took longer than {self.timeout} seconds: ask for fewer tokens, or wait.")
        finally:
            if timer:
                timer.cancel()
            self.reply.close()

    def rest(self) -> Iterator[ChatGenerationChunk]:
        """What comes when the reply has ended: text that was held back, calls one by one, tokens and who gave it.

        Of a last chunk LangChain's streams of events take only calls that can be read, so it has none.
        """
        found, ending = self.listener.end(), self.reply.ending
        written = [tuple(map(storable, (name, json.dumps(values, ensure_ascii=False)))) for name, values in found.calls]
        broken = [(None, f"<tool_call>{text}") for text in found.broken]  # no JSON, which half of it might pass for
        chunks = [
            tool_call_chunk(name=name, args=arguments, id=uuid.uuid4().hex[:9], index=i)  # Mistral: nine
            for i, (name, arguments) in enumerate([*written, *broken])
        ]
        metadata: dict[str, Any] = {"model_provider": "bakemem", "finish_reason": ending.finish, **self.giver}
        if ending.dropped_turns:
            metadata["dropped_turns"] = ending.dropped_turns
        if ending.logprobs:
            metadata["logprobs"] = {"content": [{"token": t.text, "logprob": t.logprob} for t in ending.logprobs]}
        if found.text:
            yield ChatGenerationChunk(message=AIMessageChunk(content=found.text))
        for chunk in chunks:
            yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[chunk]))
        yield ChatGenerationChunk(message=AIMessageChunk(
            content="", usage_metadata=_usage(ending), response_metadata=metadata, chunk_position="last",
        ))  # fmt: skip


def _usage(ending: Ending) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=ending.prompt_tokens, output_tokens=ending.completion_tokens,
        total_tokens=ending.prompt_tokens + ending.completion_tokens,
        input_token_details=InputTokenDetails(cache_read=ending.cached_tokens),
    )  # fmt: skip
