"""One base model that is teacher and student: with the adapter off or on, and its hidden states and output head.

Knows Hugging Face causal language models and LoRA; knows no prompts, memories or files.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from bakemem.baking.divergence import Head
from bakemem.errors import BakeError

CANDIDATE = "candidate"


PLAIN = frozenset({
    "Linear", "Conv1D", "FalconLinear", "NonDynamicallyQuantizableLinear",
    "Linear4bit", "LinearFP4", "LinearNF4", "Linear8bitLt",  # bitsandbytes
    "AutoBitLinear", "CompressedTensorsFP8Linear", "FP8Linear", "FbgemmFp8Linear", "MetalLinear", "QuantizedLinear",
})  # fmt: skip
"""The classes of linear layers that map one state to one; others, such as a router, are left as they are."""


def linear_layers(model: PreTrainedModel) -> list[str]:
    """The whole names of the linear layers that text passes, without the output head: where a bake puts LoRA.

    A layer that has a number for its last name is left out: PEFT would take whole blocks that have one too for it.
    """
    head, within = model.get_output_embeddings(), _within(model)
    names = [
        name.removesuffix(".base_layer")
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and type(module).__name__ in PLAIN and module is not head
        and ".lora_" not in name and name.startswith(within)
    ]  # fmt: skip
    return [name for name in names if not _last(name).isdigit()]


def linear_names(model: PreTrainedModel) -> list[str]:
    """The last name parts of the linear layers; whole names where something beside the text has layers of those too."""
    layers, within = linear_layers(model), _within(model)
    names = {_last(name) for name in layers}
    beside = any(_last(name) in names for name, _ in model.named_modules() if not name.startswith(within))
    return sorted(layers if beside else names)


def _within(model: PreTrainedModel) -> str:
    """What the names in the part that reads text begin with: beside it stand towers for images and sound."""
    decoder = model.get_decoder()
    return next((f"{name}." for name, module in model.named_modules() if name and module is decoder), "")


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def check_adaptable(model: PreTrainedModel) -> None:
    """Raises BakeError unless PEFT puts LoRA on all linear layers and nothing else. It is tried beside the model."""
    config, twin = _lora(model, 1, 1, linear_names(model)), _twin(model)
    try:
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters is raised below
            inject_adapter_in_model(config, twin)
    except ValueError as error:
        raise _unadaptable(model, str(error).partition(". ")[0]) from error
    adapted = {name for name, module in twin.named_modules() if isinstance(module, LoraLayer)}
    if config.target_parameters or adapted != set(linear_layers(model)):
        raise _unadaptable(model, "PEFT would put LoRA on other weights than those of its linear layers")


def _twin(module: nn.Module) -> nn.Module:
    """The same structure without its adapters. The innermost modules, and so all weights, are those of the model."""
    module = module.get_base_layer() if isinstance(module, LoraLayer) else module
    if not module._modules:
        return module
    twin = copy.copy(module)
    twin._modules = {name: None if part is None else _twin(part) for name, part in module._modules.items()}
    vars(twin).pop("peft_config", None)
    return twin


def _unadaptable(model: PreTrainedModel, reason: str) -> BakeError:
    return BakeError(
        f"{type(model).__name__} cannot be baked: {reason}. Load another model, or leave what is "
        "remembered in the prompt."
    )


def _lora(model: PreTrainedModel, rank: int, alpha: int, layers: Sequence[str]) -> LoraConfig:
    return LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(layers), lora_dropout=0.0, task_type="CAUSAL_LM",
                      fan_in_fan_out=any(isinstance(m, Conv1D) for m in model.modules()))  # fmt: skip


def _tensors(model: PreTrainedModel, name: str) -> dict[str, Tensor]:
    """An attached adapter by PEFT's names. To decide by itself about embeddings, PEFT would ask the Hub."""
    tensors: dict[str, Tensor] = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    return tensors


