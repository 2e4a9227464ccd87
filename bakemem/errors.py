"""Everything that bakemem raises on purpose.

    BakememError
    ├── ConfigError            a setting is unknown or out of range
    ├── InputError             text or arguments that cannot be used (also a ValueError)
    │   └── ContextError       the conversation is longer than the model reads
    ├── HomeError              the memory home cannot be used
    │   ├── HomeLockedError    another process owns it for writing
    │   └── HomeCorruptError   a file in it is missing or damaged
    ├── NotFoundError          no such memory or version (also a LookupError)
    ├── TransitionError        a memory's status does not allow this change
    ├── ModelError             the base model cannot be loaded or used
    ├── AdapterError           an adapter is unsafe, damaged, or belongs to another base
    ├── ServingError           a reply cannot be given or go on
    │   └── BusyError          too many requests wait: ask again later
    └── BakeError              a bake cannot start or go on; the old version stays live
        └── DivergedError      the numbers of a training are not finite any more

Every message says what happened, to what, and what to do next.
"""

from __future__ import annotations

CLOSED = "The memory was closed: open it again to use it."
"""What is said whenever a memory is used after its close."""


class BakememError(Exception):
    """The root of the tree: catch this to catch all of it."""


class ConfigError(BakememError):
    """A setting is unknown or out of range."""


class InputError(BakememError, ValueError):
    """Text or arguments that cannot be used."""


class ContextError(InputError):
    """The conversation is longer than the model reads."""


class HomeError(BakememError):
    """The memory home cannot be used."""


class HomeLockedError(HomeError):
    """Another process owns the memory home for writing."""


class HomeCorruptError(HomeError):
    """A file in the memory home is missing or damaged."""


class NotFoundError(BakememError, LookupError):
    """No such memory or version."""


class TransitionError(BakememError):
    """The status of a memory does not allow this change."""


class ModelError(BakememError):
    """The base model cannot be loaded or used."""


class AdapterError(BakememError):
    """An adapter is unsafe, damaged, or belongs to another base."""


class ServingError(BakememError):
    """A reply cannot be given or go on."""


class BusyError(ServingError):
    """Too many requests wait: ask again later."""


class BakeError(BakememError):
    """A bake cannot start or go on; the version that was live stays live."""


class DivergedError(BakeError):
    """The numbers of a training are not finite any more."""
