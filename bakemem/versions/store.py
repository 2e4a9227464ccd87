"""Versions as immutable folders under `home/versions`, written so that a crash leaves a whole folder or none.

Knows no journal: a folder counts only once the journal names it, and one that it does not name is an orphan.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from bakemem.disk import destroy, folder_name, fsync_folder
from bakemem.errors import AdapterError, HomeCorruptError, HomeError, InputError
from bakemem.types import Probe
from bakemem.versions.manifest import Manifest, manifest_of
from bakemem.versions.probes import probes_of

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
PROBES_FILE = "probes.json"
MANIFEST_FILE = "manifest.json"

_NAME = re.compile(r"v[1-9][0-9]*")
_TEMPORARY = ".tmp-"
_SCRATCH = ".bake"
_MARK = ".unpacking-"
_GRAVE = f"{_TEMPORARY}removed-"


class VersionStore:
    """The version folders of one namespace.

    `home/versions/v1` … in the default namespace, in one of `disk.folder_name` in any other. A version is committed by
    `stage`, then one journal transaction.
    """

    def __init__(self, home: Path, namespace: str = "default") -> None:
        self.home = home.absolute()
        self._root = self.home / "versions"
        if namespace != "default":
            self._root /= folder_name(namespace)

    def stage(self, source: Path, manifest: Manifest) -> Manifest:
        """Copies adapter and probes in `source` to the folder of `manifest.name` and writes the manifest beside them.

        The name must come from the journal's `next_version_name`: a folder of that name can only be left from a crash,
        and is replaced. Everything is on the disk when it returns the manifest with its files' hashes (and so its id).
        It is marked before its folder is there, until `settle`.
        Raises AdapterError when `source` lacks a file, HomeError when the disk is full or cannot be written; then, and
        at Ctrl-C, the store is as it was, but for a mark.
        """
        target = self.folder(manifest.name)
        for name in ADAPTER_FILES:
            if not (source / name).is_file():
                raise AdapterError(f"{source} has no {name}: it is not an adapter.")
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=f"{_TEMPORARY}{manifest.name}-", dir=self._root))
        except OSError as error:
            raise self._failed(manifest.name, error) from error
        try:
            files = [*ADAPTER_FILES, *([PROBES_FILE] if (source / PROBES_FILE).is_file() else [])]
            hashes = {name: _copy(source / name, temporary / name) for name in files}
            complete = dataclasses.replace(manifest, files=hashes)
            _write(temporary / MANIFEST_FILE, complete.to_json().encode())
            fsync_folder(temporary)
            self._mark(manifest.name).write_bytes(b"")
            fsync_folder(self._root)
            self._remove(target)
            try:
                os.rename(temporary, target)
                for folder in (self._root, *self._root.parents):  # those above may be new as well
                    fsync_folder(folder)
                    if folder == self.home:
                        break
            except BaseException:
                self._remove(target)
                raise
        except BaseException as error:
            with contextlib.suppress(OSError):
                destroy(temporary)
            if isinstance(error, OSError):
                raise self._failed(manifest.name, error) from error
            raise
        return complete

    def settle(self, name: str) -> None:
        """Takes the mark off a version that the journal names, or that is gone; what stays, a sweep takes."""
        with contextlib.suppress(OSError):
            self._mark(name).unlink(missing_ok=True)

    def settled(self, name: str) -> bool:
        """Whether no bake or unpacking of that version was cut short."""
        return not self._mark(name).exists()

    def folder(self, name: str) -> Path:
        """Where a version is or would be. Raises InputError when `name` is no version name."""
        if not _NAME.fullmatch(name):
            raise InputError(f"{name!r} is no version name: they are v1, v2 and so on.")
        return self._root / name

    def manifest(self, name: str) -> Manifest:
        """What a version says about itself. Raises HomeCorruptError when it is missing or damaged."""
        path = self.folder(name) / MANIFEST_FILE
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise HomeCorruptError(
                f"Version {name} cannot be read at {path} ({error}): restore it, or roll back to another version."
            ) from error
        return manifest_of(text)

    def names(self) -> set[str]:
        """The names that have a folder, whatever is in it. Raises HomeError when they cannot be listed."""
        return {path.name for path in self._inside() if _NAME.fullmatch(path.name)}

    @contextlib.contextmanager
    def room(self) -> Iterator[Path]:
        """A private folder to work in, beside the versions: overwritten and removed at the end, or by the next sweep.

        Raises HomeError when it cannot be made.
        """
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=self._root))
        except OSError as error:
            raise self._failed("in the making", error) from error
        try:
            yield folder
        finally:
            with contextlib.suppress(OSError):
                destroy(folder)

    def orphans(self, known_names: Collection[str]) -> list[Path]:
        """Folders that a crash left: temporary ones, and versions that the journal does not name. Raises HomeError."""
        found = (p for p in self._inside() if p.is_dir() and not p.is_symlink())
        return sorted(
            p for p in found if p.name.startswith(_TEMPORARY) or (_NAME.fullmatch(p.name) and p.name not in known_names)
        )

    def sweep(self, known_names: Collection[str]) -> list[Path]:
        """Removes the orphans, then the marks of `stage`, and returns what the orphans were.

        Only the owner of the home may call it. Raises HomeError.
        """
        orphans = self.orphans(known_names)
        try:
            for path in orphans:
                self._remove(path)
            for mark in self._root.glob(f"{_MARK}*"):
                mark.unlink()
        except OSError as error:
            raise HomeError(f"An unfinished version in {self._root} cannot be removed ({error}).") from error
        return orphans

    def probes(self, name: str) -> list[Probe]:
        """The gate's held-out questions with their answers; none for a version of an older bakemem.

        Raises HomeCorruptError when they are damaged.
        """
        path = self.folder(name) / PROBES_FILE
        if not path.exists():
            return []
        try:
            return probes_of(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise HomeCorruptError(f"The probes of version {name} cannot be read at {path} ({error}).") from error

    def destroy(self, name: str) -> None:
        """Overwrites and removes a version's folder; none is no error. Raises HomeError.

        The journal must have let go of it before. On a disk that writes elsewhere than it is told (an SSD, a file
        system with snapshots) only encryption of the disk makes old blocks unreadable.
        """
        try:
            self._remove(self.folder(name))
            for grave in self._root.glob(f"{_GRAVE}{name}-*"):  # an earlier try that failed
                destroy(grave)
        except OSError as error:
            raise HomeError(f"Version {name} cannot be removed from {self._root} ({error}).") from error

    def scratch(self, room: str = "") -> Path:
        """The private folder of a bake that is not finished, or a room in it, made if missing; no sweep touches it.

        It holds questions and answers in plain text. Raises HomeError.
        """
        whole = self._root / _SCRATCH
        folder = whole / room
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            whole.mkdir(mode=0o700, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise HomeError(f"A bake has no room in {folder} ({error}): free space or mend permissions.") from error
        return folder

    def unfinished(self) -> bool:
        """Whether a bake that was stopped has left something in `scratch` to go on from."""
        folder = self._root / _SCRATCH
        return folder.is_dir() and any(folder.iterdir())

    def destroy_scratch(self) -> None:
        """Overwrites and removes the scratch folder; none is no error. A bake that still runs cannot write there again.

        Raises HomeError.
        """
        try:
            self._remove(self._root / _SCRATCH)
        except OSError as error:
            raise HomeError(f"What a bake left in {self._root / _SCRATCH} cannot be removed ({error}).") from error

    def _inside(self) -> list[Path]:
        try:
            return list(self._root.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise HomeError(f"The versions cannot be listed ({error}): mend the permissions of the home.") from error

    def _mark(self, name: str) -> Path:
        return self._root / f"{_MARK}{name}"

    def _remove(self, folder: Path) -> None:
        # Out of the way first: a half-removed folder must never bear a version's name.
        if folder.name.startswith(_TEMPORARY):
            destroy(folder)
        elif folder.exists():
            grave = Path(tempfile.mkdtemp(prefix=f"{_GRAVE}{folder.name}-", dir=self._root))
            os.rename(folder, grave / folder.name)
            fsync_folder(self._root)
            destroy(grave)

    def _failed(self, name: str, error: OSError) -> HomeError:
        return HomeError(
            f"Version {name} could not be written to {self._root} ({error}): free space or mend permissions and bake "
            "again. The live version has not changed."
        )


def _copy(source: Path, target: Path) -> str:
    """Copies a file to the disk itself and returns its sha256."""
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("xb") as writer:
        while block := reader.read(1 << 20):
            digest.update(block)
            writer.write(block)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def _write(target: Path, content: bytes) -> None:
    with target.open("xb") as writer:
        writer.write(content)
        writer.flush()
        os.fsync(writer.fileno())
