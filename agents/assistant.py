"""The long-lived assistant, where agents look for it. It needs no LangChain: see `bakemem.assistant`."""

from bakemem.assistant import Assistant, Learned, Spoken
from bakemem.orders import Answer

__all__ = ["Answer", "Assistant", "Learned", "Spoken"]
