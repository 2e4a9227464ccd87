"""Whether an adapter from the disk may be loaded: checked before any library for adapters opens it.

Knows file formats and PEFT's configuration keys; loads no model and runs nothing that the files name.
"""

from __future__ import annotations

import hashlib
import re
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from bakemem.errors import AdapterError, HomeCorruptError
from bakemem.types import MAX_ALPHA, MAX_RANK
from bakemem.versions.finite import first_not_finite
from bakemem.versions.manifest import Manifest, manifest_of
from bakemem.versions.plain_json import plain_json
from bakemem.versions.store import ADAPTER_FILES, MANIFEST_FILE, PROBES_FILE

MAX_BYTES = {
    "adapter_model.safetensors": 4 << 30, "adapter_config.json": 1 << 16, PROBES_FILE: 1 << 28, MANIFEST_FILE: 1 << 26,
}  # fmt: skip
"""How long each file of an adapter may be; a file that is not named here is no part of one."""

MAX_TARGETS = 1_000
"""Whole names, each of one layer, where a model has others of the same last name."""

_NAME = r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*"
_TENSOR = re.compile(rf"(?P<module>{_NAME})\.lora_(?P<side>[AB])(?:\.default)?\.weight")
_MODULE = re.compile(_NAME)
_DTYPES = ("F32", "BF16", "F16")


def check_adapter(
    folder: Path, *, expected_shapes: Mapping[str, tuple[int, ...]] | None = None, base_fingerprint: str | None = None,
    base_name: str = "that is loaded", dtype: str | None = None, version_id: str | None = None,
) -> None:  # fmt: skip
    """Raises AdapterError, with what is wrong, unless the adapter in `folder` is plain, whole, finite and fits.

    `expected_shapes` (tensor name to shape) must be met exactly when given. The manifest's hashes are checked when
    there is a manifest, and with them the base it was baked on (`base_fingerprint`; `base_name` is for the message) and
    the number type of that base (`dtype`, such as `bfloat16`). A fresh bake has no manifest yet; with `version_id`,
    which is the version's id in the journal, there must be one, and it must be that version's.
    """
    if version_id is not None and not folder.is_dir():
        raise AdapterError(f"{folder} is not a folder: put it back from a backup, or roll back to another version.")
    _check_files(folder)
    rank, targets = _check_config(folder / "adapter_config.json")
    shapes = _check_tensors(folder / "adapter_model.safetensors", rank, targets)
    if expected_shapes is not None:
        _check_shapes(folder, shapes, expected_shapes)
    if (folder / MANIFEST_FILE).exists():
        manifest = _check_manifest(folder)
        if version_id not in (None, manifest.id):
            raise AdapterError(
                f"{folder} holds version {manifest.name} with the id {manifest.id}, not {version_id}, which the "
                "journal names: put the folder back from a backup, or roll back to another version."
            )
        _check_base(manifest, base_fingerprint, base_name, dtype)
    elif version_id is not None:
        raise AdapterError(
            f"{folder} has no {MANIFEST_FILE}: nothing vouches for its weights. Put the folder back from a backup, or "
            "roll back to another version."
        )


def _check_files(folder: Path) -> None:
    if folder.is_symlink() or not folder.is_dir():
        raise AdapterError(f"{folder} is not a folder with an adapter.")
    try:
        found = {entry.name: entry for entry in folder.iterdir()}
        for name in ADAPTER_FILES:
            if name not in found:
                raise AdapterError(
                    f"{folder} has no {name}: the adapter is incomplete. Bake again or use another version."
                )
        for name, entry in found.items():
            if name not in MAX_BYTES:
                raise AdapterError(f"{folder} holds {name!r}, which is no part of an adapter: remove it.")
            if entry.is_symlink() or not entry.is_file():
                raise AdapterError(f"{entry} is a link or no plain file: adapters are plain files only.")
            if entry.stat().st_size > MAX_BYTES[name]:
                raise AdapterError(f"{entry} is larger than {MAX_BYTES[name]} bytes: this is no LoRA adapter.")
    except OSError as error:
        raise AdapterError(f"{folder} cannot be read ({error}): mend its permissions, or roll back.") from error


