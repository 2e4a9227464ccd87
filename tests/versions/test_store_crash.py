"""No failure of the disk leaves half a version, or touches another one. Kills and power cuts: `tests/test_crash.py`."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bakemem.errors import HomeError
from bakemem.versions import Manifest, VersionStore, check_adapter

MakeManifest = Callable[..., Manifest]
CALLS = [("mkdir", 2), *((name, k) for name, n in (("fsync", 6), ("rename", 1), ("open", 3)) for k in range(1, n + 1))]


def failing(real: Callable[..., Any], k: int, code: int) -> Callable[..., Any]:
    """A call of the operating system whose k-th use fails."""
    uses = itertools.count(1)

    def call(*args: Any, **kwargs: Any) -> Any:
        if next(uses) == k:
            raise OSError(code, os.strerror(code))
        return real(*args, **kwargs)

    return call


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(("call", "k"), CALLS)
def test_a_failing_call_leaves_the_old_versions_and_no_new_one(
    tmp_path: Path, adapter: Path, make_manifest: MakeManifest, monkeypatch: pytest.MonkeyPatch, call: str, k: int,
    code: int,
) -> None:  # fmt: skip
    """Whichever call of the operating system fails, v1 is whole, v2 is absent or whole, and trying again works."""
    store = VersionStore(tmp_path)
    store.stage(adapter, make_manifest("v1"))
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(getattr(os, call), k, code))
        with pytest.raises(HomeError, match=r"v2.*live version has not changed"):
            store.stage(adapter, make_manifest("v2"))
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


DESTROYING = [*(("fsync", k) for k in range(1, 6)), *(("unlink", k) for k in (1, 3)), ("rmdir", 1), ("rename", 1)]


@pytest.mark.parametrize(("call", "k"), DESTROYING)
def test_destroying_again_removes_what_a_failure_left(
    tmp_path: Path, adapter: Path, make_manifest: MakeManifest, monkeypatch: pytest.MonkeyPatch, call: str, k: int
) -> None:
    """The weights do not stay in a hidden folder after a second call that reports no error; v10 is not touched."""
    store = VersionStore(tmp_path)
    for name in ("v1", "v10"):
        store.stage(adapter, make_manifest(name))
        store.settle(name)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(getattr(os, call), k, errno.EIO))
        with pytest.raises(HomeError, match="v1 cannot be removed"):
            store.destroy("v1")
    store.destroy("v1")
    assert [p.name for p in (tmp_path / "versions").iterdir()] == ["v10"]
    check_adapter(store.folder("v10"))
