"""Files that are on the disk whole or not at all, and that are overwritten before they are removed.

In the base layer because versions and unfinished bakes must be as safe as each other. Knows no formats.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Puts a file in its place when all of it is on the disk; until then the one that was there stays.

    Raises OSError when the disk is full, or when the folder is gone (it is never made here).
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("wb") as writer:
            writer.write(content)
            writer.flush()
            os.fsync(writer.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            overwrite(temporary)
        raise
    fsync_folder(path.parent)


def blank(path: Path, start: int = 0) -> None:
    """Writes zeros over a plain file from that byte to its end. Raises OSError."""
    with path.open("r+b") as writer:
        left = path.stat().st_size - start
        writer.seek(start)
        while left > 0:
            left -= writer.write(bytes(min(left, 1 << 20)))
        writer.flush()
        os.fsync(writer.fileno())


def overwrite(path: Path) -> None:
    """Writes zeros over a plain file, then removes it. Raises OSError."""
    blank(path)
    path.unlink()


def destroy(folder: Path) -> None:
    """Overwrites all plain files in a folder, then removes it. Raises OSError."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            overwrite(path)
    shutil.rmtree(folder)
    fsync_folder(folder.parent)


def fsync_folder(folder: Path) -> None:
    """Makes what was renamed or removed in a folder last. Raises OSError."""
    if os.name == "nt":  # Windows cannot sync a folder
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def folder_name(namespace: str) -> str:
    """The name of a namespace's folder: readable, and another for each (the hash keeps equal slugs apart)."""
    slug = re.sub(r"[^a-z0-9]+", "-", namespace.lower()).strip("-")[:32] or "namespace"
    return f"{slug}-{hashlib.sha256(namespace.encode()).hexdigest()[:8]}"
