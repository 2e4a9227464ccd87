"""Puts an adapter into a model. The library does it for the first one of a shape, which takes the time of many tokens;
another of that shape is put beside it layer by layer, from tensors that were made ready while replies went on.

Knows the fields of the library's LoRA layers; knows no locks and no ids but as names.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from peft.utils import set_peft_model_state_dict
from torch import Tensor, nn
from transformers import PreTrainedModel

_PREFIX = "base_model.model."
Layers = Mapping[str, LoraLayer]
"""The LoRA layers of a model by their names."""


@dataclass(frozen=True, slots=True)
class Ready:
    """An adapter as it will stand in a model: configuration, tensors, and both matrices of each layer by its name."""

    config: LoraConfig
    tensors: Mapping[str, Tensor]
    pairs: Mapping[str, tuple[nn.Linear, nn.Linear]]

    @property
    def n_bytes(self) -> int:
        """What its tensors take."""
        return sum(t.numel() * t.element_size() for t in self.tensors.values())


def ready(model: PreTrainedModel, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Ready:
    """In float32, as it was trained and judged, also on a bfloat16 base; where the model is.

    Raises ValueError, TypeError, IndexError or RuntimeError when it is no LoRA adapter.
    """
    own = {name.removeprefix(_PREFIX): t.to(model.device).float() for name, t in tensors.items()}
    layers = {name.rpartition(".lora_A.")[0] for name in own} - {""}
    pairs = {n: (_linear(own[f"{n}.lora_A.weight"]), _linear(own[b])) for n in layers
             if (b := f"{n}.lora_B.weight") in own}  # fmt: skip
    return Ready(LoraConfig(**config, lora_dropout=0.0, inference_mode=True), own, pairs)


def lora_layers(model: PreTrainedModel) -> dict[str, LoraLayer]:
    """All of them by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def place(model: PreTrainedModel, layers: Layers, name: str, adapter: Ready, others: Iterable[str]) -> bool:
    """Put it beside the `others`; whether the model has the same LoRA layers as before. Raises ValueError, KeyError or
    RuntimeError when it does not fit the model.
    """
    alike = next((other for other in others if _alike(layers, other, adapter)), None)
    if alike:
        _place_beside(model, layers, name, adapter, alike)
    else:
        _place_new(model, name, adapter)
    return alike is not None


def displace(model: PreTrainedModel, layers: Layers, name: str) -> None:
    """Take it out of the model, as the library does, but for its walk over all modules: others wait for it."""
    for layer in layers.values():  # each step sets its own active one; the library warns of removing that
        layer._active_adapter = [other for other in layer.active_adapters if other != name]
        layer.delete_adapter(name)
    if len(model.peft_config) > 1:
        del model.peft_config[name]
    else:
        model.delete_adapter(name)  # the last one: the model is without adapters again


def _place_new(model: PreTrainedModel, name: str, adapter: Ready) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several adapters are meant
        model.add_adapter(adapter.config, adapter_name=name)
    for parameter_name, parameter in model.named_parameters():
        if f".{name}." in parameter_name:
            parameter.requires_grad_(False)
            parameter.data = parameter.data.float()
    outcome: Any = set_peft_model_state_dict(model, dict(adapter.tensors), adapter_name=name)
    missing = [k for k in outcome.missing_keys if f".{name}." in k]
    if outcome.unexpected_keys or missing:
        raise ValueError(f"unexpected {outcome.unexpected_keys[:3]}, missing {missing[:3]}")


def _alike(layers: Layers, other: str, adapter: Ready) -> bool:
    """Whether another adapter has the same layers, and these have room for this one's matrices."""
    if 2 * len(adapter.pairs) != len(adapter.tensors):
        return False
    return {n for n, layer in layers.items() if other in layer.lora_A} == adapter.pairs.keys() and all(
        (a.in_features, b.out_features) == (layers[n].in_features, layers[n].out_features)
        and a.out_features == b.in_features == adapter.config.r
        for n, (a, b) in adapter.pairs.items()
    )


def _place_beside(model: PreTrainedModel, layers: Layers, name: str, adapter: Ready, other: str) -> None:
    config: Any = adapter.config
    for layer_name, (a, b) in adapter.pairs.items():
        layer: Any = layers[layer_name]
        for field in layer.other_param_names:
            values = getattr(layer, field)
            if other in values:
                values[name] = nn.Identity() if isinstance(values[other], nn.Module) else values[other]
        layer.r[name], layer.lora_alpha[name], layer.scaling[name] = (
            config.r,
            config.lora_alpha,
            config.lora_alpha / config.r,
        )
        layer.lora_A[name], layer.lora_B[name] = a, b
    model.peft_config[name] = config


class _Given(nn.Linear):
    """A layer whose weight is given: drawing one first would be most of its making."""

    def reset_parameters(self) -> None:
        """Nothing is drawn."""


def _linear(weight: Tensor) -> nn.Linear:
    made = _Given(weight.shape[1], weight.shape[0], bias=False, device="meta")
    made.weight = nn.Parameter(weight, requires_grad=False)
    return made
