"""What a base is known by, which adapters must match, and what it takes from the model's own configuration."""

from __future__ import annotations

import copy
import json
import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    FalconMambaConfig,
    Gemma3Config,
    GenerationConfig,
    MambaConfig,
    MiniMaxConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    RecurrentGemmaConfig,
    RwkvConfig,
)

from bakemem.baking import answers, output_head
from bakemem.config import Config
from bakemem.errors import BakeError, ModelError, ServingError
from bakemem.kv import attends
from bakemem.serving import Base, LocalEngine, Request, Sampling, fingerprint, load_base, wrap_base
from bakemem.starter import STARTER
from bakemem.types import Turn
from tests.tiny import TINY, loud


def test_advice_is_no_part_of_the_fingerprint(tiny_base: Base) -> None:
    """A model that says otherwise how much it reads at once is the same base, with the same adapters."""
    model, tokenizer = tiny_base.model, tiny_base.template.tokenizer
    before = fingerprint(model, tokenizer)
    model.config.bakemem = {"shard_tokens": 96}
    assert tiny_base.shard_tokens(Config()) == 96
    assert fingerprint(model, tokenizer) == before


def test_the_number_type_is_no_part_of_the_fingerprint(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    """Nor in the text part of a model that sees too: an adapter's base is the same one, loaded in another type."""
    text = {**TINY, "num_key_value_heads": 2, "head_dim": 16}
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 28, "patch_size": 14}  # fmt: skip
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    whole, half = (load_base(str(tmp_path), device="cpu", dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert whole.fingerprint == half.fingerprint
    whole.model.config.text_config.rms_norm_eps *= 2
    assert fingerprint(whole.model, tokenizer) != whole.fingerprint


def test_another_architecture_is_another_base(tiny_base: Base) -> None:
    """What the weights depend on counts."""
    model, tokenizer = tiny_base.model, tiny_base.template.tokenizer
    before = fingerprint(model, tokenizer)
    model.config.rms_norm_eps *= 2
    assert fingerprint(model, tokenizer) != before


@pytest.mark.parametrize("several", [False, True], ids=["one", "several"])
def test_answers_end_where_the_model_says(tiny_base: Base, several: bool) -> None:
    """GLM's end with the next role's token, which only its generation config names: for replies and for a bake."""
    model, tokenizer = tiny_base.model, tiny_base.template.tokenizer
    user = int(tokenizer.convert_tokens_to_ids("<|user|>"))
    ends = [int(tokenizer.eos_token_id), user] if several else user
    asked = [Turn("user", "What is 2+2?")]
    said = [*tokenizer.encode("It is 4."), user]
    with mock.patch.object(model, "generation_config", GenerationConfig(eos_token_id=ends)):
        base = wrap_base("tiny", model, tokenizer)
    following = dict(pairwise([base.template.prompt_ids(asked)[-1], *said, said[0]]))
    forward = model.forward

    def scripted(input_ids: Any, **options: Any) -> Any:
        made = forward(input_ids=input_ids, **options)
        made.logits[:, -1] = 0.0
        made.logits[:, -1, following.get(int(input_ids[0, -1]), user)] = 50.0
        return made

    engine = LocalEngine(base)
    with mock.patch.object(model, "forward", scripted):
        reply = engine.submit(Request(asked, sampling=Sampling(max_new_tokens=20)))
        assert reply.text() == "It is 4."
        assert reply.ending.finish == "stop"
        made = answers(model, base.template, [asked], adapter_name=None, lock=base.lock, max_new_tokens=20)
        assert made == ["It is 4."]
    engine.close()


def test_the_starter_has_one_end(starter: Base, tokenizer: PreTrainedTokenizerBase) -> None:
    """Its config, its tokenizer and its template agree."""
    assert starter.template.stop_ids == (tokenizer.convert_tokens_to_ids("<|end|>"),)


@pytest.mark.parametrize("config", [
    MambaConfig(vocab_size=2048, hidden_size=16, num_hidden_layers=1, state_size=4),
    FalconMambaConfig(vocab_size=2048, hidden_size=16, num_hidden_layers=1, state_size=4),
    RwkvConfig(vocab_size=2048, hidden_size=16, num_hidden_layers=2),
], ids=lambda config: config.model_type)  # fmt: skip
def test_a_model_without_a_key_value_cache_is_refused(
    config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> None:
    """It would take the cache without a word, and forget the prompt after one token."""
    with pytest.raises(ModelError, match="forget their prompt"):
        wrap_base("state space", AutoModelForCausalLM.from_config(config), tokenizer)


def test_a_model_that_takes_a_cache_of_its_own_class_alone_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    """MiniMax raised over every other at its first reply."""
    config = MiniMaxConfig(
        vocab_size=2048, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, head_dim=16,
        num_key_value_heads=1, num_local_experts=2,
    )  # fmt: skip
    with pytest.raises(ModelError, match="takes no cache but its own MiniMaxCache"):
        wrap_base("lightning", AutoModelForCausalLM.from_config(config), tokenizer)


def test_a_model_that_keeps_what_it_read_in_its_own_layers_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    """RecurrentGemma would go on with one conversation's state in another's reply."""
    config = RecurrentGemmaConfig(vocab_size=2048, hidden_size=32, intermediate_size=32, num_hidden_layers=3,
                                  num_attention_heads=2, lru_width=32)  # fmt: skip
    with pytest.raises(ModelError, match="conversations of several users would mix"):
        wrap_base("recurrent", AutoModelForCausalLM.from_config(config), tokenizer)


def test_caches_that_keep_more_than_keys_and_values_are_the_models_own(tokenizer: PreTrainedTokenizerBase) -> None:
    """A model with an index beside its keys and values (HY-V4) replies as it does by itself."""
    config = AutoConfig.for_model(
        "hy_v4", vocab_size=2048, hidden_size=64, intermediate_size=96, moe_intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4, head_dim=16, n_routed_experts=4, num_experts_per_tok=2,
        q_lora_rank=16, kv_lora_rank=16, qk_rope_head_dim=16, qk_nope_head_dim=16, v_head_dim=16, index_topk=64,
        index_n_heads=2, index_head_dim=16, pad_token_id=0, bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    model = loud(AutoModelForCausalLM.from_config(config))
    assert not attends(model)
    base, asked = wrap_base("indexed", model, tokenizer), (Turn("user", "Who are you?"),)
    engine, ids = LocalEngine(base), torch.tensor([base.template.prompt_ids(asked)])
    reply = engine.submit(Request(asked, sampling=Sampling(max_new_tokens=4, logprobs=True)))
    reply.text()
    own = model.generate(ids, max_new_tokens=4, do_sample=False)[0, ids.shape[1] :].tolist()
    assert [token.token for token in reply.ending.logprobs or ()] == own
    engine.close()


NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")


@pytest.mark.parametrize("device", ["gpu", pytest.param("cuda", marks=NO_CUDA)])
def test_a_device_that_is_not_here_is_a_model_error(device: str) -> None:
    """One that torch does not know, or that this machine lacks, is named with what to do."""
    with pytest.raises(ModelError, match=f"device {device!r}.*such as `cpu`"):
        load_base(str(STARTER), device=device)


@pytest.mark.parametrize(
    "values",
    [{"intermediate_size": 8}, {"hidden_size": "large"}, None],
    ids=["weights of other shapes", "no number", "no object"],
)
def test_a_damaged_model_folder_is_a_model_error(tmp_path: Path, values: dict[str, object] | None) -> None:
    """Whatever the libraries raise over its files, the folder is named with what to do."""
    folder = tmp_path / "model"
    shutil.copytree(STARTER, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps([] if values is None else {**config, **values}), encoding="utf-8")
    with pytest.raises(ModelError, match=r"(?s)model.* cannot be loaded.*Give `starter`"):
        load_base(str(folder), device="cpu")


@pytest.mark.parametrize("missing", ["layers.1.mlp.up_proj", "norm", "embed_tokens"])
def test_a_model_that_lacks_weights_is_not_served_with_random_ones(tmp_path: Path, missing: str) -> None:
    """An encoder's checkpoint, or half of a copy: the first of them is named."""
    folder = tmp_path / "model"
    shutil.copytree(STARTER, folder)
    [file] = folder.glob("*.safetensors")
    name = f"model.{missing}.weight"
    save_file({n: t for n, t in load_file(file).items() if n != name}, file, {"format": "pt"})
    with pytest.raises(ModelError, match=f"lacks .* of its weights, such as {re.escape(name)}"):
        load_base(str(folder), device="cpu")


def test_a_folder_with_an_adapter_is_not_served_without_it(tiny_base: Base, tmp_path: Path) -> None:
    """The library would attach it, and the base is what answers without adapters."""
    tuned, plain = tmp_path / "tuned", tmp_path / "plain"
    for made in (tuned, plain):
        tiny_base.template.tokenizer.save_pretrained(made)
    tiny_base.model.save_pretrained(plain)
    load_base(str(plain), device="cpu")
    tuned_model = get_peft_model(AutoModelForCausalLM.from_pretrained(plain), LoraConfig(task_type="CAUSAL_LM"))
    tuned_model.save_pretrained(tuned)
    with pytest.raises(ModelError, match=r"is a PEFT adapter.*merge_and_unload"):
        load_base(str(tuned), device="cpu")


def test_a_token_of_plain_text_has_an_embedding(tiny_base: Base) -> None:
    """Else the reply that first meets it fails; a special one may have none, as Gemma 3's for images."""
    model, tokenizer = tiny_base.model, copy.deepcopy(tiny_base.template.tokenizer)
    n = model.get_input_embeddings().num_embeddings
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<image {i}>" for i in range(len(tokenizer), n + 1)]})
    assert len(tokenizer) > n
    wrap_base("tiny", model, tokenizer)
    tokenizer.add_tokens(["Kawumm"])
    with pytest.raises(ModelError, match=rf"'Kawumm' with the id {n + 1}, and the model has {n}"):
        wrap_base("tiny", model, tokenizer)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_numbers_that_are_none_are_told(tiny_base: Base, temperature: float) -> None:
    """As float16 gives them where it overflows: a reply was empty or torch's error, to a bake the model unknown."""
    with torch.no_grad():
        tiny_base.model.get_output_embeddings().weight[7] = torch.nan
    engine = LocalEngine(tiny_base)
    with pytest.raises(ServingError, match="failed.*not finite any more. Set `dtype`"):
        engine.submit(Request((Turn("user", "Hi."),), sampling=Sampling(temperature=temperature))).text()
    engine.close()
    with pytest.raises(BakeError, match="not finite as it is loaded: set `dtype`"):
        output_head(tiny_base.model)
