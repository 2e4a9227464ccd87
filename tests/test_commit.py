"""The end of a bake that is cut short: the process goes on, and nothing of it stays that no forgetting would reach."""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bakemem import cycle
from bakemem.erasure import finish, secrets_of
from bakemem.errors import HomeError
from bakemem.memory import Journal
from bakemem.types import Report, Version
from bakemem.upkeep import strangers, sweep
from bakemem.versions import VersionStore
from tests.carrying import TOWN, Home, write_adapter

PIN = "The user's PIN is 4711."


class Made:
    """What a bake that went well hands on, without a model."""

    report = Report(4.0, 0.05, 0.98, None, 1.0, 0.0, 60, 14.5, True, ())
    data_sha256, adapter_config = "0" * 64, {"r": 2, "lora_alpha": 4}
    save = staticmethod(write_adapter)


def commit(home: Home) -> Version:
    """The real end of a cycle, with a model that is only named."""
    serving: Any = SimpleNamespace(
        base=SimpleNamespace(fingerprint="base-1", model=SimpleNamespace(dtype="torch.float32")),
        held=lambda *_: nullcontext(), swap=lambda _: None, detach=lambda _: None,
    )  # fmt: skip
    config: Any = SimpleNamespace(seed=0, model="starter")
    made: Any = Made()
    return cycle._commit(
        home.journal, home.store, serving, config, made, home.memories(["pending", "baked"]), home.live
    )


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home with a secret that is to be baked."""
    made = Home(tmp_path / "home")
    made.remember(PIN, key="user.pin")
    yield made
    made._close()


def traces(home: Home) -> list[str]:
    """The files below its versions that hold the secret."""
    return [p.name for p in (home.home / "versions").rglob("*") if p.is_file() and b"4711" in p.read_bytes()]


def fail(monkeypatch: pytest.MonkeyPatch, where: str) -> type[BaseException]:
    """Lets the next bake end there, and says with what."""
    stage, rename, fsync = VersionStore.stage, os.rename, os.fsync

    def staged(*arguments: Any) -> None:
        stage(*arguments)
        raise KeyboardInterrupt

    def renamed(source: Any, target: Any) -> None:
        if Path(target).name == "v1":
            raise KeyboardInterrupt
        rename(source, target)

    def synced(handle: int) -> None:
        if (Path(os.readlink(f"/proc/self/fd/{handle}")) / "v1").exists():
            raise OSError(errno.EIO, "Input/output error")
        fsync(handle)

    if where == "after the folder":
        monkeypatch.setattr(VersionStore, "stage", staged)
    elif where == "before the folder":
        monkeypatch.setattr(os, "rename", renamed)
    else:
        monkeypatch.setattr(os, "fsync", synced)
        return HomeError
    return KeyboardInterrupt


@pytest.mark.parametrize("where", ["before the folder", "after the folder", "the disk fails at the end"])
def test_of_a_bake_that_is_cut_short_nothing_stays(home: Home, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """By Ctrl-C or a disk that fails; the next one gets its name, and forgetting destroys all that there is."""
    with monkeypatch.context() as patch, pytest.raises(fail(patch, where)):
        commit(home)
    assert [p.name for p in (home.home / "versions").iterdir() if not p.name.startswith(".unpacking")] == []
    assert commit(home).name == "v1"
    home.forget([m.id for m in home.memories()])
    tainted = home.to_erase()
    finish(home.journal, home.store, tainted, secrets_of(home.journal, home.store, tainted), ())
    assert traces(home) == []


class Killed(BaseException):
    """What a kill looks like from inside: nothing is tidied up."""


def test_a_bake_that_was_killed_is_swept_whatever_its_number(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also beside the folder of a version that a journal from a backup does not know, which stays."""

    def killed(*_: object, **__: object) -> None:
        raise Killed

    home.remember(TOWN, key="user.town")
    home.bake()
    home.store.stage(home.store.folder("v1"), dataclasses.replace(home.store.manifest("v1"), name="v2"))
    home.store.settle("v2")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Journal, "commit_version", killed)
        patch.setattr(VersionStore, "destroy", killed)
        commit(home)
    assert home.store.names() == {"v1", "v2", "v3"}
    assert [p.name for p in sweep(home.journal, home.store)] == ["v3"]
    assert strangers(home.journal, home.store) == {"v2"}
