"""The disks that a power cut may leave: of what was not synced, any part may be there or not.

Knows names, contents and syncs. The journal's own files are SQLite's business: they stay
as they were at its last commit.
"""

from __future__ import annotations

import copy
import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crash import Explorer, Writer, seen

JOURNAL = "journal.db"
MOST = 6
"""Up to so many changes that are not synced, every set of them is tried as lost."""

Files = dict[str, bytes]
Nodes = dict[int, dict[str, int] | bytes]


@dataclass(frozen=True)
class Operation:
    """One change of the disk, by nodes (a node is a folder or a file, whatever its name).

    `put` and `take` change what the folder `node` holds under `name`: `other`. `move` takes `other` from there to
    `to`. `write` changes the file `node`, `sync` makes all of `node` last, `journal` is a commit.
    """

    kind: str
    node: int
    name: str = ""
    other: int = 0
    to: tuple[int, str] = (0, "")
    content: dict[str, int] | bytes | None = None
    at: int = 0
    journal: Files = field(default_factory=dict)


class Recorder:
    """Notes down what is done to the disk below `home`. What is there before counts as synced."""

    def __init__(self, home: Path) -> None:
        self._home, self._numbers = home, itertools.count(1)
        self._node: dict[Path, int] = {}
        self.start: Nodes = {}
        self.log: list[Operation] = []
        self.root = self._adopt(home)
        self.journal = self._journal()

    def _adopt(self, path: Path) -> int:
        node = self._node[path] = next(self._numbers)
        if path.is_dir():
            self.start[node] = {p.name: self._adopt(p) for p in path.iterdir() if not p.name.startswith(JOURNAL)}
        else:
            self.start[node] = path.read_bytes()
        return node

    def _journal(self) -> Files:
        return {p.name: p.read_bytes() for p in self._home.glob(f"{JOURNAL}*") if not p.name.endswith("-shm")}

    def __call__(self, name: str, perform: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Makes a call to the disk and notes it down."""
        noted = self._operation(name, perform, args, kwargs.get("dir_fd"))
        try:
            result = perform(*args, **kwargs)
        except FileExistsError:  # a folder that is there already
            return perform(*args, **kwargs)
        if name in ("committed", "vacuum"):
            noted = Operation("journal", 0, journal=self._journal())
        if noted is not None:
            self.log.append(noted)
            self._rename(noted)
        return result

    def _operation(
        self, name: str, perform: Callable[..., Any], args: tuple[Any, ...], folder: int | None
    ) -> Operation | None:
        if name == "write":
            writer: Writer = perform.__self__  # type: ignore[attr-defined]
            return Operation("write", self._node[_path_of(writer.fileno())], content=args[0], at=writer.tell())
        if name == "fsync":
            return Operation("sync", self._node[_path_of(args[0])])
        if name not in ("mkdir", "create", "unlink", "rmdir", "rename"):
            return None
        path = Path(args[0]) if folder is None else _path_of(folder) / args[0]
        node, parent = self._node.get(path, 0), self._node.get(path.parent, 0)
        if name == "rename":
            target = Path(args[1])
            return Operation("move", parent, path.name, node, (self._node[target.parent], target.name))
        if name in ("unlink", "rmdir"):
            return Operation("take", parent, path.name, node)
        if node or not parent:  # it is there already
            return None
        self._node[path] = next(self._numbers)
        return Operation("put", parent, path.name, self._node[path], content={} if name == "mkdir" else b"")

    def _rename(self, noted: Operation) -> None:
        """Keeps the names in step."""
        if noted.kind not in ("take", "move"):
            return
        names = {node: path for path, node in self._node.items()}
        old = names[noted.node] / noted.name
        below = {p: n for p, n in self._node.items() if p == old or old in p.parents}
        for path in below:
            del self._node[path]
        if noted.kind == "move":
            new = names[noted.to[0]] / noted.to[1]
            self._node |= {new / path.relative_to(old): node for path, node in below.items()}


def _path_of(handle: int) -> Path:
    return Path(os.readlink(f"/proc/self/fd/{handle}"))


def _not_synced(log: Sequence[Operation]) -> tuple[list[int], set[int]]:
    """Which changes of folders, and which writes, a power cut after these operations may undo."""
    synced: dict[int, int] = {op.node: i for i, op in enumerate(log) if op.kind == "sync"}

    def lasts(i: int, op: Operation) -> bool:
        return any(synced.get(folder, -1) > i for folder in (op.node, op.to[0]))

    removed = {op.other for i, op in enumerate(log) if op.kind == "take" and lasts(i, op)}
    names = [i for i, op in enumerate(log)
             if op.kind in ("put", "take", "move") and op.node not in removed and not lasts(i, op)]  # fmt: skip
    writes = {i for i, op in enumerate(log) if op.kind == "write" and synced.get(op.node, -1) < i}
    return names, writes


def _losses(names: Sequence[int]) -> Iterator[frozenset[int]]:
    """Which of the changes are lost: any of them; of many, the last ones, or one, or all but one."""
    if len(names) <= MOST:
        for n in range(len(names) + 1):
            yield from map(frozenset, itertools.combinations(names, n))
        return
    for i, name in enumerate(names):
        yield from (frozenset(names[i:]), frozenset({name}), frozenset(names) - {name})
    yield frozenset()


def _disk(recorder: Recorder, log: Sequence[Operation], lost: frozenset[int], writes: set[int], how: str) -> Files:
    """The files (and folders, whose names end in `/`) after a power cut; `writes` are lost, zeros, or kept."""
    nodes = copy.deepcopy(recorder.start)
    journal = recorder.journal
    for i, op in enumerate(log):
        folder = nodes.get(op.node)
        if op.kind == "journal":
            journal = op.journal
        elif op.kind == "put" and op.content is not None:
            nodes[op.other] = copy.copy(op.content)
        if op.kind == "write" and isinstance(folder, bytes) and isinstance(op.content, bytes):
            data = op.content if i not in writes or how == "kept" else bytes(len(op.content))
            if i not in writes or how != "lost":
                nodes[op.node] = folder[: op.at].ljust(op.at, b"\0") + data + folder[op.at + len(data) :]
        elif i not in lost and isinstance(folder, dict):
            if op.kind in ("take", "move"):
                folder.pop(op.name, None)
            where, name = (folder, op.name) if op.kind == "put" else (nodes.get(op.to[0]), op.to[1])
            if op.kind in ("put", "move") and isinstance(where, dict):
                where[name] = op.other
    found: Files = dict(journal)

    def walk(node: int, prefix: str) -> None:
        content = nodes[node]
        if isinstance(content, bytes):
            found[prefix] = content
            return
        found[prefix + "/"] = b""
        for name, inner in content.items():
            walk(inner, f"{prefix}/{name}" if prefix else name)

    walk(recorder.root, "")
    return found


def lose_writes(explorer: Explorer) -> tuple[int, int]:
    """Cuts the power after each operation of a scenario; how many operations there are, and how many different disks.

    Raises AssertionError, with the operation, where a disk gives a home that is not as before or after, or not sound.
    """
    explorer.reset()
    recorder = Recorder(explorer.home)
    with seen(recorder):
        explorer.scenario.act(explorer.home)
    checked = set[int]()
    for end in range(len(recorder.log) + 1):
        log = recorder.log[:end]
        names, writes = _not_synced(log)
        for lost, how in itertools.product(_losses(names), ("lost", "zeros", "kept")):
            files = _disk(recorder, log, lost, writes, how)
            if (mark := hash(frozenset(files.items()))) in checked:
                continue
            checked.add(mark)
            shutil.rmtree(explorer.home)
            explorer.home.mkdir()
            for name, data in sorted(files.items()):
                if name.endswith("/"):
                    (explorer.home / name.strip("/")).mkdir(parents=True, exist_ok=True)
                else:
                    (explorer.home / name).write_bytes(data)
            last = log[-1].kind if log else "nothing"
            explorer.check(f"power cut after operation {end} ({last}), names lost {sorted(lost)}, writes {how}")
    return len(recorder.log), len(checked)
