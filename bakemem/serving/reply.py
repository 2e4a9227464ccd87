"""A reply as it comes: an iterator for threads and for asyncio, with what it cost when it has ended.

Knows no models. An engine holds the `Channel` and the caller the `Reply`, so that one whom nobody reads any more is
noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from bakemem.errors import ServingError

Finish = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token of a reply, its text, and its log-probability in nats."""

    token: int
    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a reply ended (`length`: no room was left), and its tokens.

    `cached_tokens` are those of the prompt that had been read before, `dropped_turns` those that did not fit.
    """

    finish: Finish
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    dropped_turns: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()


class Channel:
    """From the engine's thread to the reader's: pieces, then an ending or an error.

    `unbegun` is how it ends when it is cancelled before `begin`.
    """

    def __init__(self, unbegun: Ending) -> None:
        self.changed = threading.Condition()
        self.pieces: deque[str] = deque()
        self.ending: Ending | None = None
        self.error: Exception | None = None
        self.cancelled = False
        self.wake: Callable[[], None] | None = None
        self._unbegun: Ending | None = unbegun

    @property
    def over(self) -> bool:
        """Whether nothing more comes."""
        return self.ending is not None or self.error is not None

    def begin(self) -> None:
        """The reply has its place."""
        with self.changed:
            self._unbegun = None

    def put(self, piece: str) -> None:
        """One more piece of text."""
        self._tell(lambda: self.pieces.append(piece))

    def end(self, ending: Ending | Exception) -> None:
        """Nothing more comes; what was ended stays so."""

        def close() -> None:
            if self.over:
                return
            if isinstance(ending, Ending):
                self.ending = ending
            else:
                self.error = ending

        self._tell(close)

    def cancel(self) -> None:
        """The reader wants no more: the engine ends the reply at its next token, and one that has no place ends now."""
        with self.changed:
            self.cancelled = True
            if self._unbegun is not None:
                self.end(self._unbegun)

    def _tell(self, change: Callable[[], None]) -> None:
        with self.changed:
            change()
            wake, self.wake = self.wake, None
            self.changed.notify_all()
        if wake:
            wake()


class Reply:
    """One reply in pieces of text, pinned to one adapter. Iterate over it, `async for` over it, or take `text()`.

    One that is closed, or let go of, frees its place. Iterating raises ServingError when the engine could not go on.
    """

    def __init__(self, channel: Channel, adapter_id: str | None) -> None:
        self._channel = channel
        self.adapter_id = adapter_id

    def __iter__(self) -> Reply:
        return self

    def __next__(self) -> str:
        with self._channel.changed:
            try:
                self._channel.changed.wait_for(self._ready)
            except BaseException:  # Ctrl-C, or another signal: nobody reads on
                self.close()
                raise
            piece = self._take()
        if piece is None:
            raise StopIteration
        return piece

    def __aiter__(self) -> Reply:
        return self

    async def __anext__(self) -> str:
        loop = asyncio.get_running_loop()
        while True:
            arrived = asyncio.Event()
            with self._channel.changed:
                if self._ready():
                    piece = self._take()
                    break
                self._channel.wake = partial(_wake, loop, arrived)
            try:
                await arrived.wait()
            except asyncio.CancelledError:
                self.close()
                raise
        if piece is None:
            raise StopAsyncIteration
        return piece

    def text(self) -> str:
        """What is left of the reply, waited for."""
        return "".join(self)

    async def atext(self) -> str:
        """As `text`, for asyncio."""
        return "".join([piece async for piece in self])

    @property
    def ending(self) -> Ending:
        """Why it ended, and its tokens. Raises ServingError while it has not."""
        if self._channel.ending is None:
            raise self._channel.error or ServingError("The reply has not ended yet: read it to its end first.")
        return self._channel.ending

    def close(self) -> None:
        """Wants no more of it; one that waits for a place ends at once."""
        self._channel.cancel()

    def __del__(self) -> None:
        self._channel.cancel()

    def _ready(self) -> bool:
        return bool(self._channel.pieces) or self._channel.over

    def _take(self) -> str | None:
        if self._channel.pieces:
            return self._channel.pieces.popleft()
        if self._channel.error:
            raise self._channel.error
        return None


def _wake(loop: asyncio.AbstractEventLoop, arrived: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits there any more
        loop.call_soon_threadsafe(arrived.set)
