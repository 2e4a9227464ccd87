"""What is known: the journal that holds it, and the stages from a turn to a prompt.

The meaning index is not here but in `bakemem.memory.index`, which loads Chroma: only the wiring imports it.
"""

from bakemem.memory.admit import READ, TEACHERS, Ruling, admit
from bakemem.memory.adopt import adopt
from bakemem.memory.consolidate import consolidate, shards
from bakemem.memory.conversations import Conversations, Exchange
from bakemem.memory.erase import forget
from bakemem.memory.extract import Extractor, Generate, ModelExtractor, checked_drafts, unreadable
from bakemem.memory.gather import Gatherer
from bakemem.memory.heard import once
from bakemem.memory.integrity import faults, namespaces
from bakemem.memory.jobs import Job, Jobs, Outcome
from bakemem.memory.journal import Journal
from bakemem.memory.keys import (
    clean_conversation,
    clean_key,
    clean_namespace,
    clean_text,
    infer_kind,
    slug_key,
    storable,
)
from bakemem.memory.ledger import Ledger
from bakemem.memory.lock import HomeLock
from bakemem.memory.portable import export, load
from bakemem.memory.recall import Index
from bakemem.memory.records import Copy, Event, ReflogEntry, State, local
from bakemem.memory.retract import meant, retraction
from bakemem.memory.shadow import INDEXED, Shadow
from bakemem.memory.transitions import LIVE, TRANSITIONS
from bakemem.memory.turns import Observed, TurnQueue

__all__ = [
    "INDEXED",
    "LIVE",
    "READ",
    "TEACHERS",
    "TRANSITIONS",
    "Conversations",
    "Copy",
    "Event",
    "Exchange",
    "Extractor",
    "Gatherer",
    "Generate",
    "HomeLock",
    "Index",
    "Job",
    "Jobs",
    "Journal",
    "Ledger",
    "ModelExtractor",
    "Observed",
    "Outcome",
    "ReflogEntry",
    "Ruling",
    "Shadow",
    "State",
    "TurnQueue",
    "admit",
    "adopt",
    "checked_drafts",
    "clean_conversation",
    "clean_key",
    "clean_namespace",
    "clean_text",
    "consolidate",
    "export",
    "faults",
    "forget",
    "infer_kind",
    "load",
    "local",
    "meant",
    "namespaces",
    "once",
    "retraction",
    "shards",
    "slug_key",
    "storable",
    "unreadable",
]
