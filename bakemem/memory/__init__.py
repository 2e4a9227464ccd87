"""What is known: the journal that holds it, and the stages from a turn to a prompt.

The meaning index is not here but in `bakemem.memory.index`, which loads Chroma: only the wiring imports it.
"""

from bakemem.memory.admit import READ, TEACHERS, Ruling, admit
from bakemem.memory.consolidate import consolidate, shards
from bakemem.memory.erase import forget
from bakemem.memory.extract import Extractor, Generate, ModelExtractor, checked_drafts, unreadable
from bakemem.memory.gather import Gatherer
from bakemem.memory.journal import Journal
from bakemem.memory.keys import clean_key, clean_namespace, clean_text, infer_kind, slug_key
from bakemem.memory.lock import HomeLock
from bakemem.memory.portable import export, load
from bakemem.memory.recall import Index, recall
from bakemem.memory.records import Event, ReflogEntry
from bakemem.memory.retract import meant, retraction
from bakemem.memory.transitions import LIVE, TRANSITIONS
from bakemem.memory.turns import Observed, TurnQueue

__all__ = [
    "LIVE",
    "READ",
    "TEACHERS",
    "TRANSITIONS",
    "Event",
    "Extractor",
    "Gatherer",
    "Generate",
    "HomeLock",
    "Index",
    "Journal",
    "ModelExtractor",
    "Observed",
    "ReflogEntry",
    "Ruling",
    "TurnQueue",
    "admit",
    "checked_drafts",
    "clean_key",
    "clean_namespace",
    "clean_text",
    "consolidate",
    "export",
    "forget",
    "infer_kind",
    "load",
    "meant",
    "recall",
    "retraction",
    "shards",
    "slug_key",
    "unreadable",
]
