"""What may pass as an adapter, and what must fit the base; `test_hostile.py` holds what is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bakemem.errors import AdapterError
from bakemem.versions import Manifest, VersionStore, check_adapter

WEIGHTS = "adapter_model.safetensors"
Write = Callable[..., None]
Shapes = dict[str, tuple[int, ...]]


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


def test_the_folder_itself_must_be_plain(adapter: Path, tmp_path: Path) -> None:
    """A link to a folder, a file and nothing at all are refused."""
    (tmp_path / "link").symlink_to(adapter)
    (tmp_path / "file").write_text("")
    for name in ("link", "file", "nothing"):
        with pytest.raises(AdapterError):
            check_adapter(tmp_path / name)


def test_an_adapter_of_another_base_is_refused(adapter: Path, shapes: Shapes) -> None:
    """A wrong, a missing and an extra shape are each named."""
    name = next(iter(shapes))
    for expected in ({**shapes, name: (2, 16)}, {**shapes, "more": (2, 2)}, {name: shapes[name]}):
        with pytest.raises(AdapterError, match="does not fit this base"):
            check_adapter(adapter, expected_shapes=expected)


def test_a_version_is_held_to_its_manifest(
    tmp_path: Path, adapter: Path, make_manifest: Callable[..., Manifest]
) -> None:
    """Another base and another number type are refused; both of each are named, and what to set."""
    store = VersionStore(tmp_path)
    settings = {"model": "big-model", "dtype": "bfloat16"}
    staged = store.stage(adapter, dataclasses.replace(make_manifest(), settings=settings))
    folder = store.folder("v1")
    check_adapter(folder, base_fingerprint="base-1", dtype="bfloat16", version_id=staged.id)
    with pytest.raises(AdapterError, match=r"big-model.*base-1.*starter.*base-2.*bakemem import"):
        check_adapter(folder, base_fingerprint="base-2", base_name="starter")
    with pytest.raises(AdapterError, match=r'bfloat16.*starter.*float16.*dtype = "bfloat16"'):
        check_adapter(folder, base_fingerprint="base-1", base_name="starter", dtype="float16")


def test_a_version_whose_folder_is_gone_is_told_with_what_to_do(tmp_path: Path) -> None:
    """Whoever chats with it has no other way to hear of it."""
    with pytest.raises(AdapterError, match="v1 is not a folder: put it back from a backup, or roll back"):
        check_adapter(tmp_path / "v1", version_id="0123456789ab")


def test_a_version_of_an_older_bakemem_says_no_number_type(
    tmp_path: Path, adapter: Path, make_manifest: Callable[..., Manifest]
) -> None:
    """It is taken on any, as it always was."""
    store = VersionStore(tmp_path)
    store.stage(adapter, make_manifest())
    check_adapter(store.folder("v1"), base_fingerprint="base-1", dtype="float16")