def add_candidate(
    model: PreTrainedModel, rank: int, alpha: int, seed: int, start: str | None,
    targets: Sequence[str] | None = None,
) -> None:  # fmt: skip
    """Attach a fresh LoRA named `candidate`, started from the attached adapter `start`, which may be of a lower rank.

    It stands at the layers with these last name parts, or at all linear ones. Raises BakeError when `start` has a
    higher rank or another scale alpha / rank.
    """
    remove_candidate(model)
    config = _lora(model, rank, alpha, linear_names(model) if targets is None else targets)
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several adapters are meant
        torch.manual_seed(seed)
        model.add_adapter(config, adapter_name=CANDIDATE)
    for parameter in candidate_parameters(model).values():
        parameter.data = parameter.data.float()  # the optimizer needs more than the base's bfloat16
    if start is not None:
        old = lora_config(model, start)
        if old.r > rank or old.lora_alpha * rank != alpha * old.r:
            raise BakeError(
                f"Version {start} has rank {old.r} and alpha {old.lora_alpha}, the settings ask for {rank} and "
                f"{alpha}: bake from the base, or keep the old values."
            )
        _start_from(model, _tensors(model, start))


@torch.no_grad()
def _start_from(model: PreTrainedModel, old: Mapping[str, Tensor]) -> None:
    """The candidate does what the old tensors do: ranks that they lack keep a random A, and B is zero there."""
    state = _tensors(model, CANDIDATE)
    for name, tensor in old.items():
        part = state[name][: len(tensor)] if ".lora_A." in name else state[name][:, : tensor.shape[1]]
        part.copy_(tensor)
    set_peft_model_state_dict(model, state, adapter_name=CANDIDATE)


def grow_candidate(model: PreTrainedModel, factor: int, seed: int) -> None:
    """Give the candidate a rank so many times as high; what it does stays as it was."""
    config = lora_config(model, CANDIDATE)
    old = {name: tensor.clone() for name, tensor in _tensors(model, CANDIDATE).items()}
    add_candidate(model, factor * config.r, factor * config.lora_alpha, seed, None, sorted(config.target_modules or ()))
    _start_from(model, old)


