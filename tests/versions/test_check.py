"""Adapters that are damaged, hostile or of another base are refused before anything opens them."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from bakemem.errors import AdapterError
from bakemem.versions import Manifest, VersionStore, check_adapter

WEIGHTS = "adapter_model.safetensors"
Write = Callable[..., None]
Shapes = dict[str, tuple[int, ...]]
Config = dict[str, object]


def test_a_fresh_bake_passes(adapter: Path, shapes: Shapes) -> None:
    """With and without the shapes that the base expects; there is no manifest yet."""
    check_adapter(adapter)
    check_adapter(adapter, expected_shapes=shapes, base_fingerprint="anything")


@pytest.mark.parametrize(("dtype", "bits"), [("F32", 0x3F800000), ("F16", 0x3C00), ("BF16", 0x3F80), ("BF16", 0x7F7F)])
def test_every_float_type_of_a_bake_passes(
    adapter: Path, write_weights: Write, shapes: Shapes, dtype: str, bits: int
) -> None:
    """Ones, and the largest finite number."""
    write_weights(adapter / WEIGHTS, shapes, dtype, bits)
    check_adapter(adapter)


def test_what_the_library_writes_passes(adapter: Path) -> None:
    """The configuration with all the keys that PEFT writes for LoRA, at their defaults."""
    everything = {
        "task_type": None, "peft_type": "LORA", "auto_mapping": None, "peft_version": "0.21.2",
        "base_model_name_or_path": None, "revision": None, "inference_mode": False, "r": 2,
        "target_modules": ["q_proj"], "exclude_modules": None, "lora_alpha": 32, "lora_dropout": 0.0,
        "fan_in_fan_out": False, "bias": "none", "use_rslora": False, "modules_to_save": None,
        "init_lora_weights": True, "layers_to_transform": None, "layers_pattern": None, "rank_pattern": {},
        "alpha_pattern": {}, "megatron_config": None, "megatron_core": "megatron.core",
        "trainable_token_indices": None, "loftq_config": {}, "eva_config": None, "corda_config": None,
        "lora_ga_config": None, "use_dora": False, "velora_config": None, "alora_invocation_tokens": None,
        "use_qalora": False, "qalora_group_size": 16, "monteclora_config": None, "layer_replication": None,
        "lora_bias": False, "target_parameters": None, "use_bdlora": None, "arrow_config": None, "kasa_config": None,
        "ensure_weight_tying": False,
    }  # fmt: skip
    (adapter / "adapter_config.json").write_text(json.dumps(everything))
    check_adapter(adapter)


@pytest.mark.parametrize(
    "name", ["adapter_model.bin", "model.pt", "run.py", "README.md", ".hidden", "adapter_model.safetensors.bak"]
)
def test_no_other_file_may_be_there(adapter: Path, name: str) -> None:
    """A pickle or a script beside the weights is refused by its name."""
    (adapter / name).write_bytes(b"cos\nsystem\n")
    with pytest.raises(AdapterError, match=name):
        check_adapter(adapter)


@pytest.mark.parametrize("name", [WEIGHTS, "adapter_config.json"])
def test_missing_and_linked_files_are_refused(adapter: Path, tmp_path: Path, name: str) -> None:
    """A file must be there, and be a plain file in the folder itself."""
    moved = tmp_path / "elsewhere"
    os.rename(adapter / name, moved)
    with pytest.raises(AdapterError, match="incomplete"):
        check_adapter(adapter)
    (adapter / name).symlink_to(moved)
    with pytest.raises(AdapterError, match="link"):
        check_adapter(adapter)
    (adapter / name).unlink()
    (adapter / name).mkdir()
    with pytest.raises(AdapterError, match="plain"):
        check_adapter(adapter)


def test_the_folder_itself_must_be_plain(adapter: Path, tmp_path: Path) -> None:
    """A link to a folder, a file and nothing at all are refused."""
    (tmp_path / "link").symlink_to(adapter)
    (tmp_path / "file").write_text("")
    for name in ("link", "file", "nothing"):
        with pytest.raises(AdapterError):
            check_adapter(tmp_path / name)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("auto_mapping", {"base_model_class": "Evil", "parent_library": "evil"}),
        ("megatron_core", "evil.module"),
        ("rank_pattern", {"q_proj": 8}),
        ("alpha_pattern", {"q_proj": 8}),
        ("modules_to_save", ["lm_head"]),
        ("layer_replication", [[0, 4]]),
        ("peft_type", "PREFIX_TUNING"),
        ("task_type", "SEQ_CLS"),
        ("target_modules", ".*"),
        ("target_modules", "all-linear"),
        ("target_modules", ["q_proj", "(a+)+$"]),
        ("target_modules", []),
        ("target_modules", [1]),
        ("r", 0), ("r", 257), ("r", -1), ("r", "2"), ("r", 2.0), ("r", True), ("r", 3),
        ("lora_alpha", 0), ("lora_alpha", 1e9), ("lora_alpha", float("nan")), ("lora_alpha", float("inf")),
        ("lora_alpha", "16"), ("use_dora", True), ("use_rslora", True), ("bias", "all"), ("init_lora_weights", "pissa"),
        ("base_model_name_or_path", "x" * 1_000), ("trust_remote_code", True), ("__class__", "os.system"),
    ],
)  # fmt: skip
def test_a_hostile_configuration_is_refused(adapter: Path, config: Config, key: str, value: object) -> None:
    """Keys off the list, and values that would run code, follow names or scale layers unevenly."""
    (adapter / "adapter_config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(AdapterError):
        check_adapter(adapter)


@pytest.mark.parametrize("key", ["peft_type", "r", "lora_alpha", "target_modules"])
def test_an_incomplete_configuration_is_refused(adapter: Path, config: Config, key: str) -> None:
    """What decides the shape of the adapter must be said."""
    del config[key]
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(AdapterError, match=key):
        check_adapter(adapter)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 60_000, b'{"r": 2}' + b" " * 70_000]
)
def test_a_configuration_that_is_no_json_object_is_refused(adapter: Path, content: bytes) -> None:
    """Also where it is deep or long."""
    (adapter / "adapter_config.json").write_bytes(content)
    with pytest.raises(AdapterError):
        check_adapter(adapter)


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [
        ("BF16", 0x7F80), ("BF16", 0xFF80), ("BF16", 0x7FC0), ("BF16", 0xFFFF), ("F16", 0x7C00), ("F16", 0x7E00),
        ("F32", 0x7F800000), ("F32", 0xFFC00000),
    ],
)  # fmt: skip
def test_numbers_that_are_not_finite_are_refused(
    adapter: Path, write_weights: Write, shapes: Shapes, dtype: str, bits: int
) -> None:
    """NaN and both infinities, in every type."""
    write_weights(adapter / WEIGHTS, shapes, dtype, bits)
    with pytest.raises(AdapterError, match="NaN or infinite"):
        check_adapter(adapter)


@pytest.mark.parametrize("dtype", ["I32", "F64"])
def test_other_number_types_are_refused(adapter: Path, write_weights: Write, shapes: Shapes, dtype: str) -> None:
    """A bake writes 16- and 32-bit floats only."""
    write_weights(adapter / WEIGHTS, shapes, dtype, 1)
    with pytest.raises(AdapterError, match="not one of"):
        check_adapter(adapter)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda b: b"", lambda b: b[:7], lambda b: b[:-1], lambda b: b + b"x", lambda b: b"\x80\x04cos\nsystem\n",
        lambda b: struct.pack("<Q", 1 << 60) + b[8:], lambda b: struct.pack("<Q", 2) + b"{}",
        lambda b: b.replace(b"[8,2]", b"[9,2]"), lambda b: b.replace(b'"BF16"', b'"EVIL"'),
    ],
)  # fmt: skip
def test_a_damaged_weight_file_is_refused(adapter: Path, spoil: Callable[[bytes], bytes]) -> None:
    """Cut, grown, pickled, lying about its length, empty, or inconsistent."""
    path = adapter / WEIGHTS
    before = path.read_bytes()
    path.write_bytes(spoil(before))
    assert path.read_bytes() != before
    with pytest.raises(AdapterError):
        check_adapter(adapter)


Q = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    "change",
    [
        {f"{Q}.lora_B.weight": None},
        {f"{Q}.lora_A.weight": (3, 8)},
        {f"{Q}.lora_A.weight": (2, 8, 1)},
        {f"{Q}.lora_A.weight": (2, 0)},
        {f"{Q}.weight": (8, 8)},
        {"base_model.model.lm_head.weight": (8, 8)},
        {f"{Q}.lora_embedding_A": (2, 8)},
        {"base_model.model.evil_q_proj.lora_A.weight": (2, 8), "base_model.model.evil_q_proj.lora_B.weight": (8, 2)},
        {"a/../q_proj.lora_A.weight": (2, 8), "a/../q_proj.lora_B.weight": (8, 2)},
    ],
)
def test_tensors_that_are_no_pairs_of_the_rank_are_refused(
    adapter: Path, write_weights: Write, shapes: Shapes, change: dict[str, tuple[int, ...] | None]
) -> None:
    """Half pairs, wrong ranks, whole weights, and modules that the configuration does not name."""
    changed = {name: shape for name, shape in {**shapes, **change}.items() if shape is not None}
    write_weights(adapter / WEIGHTS, changed)
    with pytest.raises(AdapterError):
        check_adapter(adapter)


def test_an_adapter_of_another_base_is_refused(adapter: Path, shapes: Shapes) -> None:
    """A wrong, a missing and an extra shape are each named."""
    name = next(iter(shapes))
    for expected in ({**shapes, name: (2, 16)}, {**shapes, "more": (2, 2)}, {name: shapes[name]}):
        with pytest.raises(AdapterError, match="does not fit this base"):
            check_adapter(adapter, expected_shapes=expected)


def test_a_version_is_held_to_its_manifest(
    tmp_path: Path, adapter: Path, make_manifest: Callable[..., Manifest], write_weights: Write, shapes: Shapes
) -> None:
    """Weights exchanged after the bake, another base, and a changed manifest are refused; both bases are named."""
    store = VersionStore(tmp_path)
    store.stage(adapter, make_manifest())
    folder = store.folder("v1")
    with pytest.raises(AdapterError, match=r"base-1.*base-2"):
        check_adapter(folder, base_fingerprint="base-2")
    before = (folder / WEIGHTS).read_bytes()
    write_weights(folder / WEIGHTS, shapes, bits=0x4000)
    with pytest.raises(AdapterError, match="another hash"):
        check_adapter(folder)
    (folder / WEIGHTS).write_bytes(before)
    check_adapter(folder, base_fingerprint="base-1")
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(AdapterError, match="cannot be trusted"):
        check_adapter(folder)
