"""A version as one file, to be carried to another home: a plain zip of its adapter, manifest, probes and memories.

Knows files only: no journal, and of the memories only that they are lines. What is read may be hostile.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import math
import os
import stat
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, get_args

from bakemem.disk import fsync_folder
from bakemem.errors import AdapterError, HomeCorruptError, InputError
from bakemem.types import YEARS, Report, Role
from bakemem.versions.check import MAX_BYTES, check_adapter
from bakemem.versions.manifest import Manifest, manifest_of
from bakemem.versions.plain_json import plain_json
from bakemem.versions.probes import probes_of
from bakemem.versions.store import ADAPTER_FILES, MANIFEST_FILE, PROBES_FILE

MEMORIES_FILE = "memories.jsonl"
LIMITS: Mapping[str, int] = {**MAX_BYTES, MEMORIES_FILE: 64 << 20}
"""The files of a bundle, each with the most bytes that it may have; all but the probes must be there."""

_PIECE = 1 << 20
_UNREADABLE = (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, LookupError, OverflowError,
               struct.error)  # fmt: skip


@contextmanager
def placed(path: Path, *, force: bool = False) -> Iterator[BinaryIO]:
    """A file to write, which is at `path` when the block ends, whole and on the disk, or not at all.

    Only its owner may read it. Raises InputError when something is there already (unless `force`, which replaces a
    file and nothing else) or when it cannot be written.
    """
    if not force and os.path.lexists(path):
        raise InputError(f"{path} is there already: name another file, or replace it with force (--force).")
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(f"{path} is no file that could be replaced: name another.")
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=".bakemem-", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
        fsync_folder(path.parent)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error}): free space, or name another file.") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def write_bundle(file: BinaryIO, folder: Path, manifest: Manifest, memories: Iterable[str]) -> None:
    """Writes the version in `folder` and its exported memories; the same version and memories give the same bytes.

    Raises AdapterError when the adapter does not pass `check_adapter` or changes meanwhile, InputError when a part is
    larger than a bundle holds.
    """
    check_adapter(folder)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in (*ADAPTER_FILES, *([PROBES_FILE] if PROBES_FILE in manifest.files else [])):
            with (folder / name).open("rb") as reader:
                digest = _add(archive, name, reader, os.fstat(reader.fileno()).st_size)
            if digest != manifest.files.get(name):
                raise AdapterError(f"{folder / name} is not the file that was baked (another hash): nothing is packed.")
        texts = {MANIFEST_FILE: manifest.to_json(), MEMORIES_FILE: "".join(f"{line}\n" for line in memories)}
        for name, text in texts.items():
            content = text.encode()
            _add(archive, name, io.BytesIO(content), len(content))


def read_bundle(path: Path, folder: Path) -> tuple[Manifest, list[str]]:
    """Writes adapter, probes and manifest of a bundle into an empty `folder`; its manifest and exported memories.

    What the manifest and the adapter say is checked, the memories are not. Raises InputError when it is no bundle or a
    damaged one, AdapterError when the adapter is not one that may be loaded.
    """
    if not os.path.isfile(path):  # unlike Path.is_file() also False for a name that is too long
        raise InputError(f"{path} is no file: name one that `bakemem pack` wrote.")
    try:
        with _Sparing(path) as file, zipfile.ZipFile(file) as archive:
            parts = _parts(archive)
            for name, part in parts.items():
                _extract(archive, part, folder / name)
        memories = (folder / MEMORIES_FILE).read_text(encoding="utf-8").split("\n")
        (folder / MEMORIES_FILE).unlink()
        manifest = manifest_of((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        _check_manifest(manifest, {*parts} - {MANIFEST_FILE, MEMORIES_FILE})
        if PROBES_FILE in parts:
            _check_probes((folder / PROBES_FILE).read_text(encoding="utf-8"))
    except (*_UNREADABLE, HomeCorruptError) as error:
        raise InputError(
            f"{path} cannot be unpacked ({error}): name a file that `bakemem pack` wrote, or pack it again."
        ) from error
    try:
        check_adapter(folder)
    except AdapterError as error:
        raise AdapterError(str(error).replace(str(folder), str(path))) from error
    config = plain_json((folder / "adapter_config.json").read_text(encoding="utf-8"))
    for name, written in (("rank", config["r"]), ("alpha", config["lora_alpha"])):
        if manifest.settings.get(name, written) != written:
            raise InputError(f"{path} cannot be unpacked: its adapter has another {name} than its manifest says.")
    return manifest, memories


class _Sparing(io.FileIO):
    """A file that is never read in one large piece, whatever size the directory of a zip claims to have."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _PIECE:
            raise zipfile.BadZipFile("its directory is too large")
        return super().read(_PIECE if size is None or size < 0 else size) or b""


