"""No failure of the disk and no kill leaves half a version, or touches another one."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bakemem.errors import HomeError
from bakemem.versions import Manifest, VersionStore, check_adapter

MakeManifest = Callable[..., Manifest]
CALLS = [("mkdir", 2), *((name, k) for name, n in (("fsync", 6), ("rename", 1), ("open", 3)) for k in range(1, n + 1))]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(("call", "k"), CALLS)
def test_a_failing_call_leaves_the_old_versions_and_no_new_one(
    tmp_path: Path, adapter: Path, make_manifest: MakeManifest, monkeypatch: pytest.MonkeyPatch, call: str, k: int,
    code: int,
) -> None:  # fmt: skip
    """Whichever call of the operating system fails, v1 is whole, v2 is absent or whole, and trying again works."""
    store = VersionStore(tmp_path)
    store.stage(adapter, make_manifest("v1"))
    real, count = getattr(os, call), 0

    def fail(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count == k:
            raise OSError(code, os.strerror(code))
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(HomeError, match=r"v2.*live version has not changed"):
            store.stage(adapter, make_manifest("v2"))
    assert count >= k
    check_adapter(store.folder("v1"))
    for left in store.orphans(["v1"]):
        assert left.name == "v2"  # renamed, but its parent folder was not synced: whole all the same
        check_adapter(left)
    store.stage(adapter, make_manifest("v2"))
    check_adapter(store.folder("v2"))
    assert store.orphans(["v1", "v2"]) == []


def test_a_short_write_is_a_home_error(
    tmp_path: Path, adapter: Path, make_manifest: MakeManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up in the middle of the weights leaves nothing behind."""
    store = VersionStore(tmp_path)

    def full(source: Path, target: Path) -> str:
        target.write_bytes(source.read_bytes()[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bakemem.versions.store._copy", full)
    with pytest.raises(HomeError, match="No space left"):
        store.stage(adapter, make_manifest())
    assert store.orphans([]) == []


BAKE = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from bakemem.memory import Journal
from bakemem.types import Draft, Prompt, Provenance, Report
from bakemem.versions import Manifest, VersionStore

home, source, where = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
home.mkdir(exist_ok=True)
journal, store = Journal(home / "journal.db"), VersionStore(home)
memory = journal.add(Draft("fact", "user.dog", "The user's dog is called Bosuk."), Provenance())
report = Report(4.0, 0.05, 0.98, 0.99, 1.0, 0.0, 60, 14.5, True)
name = journal.next_version_name()
prompt = Prompt("p", (memory.id,))
manifest = Manifest(name, "default", journal.live(), datetime.now(UTC), prompt, "base-1", report, 0, "")

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if where == "before rename":
    os.rename = die
staged = store.stage(source, manifest)
if where == "before commit":
    die()
if where == "in commit":
    Journal._baked_without = die
journal.commit_version(staged.version(store.folder(name)), accepted=True)
"""


@pytest.mark.parametrize(
    ("where", "orphans"),
    [("before rename", [".tmp-v1"]), ("before commit", ["v1"]), ("in commit", ["v1"]), ("never", [])],
)
def test_a_kill_leaves_the_old_state_and_garbage_or_the_new_state(
    tmp_path: Path, adapter: Path, where: str, orphans: list[str]
) -> None:
    """After kill -9 at each step of a commit the journal names no version, the memory is pending, and a retry works."""
    # The journal belongs to another room: only the child, which plays the whole bake, brings the two together.
    home = tmp_path / "home"
    command = [sys.executable, "-c", BAKE, str(home), str(adapter)]
    killed = subprocess.run([*command, where], check=False)
    assert killed.returncode == (0 if where == "never" else -signal.SIGKILL)
    state = subprocess.run([sys.executable, "-c", STATE, str(home)], check=True, capture_output=True, text=True).stdout
    assert state.split() == (["v1", "v1", "baked"] if where == "never" else ["None", "-", "pending"])
    known = ["v1"] if where == "never" else []
    store = VersionStore(home)
    assert [p.name[:7] if p.name.startswith(".tmp") else p.name for p in store.orphans(known)] == orphans
    if where != "never":
        subprocess.run([*command, "never"], check=True)
        check_adapter(store.folder("v1"), base_fingerprint="base-1")
        store.sweep(["v1"])
        assert store.orphans(["v1"]) == []


STATE = """
import sys
from pathlib import Path
from bakemem.memory import Journal
journal = Journal(Path(sys.argv[1]) / "journal.db", readonly=True)
print(journal.live(), " ".join(v.name for v in journal.versions()) or "-", *(m.status for m in journal.memories()))
"""
