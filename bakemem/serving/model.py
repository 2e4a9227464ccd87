"""The live model: one base in memory, baked adapters beside it, and which of them answers new requests.

Knows weights and adapters by id; knows no memories, prompts or journals.
"""

from __future__ import annotations

import hashlib
import json
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from peft.utils import set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from bakemem.config import Config
from bakemem.errors import AdapterError, ModelError
from bakemem.template import ChatTemplate

_PREFIX = "base_model.model."


@dataclass
class Base:
    """A base model with its template; `lock` guards which adapter is active, and is held for one step at a time."""

    name: str
    model: PreTrainedModel
    template: ChatTemplate
    fingerprint: str
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def context(self) -> int:
        """The longest conversation in tokens that the model has positions for."""
        return int(getattr(self.model.config.get_text_config(), "max_position_embeddings", 0) or 1_000_000)

    def shard_tokens(self, config: Config) -> int:
        """The longest prompt that this model follows well as a teacher: the setting, or what the model says of itself.

        A model says it in its `config.json` as `"bakemem": {"shard_tokens": N}`; without that, 1,024.
        """
        advice: dict[str, int] = getattr(self.model.config, "bakemem", None) or {}
        return config.shard_tokens or advice.get("shard_tokens", 1024)

    @property
    def width(self) -> int:
        """The hidden size H."""
        return int(self.model.config.get_text_config().hidden_size)


def load_base(
    name: str, *, device: str = "auto", dtype: str = "auto", trust_remote_code: bool = False,
    template_arguments: Mapping[str, Any] | None = None,
) -> Base:  # fmt: skip
    """Load a causal language model from a folder or the hub. Raises ModelError, which says what to do."""
    where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    kind: Any = dtype if dtype != "auto" or where.type != "cpu" else torch.float32
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
        model = AutoModelForCausalLM.from_pretrained(name, dtype=kind, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise ModelError(
            f"The base model {name!r} cannot be loaded: {error}. Give `starter`, a folder with a Hugging Face causal "
            "language model, or a hub id that this machine can reach or has cached."
        ) from error
    move: Any = model.to  # typed for other arguments than it takes
    model = move(where).eval().requires_grad_(False)
    return wrap_base(name, model, tokenizer, template_arguments)


def wrap_base(
    name: str, model: PreTrainedModel, tokenizer: Any, template_arguments: Mapping[str, Any] | None = None
) -> Base:
    """A base from a model and tokenizer that are already in memory."""
    template = ChatTemplate(tokenizer, template_arguments)
    return Base(name, model, template, fingerprint(model, tokenizer))


def fingerprint(model: PreTrainedModel, tokenizer: Any) -> str:
    """What an adapter must match: a hash of architecture, vocabulary, chat template and sampled weights."""
    digest = hashlib.sha256()
    config = model.config.to_diff_dict()
    skipped = {"transformers_version", "_name_or_path", "dtype", "torch_dtype", "_attn_implementation"}
    digest.update(json.dumps({k: v for k, v in config.items() if k not in skipped}, sort_keys=True,
                             default=str).encode())  # fmt: skip
    digest.update(json.dumps(sorted(tokenizer.get_vocab().items())).encode())
    digest.update(str(tokenizer.chat_template).encode())
    for name, parameter in model.named_parameters():
        if ".lora_" not in name:
            flat = parameter.detach().flatten()
            sample = flat[:: max(1, len(flat) // 64)][:64].to("cpu", torch.bfloat16).view(torch.int16)
            digest.update(name.replace(".base_layer.", ".").encode() + sample.numpy().tobytes())
    return digest.hexdigest()[:16]


class ServingModel:
    """A base that serves: adapters are attached beside each other, and `live` names the one for new requests."""

    def __init__(self, base: Base) -> None:
        self.base = base
        self._live: str | None = None

    @property
    def live(self) -> str | None:
        """The id of the adapter that answers new requests; None is the base."""
        return self._live

    def _has(self, adapter_id: str) -> bool:
        return adapter_id in (getattr(self.base.model, "peft_config", None) or {})

    def attach(self, adapter_id: str, folder: Path) -> None:
        """Read an adapter that was checked before into place beside the others. Raises AdapterError."""
        if self._has(adapter_id):  # an id names its content, so it is the same one
            return
        try:
            tensors = load_file(folder / "adapter_model.safetensors")
            config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        except (OSError, SafetensorError, ValueError) as error:
            raise AdapterError(f"The adapter in {folder} cannot be read: {error}. Run `bakemem log`.") from error
        named = {"r", "lora_alpha", "target_modules", "fan_in_fan_out", "bias", "task_type"}
        kept = {k: value for k, value in config.items() if k in named}
        with self.base.lock:
            model = self.base.model
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several adapters are meant
                model.add_adapter(LoraConfig(**kept, lora_dropout=0.0, inference_mode=True), adapter_name=adapter_id)
            for name, parameter in model.named_parameters():
                if f".{adapter_id}." in name:
                    parameter.data = parameter.data.float()  # as it was trained and judged, also on a bfloat16 base
            stripped = {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items()}
            outcome: Any = set_peft_model_state_dict(model, stripped, adapter_name=adapter_id)
            missing = [k for k in outcome.missing_keys if f".{adapter_id}." in k]
            if outcome.unexpected_keys or missing:
                model.delete_adapter(adapter_id)
                raise AdapterError(
                    f"The adapter in {folder} does not fit {self.base.name}: unexpected "
                    f"{outcome.unexpected_keys[:3]}, missing {missing[:3]}."
                )
            model.requires_grad_(False)

    def swap(self, adapter_id: str | None) -> None:
        """From the next request on, this adapter answers (None: the base); running replies keep theirs."""
        if adapter_id is not None and not self._has(adapter_id):
            raise AdapterError(f"Adapter {adapter_id} is not attached; attach it before the swap.")
        self._live = adapter_id

    def detach(self, adapter_id: str) -> None:
        """Free an adapter's memory; the live one stays. Raises AdapterError for it."""
        if adapter_id == self._live:
            raise AdapterError(f"Adapter {adapter_id} is live; swap to another first.")
        if self._has(adapter_id):
            with self.base.lock, warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Adapter .* was active")  # each request sets its own
                self.base.model.delete_adapter(adapter_id)

    @contextmanager
    def active(self, adapter_id: str | None, strength: float = 1.0) -> Iterator[PreTrainedModel]:
        """The model with exactly this adapter at this strength, for one step; the lock is held inside."""
        with self.base.lock:
            model = self.base.model
            if adapter_id is None or strength == 0.0:
                if getattr(model, "peft_config", None):
                    model.disable_adapters()
                yield model
                return
            if not self._has(adapter_id):
                raise AdapterError("The version that this reply began with is destroyed: ask again.")
            model.set_adapter(adapter_id)
            model.enable_adapters()
            if strength == 1.0:
                yield model
                return
            layers = [m for m in model.modules() if isinstance(m, LoraLayer)]
            for layer in layers:
                layer.set_scale(adapter_id, strength)
            try:
                yield model
            finally:
                for layer in layers:
                    layer.set_scale(adapter_id, 1.0)
