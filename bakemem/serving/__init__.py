"""The live model: a base, its baked adapters, and replies that are each pinned to one of them."""

from bakemem.serving.chat import Sampling, stream
from bakemem.serving.model import Base, ServingModel, fingerprint, load_base, wrap_base

__all__ = ["Base", "Sampling", "ServingModel", "fingerprint", "load_base", "stream", "wrap_base"]
