"""Whose memory a run of an agent is about: one that is given, or one of a home's namespaces, opened when it is needed.

Knows homes, and where a run names its namespace; knows no agent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

import bakemem
from bakemem.agent_memory import AgentMemory
from bakemem.errors import HomeError, InputError
from bakemem.memory import clean_namespace

DEFAULT = "default"

Memories = AgentMemory | Callable[[str], AgentMemory]
"""One memory for every run, or a function that gives a namespace's memory, such as `Namespaces`."""


def memory_of(memories: Memories, context: object) -> AgentMemory:
    """The memory of the namespace that a run's context names, as an attribute or a key `namespace`.

    Without a context it is `default`. Raises InputError when a context names none, and when there is one memory and it
    is another's: nobody is given the memory of somebody else.
    """
    named = context.get("namespace") if isinstance(context, Mapping) else getattr(context, "namespace", None)
    if not callable(memories):
        if named not in (None, memories.namespace):
            raise InputError(
                f"The run is for the namespace {named!r}, and there is only the memory of {memories.namespace!r}: give "
                "a function from a namespace to its memory, such as Namespaces(home)."
            )
        return memories
    if context is not None and (not isinstance(named, str) or not named):
        raise InputError(
            "The run's context names no namespace, and there are several memories: give it a field `namespace`."
        )
    return memories(DEFAULT if context is None else str(named))


def thread_of(info: Any) -> str:
    """The thread of a run as the name of its conversation, empty without one; LangGraph takes numbers and UUIDs too."""
    thread = getattr(info, "thread_id", None)
    return "" if thread is None else str(thread)


class Namespaces:
    """The memories of one home, each opened when it is first asked for, and all closed by `close` or `with`.

    `settings` are those of `bakemem.open`. Threads may share it. Each open memory holds two files open: where there are
    hundreds, `release` those that nobody uses.
    """

    def __init__(self, home: str | PathLike[str], **settings: Any) -> None:
        self.home = Path(home).expanduser().absolute()  # wherever the program goes on to work
        self.settings = settings
        self._opened: dict[str, AgentMemory] = {}
        self._moving = set[str]()  # what is being opened or closed
        self._changed = threading.Condition()
        self._closed = False

    def __call__(self, namespace: str = DEFAULT) -> AgentMemory:
        """The memory of a namespace. Raises what `bakemem.open` raises, InputError for a bad name, and HomeError when
        this was closed.
        """
        clean_namespace(namespace)
        with self._changed:
            self._changed.wait_for(lambda: namespace not in self._moving)
            if self._closed:
                raise HomeError(f"The memories of {self.home} were closed: make another Namespaces.")
            known = self._opened.get(namespace)
            if known is not None and not known.closed:  # as it is at the end of a `with` block of its own
                return known
            self._moving.add(namespace)
        with self._moved(namespace):  # whoever writes to the home is waited for here: the others need not
            memory = bakemem.open(self.home, namespace=namespace, **self.settings)
            self._opened[namespace] = memory
            return memory

    def names(self) -> list[str]:
        """The namespaces of which anything was ever kept, open or not. Raises as a call does."""
        return self().namespaces()

    def release(self, namespace: str | None = None) -> None:
        """Close the memory of a namespace, or all of them (None), where it is open; the next call opens it again.

        Whoever still uses the old one gets a HomeError. Raises what the closing raises.
        """
        if namespace is None:
            with ExitStack() as ending:  # whatever fails, the rest is closed
                for name in list(self._opened):
                    ending.callback(self.release, name)
            return
        with self._changed:
            self._changed.wait_for(lambda: namespace not in self._moving)
            memory = self._opened.pop(namespace, None)
            if memory is None:
                return
            self._moving.add(namespace)
        with self._moved(namespace):  # a turn that is being read ends first: the others do not wait for it
            memory.close()

    @contextmanager
    def _moved(self, namespace: str) -> Iterator[None]:
        try:
            yield
        finally:
            with self._changed:
                self._moving.remove(namespace)
                self._changed.notify_all()

    def close(self) -> None:
        """Close what was opened; a second call does nothing."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._moving)
            with ExitStack() as ending:  # whatever fails, the rest is closed
                while self._opened:
                    ending.callback(self._opened.popitem()[1].close)

    def __enter__(self) -> Namespaces:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