def _is_rank(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MAX_RANK


def _is_alpha(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value <= MAX_ALPHA  # not NaN either: it compares false


def _is_text(value: Any) -> bool:
    return value is None or (isinstance(value, str) and len(value) <= 500)


def _is_targets(value: Any) -> bool:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_TARGETS:
        return False
    plain = all(isinstance(name, str) and len(name) <= 200 and _MODULE.fullmatch(name) for name in value)
    return plain and len(set(value)) == len(value)


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1


def _one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda value: any(type(value) is type(v) and value == v for v in values)


_EMPTY = _one_of(None, False, {}, [])

# Each key that PEFT writes for LoRA, and what it may hold. What could import a module, change the scaling of some
# layers only, or touch more than the adapter must be empty.
_CONFIG: dict[str, Callable[[Any], bool]] = {
    "peft_type": _one_of("LORA"), "task_type": _one_of(None, "CAUSAL_LM"), "peft_version": _is_text,
    "base_model_name_or_path": _is_text, "revision": _is_text, "inference_mode": _one_of(True, False),
    "r": _is_rank, "lora_alpha": _is_alpha, "target_modules": _is_targets, "lora_dropout": _is_share,
    "fan_in_fan_out": _one_of(True, False), "bias": _one_of("none"), "init_lora_weights": _one_of(True, False),
    "megatron_core": _one_of("megatron.core", None), "qalora_group_size": _one_of(16, None),
    **dict.fromkeys((
        "auto_mapping", "rank_pattern", "alpha_pattern", "exclude_modules", "use_rslora", "modules_to_save",
        "layers_to_transform", "layers_pattern", "megatron_config", "trainable_token_indices", "loftq_config",
        "eva_config", "corda_config", "lora_ga_config", "use_dora", "velora_config", "alora_invocation_tokens",
        "use_qalora", "monteclora_config", "layer_replication", "lora_bias", "target_parameters", "use_bdlora",
        "arrow_config", "kasa_config", "ensure_weight_tying", "runtime_config",
    ), _EMPTY),
}  # fmt: skip


def _check_config(path: Path) -> tuple[int, list[str]]:
    try:
        config = plain_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise AdapterError(f"{path} cannot be read as JSON ({error}): bake again or use another version.") from error
    if not isinstance(config, dict):
        raise AdapterError(f"{path} is not a JSON object.")
    for key, value in config.items():
        if key not in _CONFIG:
            raise AdapterError(f"{path} sets {key!r}, which is not on the list of known keys: the adapter is refused.")
        if not _CONFIG[key](value):
            raise AdapterError(f"{path} sets {key} to {reprlib.repr(value)}, which is not allowed.")
    for key in ("peft_type", "r", "lora_alpha", "target_modules"):
        if key not in config:
            raise AdapterError(f"{path} does not set {key}: it is not a LoRA adapter.")
    return config["r"], config["target_modules"]


def _check_tensors(path: Path, rank: int, targets: list[str]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 (a safetensors file is not a mapping)
                part = file.get_slice(name)
                if part.get_dtype() not in _DTYPES:
                    raise AdapterError(f"{path}: {name} is {part.get_dtype()}, not one of {', '.join(_DTYPES)}.")
                shapes[name] = tuple(part.get_shape())
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"{path} is no readable safetensors file ({error}): bake again or roll back.") from error
    sides: dict[str, set[str]] = {}
    for name, shape in shapes.items():
        match = _TENSOR.fullmatch(name)
        if match is None or not any(_is_part(match["module"], target) for target in targets):
            raise AdapterError(f"{path} holds {name!r}, which is no LoRA weight of its target modules.")
        if len(shape) != 2 or 0 in shape or shape[0 if match["side"] == "A" else 1] != rank:
            raise AdapterError(f"{path}: {name} has shape {shape}, which does not fit rank {rank}.")
        found = sides.setdefault(match["module"], set())
        if match["side"] in found:
            raise AdapterError(f"{path} holds lora_{match['side']} of {match['module']} twice.")
        found.add(match["side"])
    lonely = next((module for module, found in sides.items() if len(found) != 2), None)
    if lonely is not None or not sides:
        raise AdapterError(f"{path} lacks {'all weights' if lonely is None else f'half of the pair of {lonely}'}.")
    idle = next((t for t in targets if not any(_is_part(module, t) for module in sides)), None)
    if idle is not None:
        raise AdapterError(f"{path} has no weights for {idle}, which {path.with_name('adapter_config.json')} targets.")
    bad = first_not_finite(path)
    if bad is not None:
        raise AdapterError(f"{path}: {bad} holds NaN or infinite values. The bake diverged: bake again, or roll back.")
    return shapes


def _is_part(module: str, target: str) -> bool:
    return f".{module}".endswith(f".{target}")


def _check_shapes(folder: Path, shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> None:
    for name in sorted({*shapes, *expected}):
        has, needs = shapes.get(name, "nothing"), expected.get(name, "nothing")
        if has != needs:
            raise AdapterError(f"The adapter in {folder} does not fit this base: {name} is {has}, not {needs}.")


def _check_manifest(folder: Path) -> Manifest:
    try:
        manifest = manifest_of((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (HomeCorruptError, OSError, UnicodeDecodeError) as error:
        raise AdapterError(f"The manifest in {folder} cannot be trusted: {error}") from error
    if strange := set(manifest.files) - set(MAX_BYTES):
        raise AdapterError(f"The manifest in {folder} names {min(strange)!r}, which is no part of an adapter.")
    for name in {*ADAPTER_FILES, *manifest.files, *(entry.name for entry in folder.iterdir())} - {MANIFEST_FILE}:
        digest = None
        if (folder / name).is_file():
            with (folder / name).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest is None or manifest.files.get(name) != digest:
            raise AdapterError(
                f"{folder / name} is not the file that was baked (another hash): roll back, or bake again."
            )
    return manifest


def _check_base(manifest: Manifest, fingerprint: str | None, name: str, dtype: str | None) -> None:
    baked_on, number_type = manifest.settings.get("model", "unknown"), manifest.settings.get("dtype")
    if fingerprint is not None and manifest.base_fingerprint != fingerprint:
        raise AdapterError(
            f"Version {manifest.name} was baked on the base {baked_on} (fingerprint {manifest.base_fingerprint}), "
            f"but the base {name} has the fingerprint {fingerprint}: load the first one, or take the memories to a new "
            "home and bake them there (`bakemem export`, `bakemem import`, `bakemem bake`)."
        )
    if dtype is not None and number_type not in (None, dtype):
        raise AdapterError(
            f"Version {manifest.name} was baked on the base {baked_on} in {number_type}, but the base {name} is loaded "
            f'in {dtype}, which answers otherwise: set dtype = "{number_type}", or bake the memories again.'
        )
