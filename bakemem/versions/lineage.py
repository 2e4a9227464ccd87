"""Which versions a version goes back to: a walk over rows, which may be damaged.

Knows no folder and no journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bakemem.types import Version


def lineage(versions: Iterable[Version], name: str | None) -> Iterator[Version]:
    """The version of that name, its parent, and so on back to the base; `check` names a parent that is not there."""
    known = {version.name: version for version in versions}
    while name in known:
        version = known.pop(name)  # which ends a damaged line that comes round again
        yield version
        name = version.parent
