"""What is known: the journal that holds it, and the stages from a turn to a prompt.

The meaning index is not here but in `bakemem.memory.index`, which loads Chroma: only the wiring imports it.
"""

from bakemem.memory.consolidate import consolidate, shards
from bakemem.memory.extract import Extractor, Generate, ModelExtractor
from bakemem.memory.journal import Journal
from bakemem.memory.keys import clean_key, clean_namespace, clean_text, infer_kind, slug_key
from bakemem.memory.lock import HomeLock
from bakemem.memory.recall import Index, recall
from bakemem.memory.records import Event, ReflogEntry
from bakemem.memory.transitions import LIVE, TRANSITIONS

__all__ = [
    "LIVE",
    "TRANSITIONS",
    "Event",
    "Extractor",
    "Generate",
    "HomeLock",
    "Index",
    "Journal",
    "ModelExtractor",
    "ReflogEntry",
    "clean_key",
    "clean_namespace",
    "clean_text",
    "consolidate",
    "infer_kind",
    "recall",
    "shards",
    "slug_key",
]
