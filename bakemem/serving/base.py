"""A base model in memory with its chat template, and the fingerprint that an adapter must match.

Knows how models are loaded; knows no requests.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, PreTrainedModel

from bakemem.config import Config
from bakemem.errors import ModelError
from bakemem.kv import context_of
from bakemem.serving.adapters import Adapters
from bakemem.serving.guide import Grammars
from bakemem.serving.turnstile import Turnstile
from bakemem.template import ChatTemplate


@dataclass(eq=False)
class Base:
    """A base model with its template, and the adapters beside it.

    `lock` guards which of them is active, and is held for one step at a time. `baking` is held for a whole bake: the
    candidate is one adapter.
    """

    name: str
    model: PreTrainedModel
    template: ChatTemplate
    fingerprint: str
    lock: Turnstile = field(default_factory=Turnstile)
    baking: threading.Lock = field(default_factory=threading.Lock)
    adapters: Adapters = field(init=False)
    grammars: Grammars = field(init=False)

    def __post_init__(self) -> None:
        self.adapters = Adapters(self.model, self.lock)
        self.grammars = Grammars(self.template, int(self.model.config.get_text_config().vocab_size))

    @property
    def context(self) -> int:
        """The longest conversation in tokens that the model has positions for."""
        return context_of(self.model)

    def shard_tokens(self, config: Config) -> int:
        """The longest prompt that this model follows well as a teacher: the setting, or what the model says of itself.

        A model says it in its `config.json` as `"bakemem": {"shard_tokens": N}`; without that, 1,024.
        """
        advice: dict[str, int] = getattr(self.model.config, "bakemem", None) or {}
        return config.shard_tokens or advice.get("shard_tokens", 1024)

    @property
    def most_prompt(self) -> int:
        """The longest memory prompt that leaves room for talk: half of the context."""
        return self.context // 2

    @property
    def width(self) -> int:
        """The hidden size H."""
        return int(self.model.config.get_text_config().hidden_size)


def load_base(
    name: str, *, device: str = "auto", dtype: str = "auto", trust_remote_code: bool = False,
    template_arguments: Mapping[str, Any] | None = None,
) -> Base:  # fmt: skip
    """Load a causal language model from a folder or the hub. Raises ModelError, which says what to do."""
    try:
        where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        kind: Any = dtype if dtype != "auto" or where.type != "cpu" else torch.float32
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
        load: Any = AutoModelForCausalLM.from_pretrained  # typed as if it gave the model alone
        loaded, found = load(name, dtype=kind, trust_remote_code=trust_remote_code, output_loading_info=True)
        model: PreTrainedModel = loaded.to(where).eval().requires_grad_(False)
    except Exception as error:  # what a damaged file or a model's own code raises is anything
        raise ModelError(
            f"The base model {name!r} cannot be loaded on device {device!r} ({type(error).__name__}: {error}). Give "
            "`starter`, a folder with a Hugging Face causal language model, or a hub id that this machine can reach or "
            "has cached; and a device that this machine has, such as `cpu`."
        ) from error
    _check_whole(name, model, found["missing_keys"])
    return wrap_base(name, model, tokenizer, template_arguments)


def _check_whole(name: str, model: PreTrainedModel, missing: Collection[str]) -> None:
    """Raises ModelError where the library drew weights at random, or attached an adapter, which would be off here."""
    if drawn := sorted(missing & dict(model.named_parameters()).keys()):
        raise ModelError(
            f"The base model {name!r} lacks {len(drawn)} of its weights, such as {drawn[0]}: its files are incomplete, "
            "or it is no causal language model. Copy or download it again, or take another one."
        )
    if getattr(model, "peft_config", None):
        raise ModelError(
            f"The base model {name!r} is a PEFT adapter. Merge it into its base (`merge_and_unload`), save that with "
            "its tokenizer, and give its folder."
        )


def wrap_base(
    name: str, model: PreTrainedModel, tokenizer: Any, template_arguments: Mapping[str, Any] | None = None
) -> Base:
    """A base from a model and tokenizer that are already in memory. Raises ModelError for what cannot be served."""
    if "past_key_values" not in inspect.signature(model.forward).parameters:
        raise ModelError(
            f"The base model {name!r} ({type(model).__name__}) takes no key-value cache, so its replies would forget "
            "their prompt. Take a model with attention layers, such as Llama, Qwen, Mistral, or a hybrid like Jamba."
        )
    if own := _own_cache(model):
        raise ModelError(
            f"The base model {name!r} ({type(model).__name__}) takes no cache but its own {own}, which bakemem cannot "
            "fill. Take a model with attention layers, such as Llama, Qwen, Mistral, or a hybrid like Jamba."
        )
    if any("recurrent_states" in vars(module) for module in model.modules()):
        raise ModelError(
            f"The base model {name!r} ({type(model).__name__}) keeps what it read in its own layers, where the "
            "conversations of several users would mix. Take a model with attention layers, such as Llama, Qwen, "
            "Mistral, or a hybrid like Jamba."
        )
    _check_vocabulary(name, model, tokenizer)
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    template = ChatTemplate(tokenizer, template_arguments, [ends] if isinstance(ends, int) else ends or ())
    return Base(name, model, template, fingerprint(model, tokenizer))


def _check_vocabulary(name: str, model: PreTrainedModel, tokenizer: Any) -> None:
    """Raises ModelError for a token of plain text that has no embedding; special ones may lack it (Gemma 3's image)."""
    rows = getattr(model.get_input_embeddings(), "num_embeddings", None)
    special = {str(token) for token in getattr(tokenizer, "added_tokens_decoder", {}).values() if token.special}
    plain = {text: id for text, id in tokenizer.get_vocab().items() if text not in special}
    if rows is not None and plain and (last := max(plain, key=lambda text: plain[text])) and plain[last] >= rows:
        raise ModelError(
            f"The tokenizer of {name!r} has the token {last!r} with the id {plain[last]}, and the model has {rows} "
            "embeddings: call `resize_token_embeddings` after adding tokens, and train them, or take the tokenizer "
            "that the model came with."
        )


def _own_cache(model: PreTrainedModel) -> str | None:
    """The name of the only cache class that the model takes, where it is one of the model's own (MiniMax)."""
    taken = inspect.signature(model.base_model.forward).parameters.get("past_key_values")
    kinds = get_args(taken.annotation) if taken else ()
    caches = (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, DynamicCache))
    return next((kind.__name__ for kind in caches if kind is not DynamicCache), None)


def fingerprint(model: PreTrainedModel, tokenizer: Any) -> str:
    """What an adapter must match: a hash of architecture, vocabulary, chat template and sampled weights."""
    digest = hashlib.sha256()
    config = model.config.to_diff_dict()
    digest.update(json.dumps(_lasting(config), sort_keys=True, default=str).encode())
    digest.update(json.dumps(sorted(tokenizer.get_vocab().items())).encode())
    digest.update(str(tokenizer.chat_template).encode())
    for name, parameter in model.named_parameters():
        if ".lora_" not in name:
            flat = parameter.detach().flatten()
            sample = flat[:: max(1, len(flat) // 64)][:64].to("cpu", torch.bfloat16).view(torch.int16)
            digest.update(name.replace(".base_layer.", ".").encode() + sample.numpy().tobytes())
    return digest.hexdigest()[:16]


def _lasting(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration, and those within it, without what may differ from one loading to the next."""
    skipped = {"transformers_version", "_name_or_path", "dtype", "torch_dtype", "_attn_implementation", "bakemem"}
    return {
        key: _lasting(value) if isinstance(value, dict) and "model_type" in value else value
        for key, value in config.items() if key not in skipped
    }  # fmt: skip
