"""Adapters as immutable artefacts: stored whole or not at all, checked before use, compared."""

from bakemem.versions.bundle import placed, read_bundle, write_bundle
from bakemem.versions.change import LayerChange
from bakemem.versions.check import check_adapter
from bakemem.versions.diff import AnswerChange, VersionDiff, diff
from bakemem.versions.keep import kept
from bakemem.versions.lineage import lineage
from bakemem.versions.manifest import ORIGIN, Manifest
from bakemem.versions.store import VersionStore

__all__ = [
    "ORIGIN",
    "AnswerChange",
    "LayerChange",
    "Manifest",
    "VersionDiff",
    "VersionStore",
    "check_adapter",
    "diff",
    "kept",
    "lineage",
    "placed",
    "read_bundle",
    "write_bundle",
]