def _add(archive: zipfile.ZipFile, name: str, reader: BinaryIO, size: int) -> str:
    if size > LIMITS[name]:
        raise InputError(f"{name} has {size:,} bytes; at most {LIMITS[name]:,} can be packed.")
    part = zipfile.ZipInfo(name)  # without a time
    part.external_attr = (stat.S_IFREG | 0o600) << 16
    part.file_size = size
    digest = hashlib.sha256()
    with archive.open(part, "w") as writer:
        while piece := reader.read(_PIECE):
            digest.update(piece)
            writer.write(piece)
    return digest.hexdigest()


def _parts(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The entries by name. Raises BadZipFile unless they are what a bundle has, stored plainly and within limits."""
    listed = archive.infolist()
    parts = {part.orig_filename: part for part in listed}
    if len(parts) < len(listed):
        raise zipfile.BadZipFile("a name stands in it twice")
    if odd := sorted(parts.keys() - LIMITS.keys()):
        raise zipfile.BadZipFile(f"{odd[0][:80]!r} has no place in it")
    if missing := sorted(LIMITS.keys() - parts.keys() - {PROBES_FILE}):
        raise zipfile.BadZipFile(f"it has no {missing[0]}")
    for name, part in parts.items():
        if part.flag_bits & 0x1:
            raise zipfile.BadZipFile(f"{name} is encrypted")
        if part.compress_type != zipfile.ZIP_STORED or part.compress_size != part.file_size:
            raise zipfile.BadZipFile(f"{name} is compressed")
        if stat.S_IFMT(part.external_attr >> 16) not in (0, stat.S_IFREG):
            raise zipfile.BadZipFile(f"{name} is a link or no plain file")
        if part.file_size > LIMITS[name]:
            raise zipfile.BadZipFile(f"{name} is larger than {LIMITS[name]:,} bytes")
    return parts


def _extract(archive: zipfile.ZipFile, part: zipfile.ZipInfo, target: Path) -> None:
    with archive.open(part) as reader, target.open("xb") as writer:
        while piece := reader.read(_PIECE):
            if writer.tell() + len(piece) > part.file_size:
                raise zipfile.BadZipFile(f"{target.name} is larger than it says")
            writer.write(piece)


def _check_manifest(manifest: Manifest, files: set[str]) -> None:
    """Raises ValueError when a field is not of its sort; `manifest_of` has checked that it is unchanged."""
    ids: tuple[Any, ...] = manifest.prompt.memory_ids
    texts: tuple[Any, ...] = (manifest.name, manifest.base_fingerprint, manifest.data_sha256)
    plain = all(isinstance(text, str) and len(text) <= 200 and (not text or text.isprintable()) for text in texts)
    hashes = manifest.files if isinstance(manifest.files, dict) else {}
    if not plain or set(hashes) != files or manifest.created.tzinfo is None or type(manifest.seed) is not int:
        raise ValueError("its manifest is not one that a bake writes")
    if manifest.created.year not in YEARS:
        raise ValueError("the time in its manifest is at the end of the calendar")
    if not all(isinstance(i, str) for i in ids) or len(set(ids)) < len(ids):
        raise ValueError("its manifest names a memory twice, or what is none")
    if not isinstance(manifest.settings, dict) or not _is_plain(manifest.settings):
        raise ValueError("the settings in its manifest are not plain values")
    _check_report(manifest.report)


def _check_report(report: Report) -> None:
    for field in dataclasses.fields(Report):
        value = getattr(report, field.name)
        if not _FITS[str(field.type)](value):
            raise ValueError(f"the report in its manifest says {str(value)[:40]!r} for {field.name}")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


_FITS: Mapping[str, Callable[[Any], bool]] = {
    "bool": lambda value: type(value) is bool, "int": lambda value: type(value) is int, "float": _is_number,
    "float | None": lambda value: value is None or _is_number(value),
    "tuple[str, ...]": lambda value: isinstance(value, tuple) and all(isinstance(text, str) for text in value),
    "tuple[Recalled, ...]": lambda value: all(
        (type(r.memory_id), type(r.kind), type(r.right), type(r.asked)) == (str, str, int, int) for r in value
    ),
}  # fmt: skip
"""What a field of a report may hold, by its type."""


def _is_plain(value: Any, depth: int = 4) -> bool:
    if isinstance(value, dict | list):
        inner: Sequence[Any] = [*value.values()] if isinstance(value, dict) else value
        return depth > 0 and all(_is_plain(v, depth - 1) for v in inner)
    return value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _check_probes(text: str) -> None:
    for probe in probes_of(text):
        texts = (probe.kind, probe.expected, probe.given, *probe.memory_ids, *(turn.content for turn in probe.turns))
        if not all(isinstance(t, str) for t in texts) or any(t.role not in get_args(Role) for t in probe.turns):
            raise ValueError("its probes are not those of a bake")
