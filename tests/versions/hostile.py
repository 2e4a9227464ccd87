"""Adapters that were damaged or made to harm, one of each kind, and the reason that must be given for each refusal."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bakemem.versions.manifest import manifest_of
from tests.adapters import CONFIG, CONFIG_FILE, SHAPES, WEIGHTS, write_weights

MANIFEST, PROBES = "manifest.json", "probes.json"
Q = "base_model.model.model.layers.0.self_attn.q_proj"
Spoil = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """`why` is part of the message. What `before` spoils is in the manifest with its true hash, as if it had been baked
    so; `after` spoils the committed version; `baked` are fields of the manifest.
    """

    why: str
    before: Spoil = lambda folder: None
    after: Spoil = lambda folder: None
    baked: Mapping[str, Any] = field(default_factory=dict)


def config(why: str, **values: object) -> Case:
    """The configuration with these values in it."""
    return raw_config(why, json.dumps({**CONFIG, **values}).encode())


def raw_config(why: str, content: bytes) -> Case:
    """The bytes of the configuration."""
    return Case(why, lambda folder: (folder / CONFIG_FILE).write_bytes(content))


def lacking(key: str) -> Case:
    """The configuration without a key."""
    return raw_config(f"does not set {key}", json.dumps({k: v for k, v in CONFIG.items() if k != key}).encode())


def tensors(why: str, changes: Mapping[str, tuple[int, ...] | None]) -> Case:
    """The weights with other shapes; None takes one away."""
    shapes = {name: shape for name, shape in {**SHAPES, **changes}.items() if shape is not None}
    return Case(why, lambda folder: write_weights(folder / WEIGHTS, shapes))


def numbers(why: str, dtype: str, bits: int) -> Case:
    """All weights of one number."""
    return Case(why, lambda folder: write_weights(folder / WEIGHTS, SHAPES, dtype, bits))


def weights(spoil: Callable[[bytes], bytes]) -> Case:
    """Weights that are no safetensors file."""

    def change(folder: Path) -> None:
        before = (folder / WEIGHTS).read_bytes()
        assert spoil(before) != before
        (folder / WEIGHTS).write_bytes(spoil(before))

    return Case("no readable safetensors file", change)


def header(change: Callable[[dict[str, Any]], object]) -> Case:
    """Weights whose table of contents lies."""

    def rewrite(content: bytes) -> bytes:
        end = 8 + struct.unpack("<Q", content[:8])[0]
        table = json.loads(content[8:end])
        change(table)
        text = json.dumps(table).encode()
        return struct.pack("<Q", len(text)) + text + content[end:]

    return weights(rewrite)


def extra(name: str) -> Case:
    """A file that is no part of an adapter."""
    return Case("no part of an adapter", after=lambda folder: (folder / name).write_bytes(b"cos\nsystem\n"))


def instead(why: str, name: str, make: Spoil) -> Case:
    """Something else under a file's name."""

    def replace(folder: Path) -> None:
        (folder / name).rename(folder.parent.parent / "moved")
        make(folder / name)

    return Case(why, after=replace)


def manifest(why: str, content: bytes) -> Case:
    """Other bytes for the manifest."""
    return Case(why, after=lambda folder: (folder / MANIFEST).write_bytes(content))


def resealed(why: str, **changes: Any) -> Case:
    """A manifest that was changed, with the id that it has now."""

    def rewrite(folder: Path) -> None:
        true = manifest_of((folder / MANIFEST).read_text(encoding="utf-8"))
        (folder / MANIFEST).write_text(dataclasses.replace(true, **changes).to_json(), encoding="utf-8")

    return Case(why, after=rewrite)


def edited(why: str, old: str, new: str) -> Case:
    """A manifest that was changed by hand."""

    def rewrite(folder: Path) -> None:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        assert old in text
        (folder / MANIFEST).write_text(text.replace(old, new, 1), encoding="utf-8")

    return Case(why, after=rewrite)