def candidate_parameters(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """The candidate's parameters by name."""
    return {n: p for n, p in model.named_parameters() if f".{CANDIDATE}." in n}


def keep_candidate(model: PreTrainedModel) -> dict[str, Tensor]:
    """A copy of the candidate's parameters, by name."""
    return {name: parameter.detach().clone() for name, parameter in candidate_parameters(model).items()}


@torch.no_grad()
def restore_candidate(model: PreTrainedModel, kept: Mapping[str, Tensor]) -> None:
    """Make the attached candidate again what it was when `keep_candidate` copied it."""
    for name, parameter in candidate_parameters(model).items():
        parameter.copy_(kept[name])


def lora_config(model: PreTrainedModel, name: str) -> LoraConfig:
    """The configuration of an attached adapter. Raises BakeError when there is none of that name."""
    config = getattr(model, "peft_config", {}).get(name)
    if not isinstance(config, LoraConfig):
        raise BakeError(f"No LoRA adapter named {name} is attached to the model: attach it before the bake.")
    return config


def remove_candidate(model: PreTrainedModel) -> None:
    """Take the candidate off again, if it is there."""
    if CANDIDATE in getattr(model, "peft_config", {}):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Adapter candidate was active")  # each user of the model sets its own
            model.delete_adapter(CANDIDATE)


def candidate_state(model: PreTrainedModel) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The candidate's tensors by PEFT's names, and its `adapter_config.json`."""
    tensors = _tensors(model, CANDIDATE)
    config = lora_config(model, CANDIDATE)
    written = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": config.r, "lora_alpha": config.lora_alpha,
        "lora_dropout": 0.0, "bias": "none", "target_modules": sorted(config.target_modules or ()),
        "fan_in_fan_out": config.fan_in_fan_out, "inference_mode": True, "base_model_name_or_path": None,
    }  # fmt: skip
    prefix = "base_model.model."
    return {f"{prefix}{name}": t.detach().cpu().contiguous() for name, t in tensors.items()}, written


@contextmanager
def adapter(model: PreTrainedModel, name: str | None) -> Iterator[None]:
    """Inside, the model answers with the named adapter; with None it is the pristine base."""
    if name is not None:
        model.set_adapter(name)
        model.enable_adapters()
    elif getattr(model, "peft_config", None):
        model.disable_adapters()
    yield


def breather(lock: object, model: PreTrainedModel, name: str | None, *, learns: bool = False) -> Callable[[], None]:
    """To be called between two steps by who holds the lock and uses the named adapter: whoever waits may pass.

    Only a lock that has `let_pass` lets anybody. Who `learns` gets its gradients back too; without them the library's
    walk over all parameters, which takes as long as a token, is spared.
    """
    let_pass: Callable[[], bool] | None = getattr(lock, "let_pass", None)

    def breathe() -> None:
        if not let_pass or not let_pass():
            return
        if learns:
            with adapter(model, name):
                return
        for layer in model.modules():
            if isinstance(layer, LoraLayer):
                layer._disable_adapters = name is None
                layer._active_adapter = layer._active_adapter if name is None else [name]

    return breathe


def hidden_states(
    model: PreTrainedModel, ids_B_T: Tensor, position_ids_B_T: Tensor | None = None, cache: Cache | None = None
) -> Tensor:
    """Hidden states (B, T, K, H) on the way through the model; the ids go on from what `cache` has read.

    `position_ids_B_T` are needed where positions are not simply counted; padding stands behind what counts.
    The last of the K levels is what the output head takes; those before it stand behind a quarter, a half and three
    quarters of the layers (fewer in a model of less than four layers, or whose states have another shape there).
    """
    # Without a mask the library takes a skipped place for the beginning of another sequence, and parts the two; with
    # zeros in it, where padding stands behind what counts, it makes one of (T, T), for which attention is slower.
    mask = None if position_ids_B_T is None else torch.ones_like(position_ids_B_T)
    # Llama 4 knows its own by another name, and takes itself for it.
    body = model.model if model.base_model is model and hasattr(model, "model") else model.base_model
    made = body(
        input_ids=ids_B_T, position_ids=position_ids_B_T, attention_mask=mask, past_key_values=cache,
        use_cache=cache is not None, output_hidden_states=True,
    )  # fmt: skip
    n_layers = len(made.hidden_states) - 1
    inner = {round(n_layers * k / 4) for k in (1, 2, 3)} - {0, n_layers}
    last_B_T_H = made.last_hidden_state
    levels = [made.hidden_states[i] for i in sorted(inner)]
    return torch.stack([*(level for level in levels if level.shape == last_B_T_H.shape), last_B_T_H], dim=2)


def output_head(model: PreTrainedModel) -> Head:
    """The frozen map from last hidden states to logits, with the model family's soft cap or scale.

    Raises BakeError when it does not give the model's own logits, as the family makes them in an unknown way, or when
    these are not finite.
    """
    linear = model.get_output_embeddings()
    config = model.config.get_text_config()
    cap = getattr(config, "final_logit_softcapping", None)
    scale = getattr(config, "logit_scale", None)
    divisor = getattr(config, "logits_scaling", None)

    def head(hidden: Tensor) -> Tensor:
        logits: Tensor = linear(hidden.to(linear.weight.dtype))
        if divisor:
            logits = logits / divisor
        if scale:
            logits = logits * scale
        return torch.tanh(logits / cap) * cap if cap else logits

    with torch.no_grad(), adapter(model, None):
        ids = torch.arange(4, device=model.device)[None]
        try:
            own, ours = model(input_ids=ids, use_cache=False).logits, head(hidden_states(model, ids)[:, :, -1])
        except Exception as error:  # what a model's own code raises is anything
            raise BakeError(
                f"{type(model).__name__} does not give its states and logits in a way that bakemem knows "
                f"({type(error).__name__}: {error}); it cannot be baked yet. Please report the model."
            ) from error
    if not own.isfinite().all():
        raise BakeError(
            f"The numbers of {type(model).__name__} are not finite as it is loaded: set `dtype` to bfloat16 or float32."
        )
    if own.shape != ours.shape or not torch.allclose(own.float(), ours.float(), rtol=1e-2, atol=1e-2):
        raise BakeError(
            f"{type(model).__name__} changes its logits after the output head in a way that bakemem does not know; "
            "it cannot be baked yet. Please report the model."
        )
    return head
