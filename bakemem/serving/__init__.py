"""The live model: a base, its baked adapters, and replies that are each pinned to one of them.

What every engine promises (`contract.Engine`; the suite is `tests/serving/test_contract.py`):

- A request is pinned to one adapter and strength from its first token to its last. None is the base, any attached
  adapter may be named, and a greedy reply is what that adapter gives alone, whatever runs beside it.
- Attaching and detaching go on beside running replies. One that fails leaves everything as it was, with an error. A
  detached adapter answers no new request, and is unloaded when its last reply has ended.
- Keys and values that were read belong to one adapter at one strength, and are never used for another.
- A reply that is closed, or let go of, frees its place.
- Requests beyond the places wait, up to a limit a namespace; then BusyError. Places go round between namespaces.
- Everything is safe for threads, and replies can be read by asyncio.
- `close` lets running replies end for a while, then ends them with ServingError. Nobody waits for ever.
"""

from bakemem.serving.adapters import Adapters
from bakemem.serving.base import Base, fingerprint, load_base, wrap_base
from bakemem.serving.contract import Cut, Engine, Request, Sampling, check, check_strength
from bakemem.serving.engine import Limits, LocalEngine
from bakemem.serving.model import ServingModel
from bakemem.serving.pool import Pool
from bakemem.serving.reply import Channel, Ending, Reply, TokenLogprob

__all__ = [
    "Adapters", "Base", "Channel", "Cut", "Ending", "Engine", "Limits", "LocalEngine", "Pool", "Reply", "Request",
    "Sampling", "ServingModel", "TokenLogprob", "check", "check_strength", "fingerprint", "load_base", "wrap_base",
]  # fmt: skip