def grown(name: str, size: int) -> Spoil:
    """Makes a file huge without filling the disk."""

    def grow(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.truncate(size)

    return grow


def another_version(folder: Path) -> None:
    """The whole folder of a true version of another seed."""
    true = manifest_of((folder / MANIFEST).read_text(encoding="utf-8"))
    (folder / MANIFEST).write_text(dataclasses.replace(true, seed=7, name="v2").to_json(), encoding="utf-8")


def another_weights(folder: Path) -> None:
    """The weights of another true adapter."""
    write_weights(folder / WEIGHTS, SHAPES, bits=0x4000)


def linked_folder(folder: Path) -> None:
    """A link to the true folder."""
    folder.rename(folder.parent.parent / "moved")
    folder.symlink_to(folder.parent.parent / "moved")


def deep(levels: int) -> bytes:
    """JSON in JSON in JSON."""
    return b'{"auto_mapping": ' + b"[" * levels + b"]" * levels + b"}"


NOT_ALLOWED, NO_JSON, NAN, SHAPE, NO_PART = (
    "is not allowed", "cannot be read as JSON", "NaN or infinite", "does not fit rank", "no part of an adapter",
)  # fmt: skip
NO_LORA, PLAIN, DISTRUST = "no LoRA weight", "no plain file", "cannot be trusted"
EVIL_PAIR: dict[str, tuple[int, ...]] = {
    "base_model.model.evil_q_proj.lora_A.weight": (2, 8), "base_model.model.evil_q_proj.lora_B.weight": (8, 2),
}  # fmt: skip

CASES: dict[str, Case] = {
    # What lies in the folder
    **{f"extra {name!r}": extra(name) for name in (
        "adapter_model.bin", "model.pt", "training_args.pkl", "pytorch_model.bin", "run.py", "README.md", ".hidden",
        "adapter_model.safetensors.bak", "adapter_model.safetensors.index.json", "Adapter_Config.json",
        "ADAPTER_MODEL.SAFETENSORS", "adapter_config.json ", "adapter_config\u200b.json", "ａdapter_config.json",
        "adapter_config.json\n", "tokenizer_config.json", "chat_template.jinja",
    )},
    "extra folder": Case(NO_PART, after=lambda folder: (folder / "lib").mkdir()),
    "weights missing": Case("incomplete", after=lambda folder: (folder / WEIGHTS).unlink()),
    "configuration missing": Case("incomplete", after=lambda folder: (folder / CONFIG_FILE).unlink()),
    "weights only under another case": Case(
        "incomplete", after=lambda folder: (folder / WEIGHTS).rename(folder / WEIGHTS.upper())
    ),
    **{f"{name} is a {what}": instead(PLAIN, name, make)
       for name in (WEIGHTS, CONFIG_FILE, MANIFEST)
       for what, make in {
           "link": lambda path: path.symlink_to(path.parent.parent.parent / "moved"),
           "dangling link": lambda path: path.symlink_to("nowhere"), "folder": lambda path: path.mkdir(),
           "pipe": os.mkfifo,
       }.items()},
    "probes are a link": Case(PLAIN, after=lambda folder: (folder / PROBES).symlink_to(CONFIG_FILE)),
    "weights are huge": Case("is larger than", after=grown(WEIGHTS, (4 << 30) + 1)),
    "configuration is huge": Case("is larger than", before=grown(CONFIG_FILE, (1 << 16) + 1)),
    "manifest is huge": Case("is larger than", after=grown(MANIFEST, 1 << 32)),
    "probes are huge": Case("is larger than", after=grown(PROBES, 1 << 32)),
    "folder is gone": Case("not a folder", after=shutil.rmtree),
    "folder is a link": Case("not a folder", after=linked_folder),
    # The configuration as JSON
    **{f"configuration is {what}": raw_config(NO_JSON, content) for what, content in {
        "empty": b"", "cut": b'{"r": 2', "UTF-16": json.dumps(CONFIG).encode("utf-16"), "not UTF-8": b'{"r": "\xff"}',
        "deep": deep(30_000), "two objects": b"{}{}", "with a comment": b'{"r": 2} // 3', "a pickle": b"\x80\x04N.",
        "with a key twice": json.dumps(CONFIG).encode().replace(b'{"peft_type"', b'{"r": 9, "peft_type"'),
        "with a key twice inside": b'{"rank_pattern": {"a": 1, "a": 2}}', "with NaN": b'{"lora_alpha": NaN}',
        "with Infinity": b'{"lora_alpha": Infinity}', "with a number of 5000 digits": b'{"r": ' + b"9" * 5_000 + b"}",
    }.items()},
    **{f"configuration is {text}": raw_config("not a JSON object", text.encode()) for text in ("[]", "null", "1")},
    **{f"configuration nests {n} deep": raw_config("auto_mapping|JSON", deep(n)) for n in (300, 900, 980, 990)},
    **{f"configuration lacks {key}": lacking(key) for key in ("peft_type", "r", "lora_alpha", "target_modules")},
    # What the configuration says
    **{f"configuration sets {key}": config("not on the list of known keys", **{key: True}) for key in (
        "trust_remote_code", "__class__", "auto_map", "R", "lora_alpha ", "target_module", "peft_type\u200b",
    )},
    **{f"{key} is {str(value)[:40]!r}": config(NOT_ALLOWED, **{key: value}) for key, value in (
        ("auto_mapping", {"base_model_class": "Evil", "parent_library": "evil"}), ("megatron_core", "evil.module"),
        ("megatron_config", {"a": 1}), ("rank_pattern", {"q_proj": 8}), ("alpha_pattern", {"q_proj": 8}),
        ("modules_to_save", ["lm_head"]), ("layer_replication", [[0, 4]]), ("loftq_config", {"loftq_bits": 4}),
        ("eva_config", {"rho": 2}), ("corda_config", {"cache_file": "/etc/passwd"}), ("lora_ga_config", {"a": 1}),
        ("layers_to_transform", [0]), ("layers_pattern", "layers"), ("exclude_modules", ".*"),
        ("trainable_token_indices", [1]), ("target_parameters", ["embed"]), ("runtime_config", {"offload": True}),
        ("alora_invocation_tokens", [1]), ("peft_type", "PREFIX_TUNING"), ("peft_type", ["LORA"]),
        ("task_type", "SEQ_CLS"), ("target_modules", ".*"), ("target_modules", "all-linear"),
        ("target_modules", ["q_proj", "(a+)+$"]), ("target_modules", ["q_proj", "../../etc"]),
        ("target_modules", ["q_proj", "a/b"]), ("target_modules", ["q_proj", ".."]), ("target_modules", ["q_proj\n"]),
        ("target_modules", ["q_proj", "q_proj"]), ("target_modules", ["q_\u0440roj"]), ("target_modules", [""]),
        ("target_modules", []), ("target_modules", [1]), ("target_modules", {"q_proj": 1}),
        ("target_modules", ["q" * 201]), ("target_modules", ["q_proj"] * 201),
        ("r", 0), ("r", 257), ("r", 10**9), ("r", -1), ("r", "2"), ("r", 2.0), ("r", True), ("r", None),
        ("lora_alpha", 0), ("lora_alpha", -4), ("lora_alpha", 1e9), ("lora_alpha", True), ("lora_alpha", "16"),
        ("lora_alpha", None), ("lora_alpha", 10**400), ("lora_dropout", 1.0), ("lora_dropout", -0.5),
        ("lora_dropout", "0"), ("use_dora", True), ("use_rslora", True), ("use_qalora", True), ("lora_bias", True),
        ("bias", "all"), ("bias", "lora_only"), ("init_lora_weights", "pissa"), ("init_lora_weights", "loftq"),
        ("inference_mode", 1), ("fan_in_fan_out", "yes"), ("base_model_name_or_path", "x" * 1_000), ("revision", 3),
    )},
    "lora_alpha is 1e999": raw_config(
        NOT_ALLOWED, json.dumps(CONFIG).encode().replace(b'"lora_alpha": 4', b'"lora_alpha": 1e999')
    ),
    "r is not the rank of the weights": config(SHAPE, r=3),
    "a target has no weights": config("no weights for lm_head", target_modules=["q_proj", "lm_head"]),
    # The weights as a file
    **{f"weights are {what}": weights(spoil) for what, spoil in {
        "empty": lambda b: b"", "seven bytes": lambda b: b[:7], "cut": lambda b: b[:-1], "longer": lambda b: b + b"x",
        "a pickle": lambda b: b"\x80\x04cos\nsystem\n", "a zip": lambda b: b"PK\x03\x04" + b,
        "with a header of an exabyte": lambda b: struct.pack("<Q", 1 << 60) + b[8:],
        "with a header that wraps around": lambda b: struct.pack("<Q", (1 << 64) - 1) + b[8:],
        "with a header of no length": lambda b: struct.pack("<Q", 0) + b[8:],
        "with a header that is cut": lambda b: struct.pack("<Q", 30) + b[8:],
        "with a header that is no JSON": lambda b: b.replace(b"{", b"[", 1),
        "with a header that is not UTF-8": lambda b: b.replace(b"q_proj", b"q_pro\xff"),
        "larger than they say": lambda b: b.replace(b"[8,2]", b"[9,2]"),
        "of an unknown type": lambda b: b.replace(b'"BF16"', b'"EVIL"'),
    }.items()},
    **{f"header has {what}": header(change) for what, change in {
        "overlapping weights": lambda t: t[f"{Q}.lora_B.weight"].update(data_offsets=[0, 32]),
        "a negative offset": lambda t: t[f"{Q}.lora_A.weight"].update(data_offsets=[-32, 0]),
        "an offset beyond the end": lambda t: t[f"{Q}.lora_B.weight"].update(data_offsets=[32, 1 << 50]),
        "offsets the wrong way round": lambda t: t[f"{Q}.lora_A.weight"].update(data_offsets=[32, 0]),
        "a hole": lambda t: t.pop(f"{Q}.lora_A.weight"), "a negative length": lambda t: t[f"{Q}.lora_A.weight"].update(
            shape=[-2, -8]), "a length that overflows": lambda t: t[f"{Q}.lora_A.weight"].update(
            shape=[1 << 33, 1 << 33]), "metadata that are no texts": lambda t: t.update(__metadata__={"a": {"b": 1}}),
    }.items()},
    "weights hold nothing": Case("lacks all weights", lambda f: write_weights(f / WEIGHTS, {})),
    # The numbers
    **{f"{dtype} {bits:#x}": numbers(NAN, dtype, bits) for dtype, bits in (
        ("BF16", 0x7F80), ("BF16", 0xFF80), ("BF16", 0x7FC0), ("BF16", 0xFFFF), ("F16", 0x7C00), ("F16", 0x7E00),
        ("F32", 0x7F800000), ("F32", 0xFFC00000),
    )},
    **{f"weights of {dtype}": numbers("not one of", dtype, 1) for dtype in ("I32", "F64", "I16", "U16")},
    # The tensors
    "half a pair": tensors("half of the pair", {f"{Q}.lora_B.weight": None}),
    "a side twice": tensors("twice", {f"{Q}.lora_A.default.weight": (2, 8)}),
    **{f"lora_A of shape {shape}": tensors(SHAPE, {f"{Q}.lora_A.weight": shape})
       for shape in ((3, 8), (8, 2), (2, 8, 1), (16,), (), (2, 0))},
    **{f"tensor {name!r}": tensors(NO_LORA, {name: (2, 8)}) for name in (
        f"{Q}.weight", "base_model.model.lm_head.weight", f"{Q}.lora_embedding_A", f"{Q}.lora_magnitude_vector",
        f"{Q}.lora_A.other.weight", f"{Q}.lora_C.weight", f"{Q}.lora_A.bias", "a/../q_proj.lora_A.weight",
        "..q_proj.lora_A.weight", "q_\u0440roj.lora_A.weight", "q_proj.lora_A.weight\n", "", "__class__",
        "base_model.model.k_proj.lora_A.weight",
    )},
    "a module that only ends like a target": tensors(NO_LORA, EVIL_PAIR),
    # The manifest
    "manifest missing": Case("nothing vouches", after=lambda folder: (folder / MANIFEST).unlink()),
    **{f"manifest is {what}": manifest(DISTRUST, content) for what, content in {
        "empty": b"", "a list": b"[]", "an empty object": b"{}", "not UTF-8": b"\xff\xfe{", "deep": b"[" * 100_000,
        "a number": b"1", "null": b"null",
    }.items()},
    "manifest changed by hand": edited(DISTRUST, '"seed": 0', '"seed": 1'),
    "manifest has a key twice": edited(DISTRUST, '"seed": 0', '"seed": 0, "seed": 0'),
    "manifest has another id": edited(DISTRUST, '"id": "', '"id": "0'),
    "manifest has a wrong hash": resealed("another hash", files={WEIGHTS: "0" * 64, CONFIG_FILE: "0" * 64}),
    "manifest lists nothing": resealed("another hash", files={}),
    **{f"manifest lists {name!r}": resealed(NO_PART, files={name: "0" * 64})
       for name in ("../../journal.db", "/etc/passwd", "a\0b", "run.py")},
    "manifest is sealed anew": resealed("which the journal names", seed=1),
    "another version's folder": Case("which the journal names", after=another_version),
    "another version's weights": Case("another hash", after=another_weights),
    "probes that nothing lists": Case("another hash", after=lambda folder: (folder / PROBES).write_text("[]")),
    "probes lost": Case("another hash", lambda folder: (folder / PROBES).write_text("[]"),
                        lambda folder: (folder / PROBES).unlink()),
    "probes changed": Case("another hash", lambda folder: (folder / PROBES).write_text("[]"),
                           lambda folder: (folder / PROBES).write_text("[1]")),
    "another base": Case("base big-model .*feedfeed", baked={"base_fingerprint": "feedfeed"}),
    "another number type": Case("bfloat16.*float32", baked={"settings": {"model": "big-model", "dtype": "bfloat16"}}),
    "a number type that is no text": Case("float32", baked={"settings": {"model": "big-model", "dtype": ["x"]}}),
}  # fmt: skip
