"""A bake on a small random model of each family: the divergence falls by nine tenths, and the base stays as it was."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    CTRLConfig,
    FalconH1Config,
    Gemma3Config,
    Gemma3nTextConfig,
    Gemma3TextConfig,
    Glm4MoeConfig,
    GPT2Config,
    Lfm2Config,
    Llama4TextConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Phi3Config,
    PhimoeConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen3Config,
    RemBertConfig,
)

from bakemem.baking import Recipe, Settings, Stimuli, bake
from bakemem.baking.bake import Baked
from bakemem.baking.measure import measure
from bakemem.baking.pack import pack
from bakemem.baking.states import micro_batches, read_by_base, states_of
from bakemem.baking.train import train
from bakemem.baking.untold import TOLD
from bakemem.baking.weights import (
    CANDIDATE,
    adapter,
    add_candidate,
    candidate_parameters,
    candidate_state,
    check_adaptable,
    grow_candidate,
    hidden_states,
    output_head,
    remove_candidate,
)
from bakemem.errors import AdapterError, BakeError
from bakemem.serving import Base, LocalEngine, ServingModel, fingerprint, wrap_base
from bakemem.types import Prompt, Report, Stimulus, Turn
from bakemem.versions import check_adapter
from tests.tiny import PROMPT, TINY, MakeTaught, loud

SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
CONFIGS: dict[str, PretrainedConfig] = {
    "Llama": LlamaConfig(**TINY, tie_word_embeddings=True, **SPECIAL),
    "Qwen2": Qwen2Config(**TINY, num_key_value_heads=2, **SPECIAL),
    "Qwen3": Qwen3Config(**TINY, num_key_value_heads=2, head_dim=16, **SPECIAL),
    "Gemma3": Gemma3TextConfig(**TINY, num_key_value_heads=2, head_dim=16, final_logit_softcapping=30.0, **SPECIAL),
    "Mistral": MistralConfig(**TINY, num_key_value_heads=2, sliding_window=None, **SPECIAL),
    "Phi3": Phi3Config(**TINY, num_key_value_heads=2, **SPECIAL),
    "GPT2": GPT2Config(vocab_size=2048, n_embd=64, n_layer=2, n_head=4, n_positions=1024, **SPECIAL),
}  # fmt: skip


def make_base(name: str, tokenizer: PreTrainedTokenizerBase) -> Base:
    """A small random model of the family; GPT-2 comes without a chat template, as on the hub."""
    torch.manual_seed(0)
    own = copy.deepcopy(tokenizer)
    if name == "GPT2":
        own.chat_template = None
    return wrap_base(name, loud(AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[name]))), own)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_bake_learns_its_trajectories(
    name: str, tokenizer: PreTrainedTokenizerBase, make_taught: MakeTaught, tmp_path: Path
) -> None:
    """KL on the bake's own trajectories falls by 90 %; saved, attached and served again, the adapter is the same."""
    base = make_base(name, tokenizer)
    taught = make_taught(base, 8)
    head = output_head(base.model)
    before = measure(base.model, base.template, taught, head, adapter_name=None, lock=base.lock).kl
    recipe = Recipe(rank=16, alpha=32, learning_rate=4e-3, steps=60, trajectories_per_step=8, max_dialogue_turns=2)
    train(base.model, base.template, taught, head, recipe, start=None, lock=base.lock)
    after = measure(base.model, base.template, taught, head, adapter_name=CANDIDATE, lock=base.lock).kl
    assert after < 0.1 * before
    report = Report(before, after, 1.0, 1.0, 1.0, 0.0, 60, 1.0, accepted=True)
    Baked(*candidate_state(base.model), report, (), "").save(tmp_path)
    remove_candidate(base.model)
    assert fingerprint(base.model, base.template.tokenizer) == base.fingerprint
    serving = ServingModel(LocalEngine(base))
    serving.attach("abc", tmp_path)
    served = measure(base.model, base.template, taught, head, adapter_name="abc", lock=base.lock).kl
    assert served == pytest.approx(after, rel=1e-4)
    plain = measure(base.model, base.template, taught, head, adapter_name=None, lock=base.lock).kl
    assert plain == pytest.approx(before, rel=1e-5)


def test_a_hybrid_learns_though_its_first_layers_hardly_see_the_prompt(
    tokenizer: PreTrainedTokenizerBase, make_taught: MakeTaught
) -> None:
    """A level behind convolutions alone is left out of the loss: the KL falls by half in a few steps."""
    torch.manual_seed(0)
    config = Lfm2Config(**{**TINY, "num_hidden_layers": 4}, num_key_value_heads=2,
                        layer_types=["conv", "full_attention"] * 2, **SPECIAL)  # fmt: skip
    base = wrap_base("hybrid", loud(AutoModelForCausalLM.from_config(config)), copy.deepcopy(tokenizer))
    taught, head = make_taught(base, 8), output_head(base.model)
    recipe = Recipe(rank=16, alpha=32, learning_rate=4e-3, steps=30, trajectories_per_step=8, max_dialogue_turns=2)
    train(base.model, base.template, taught, head, recipe, lock=base.lock)
    before, after = (measure(base.model, base.template, taught, head, adapter_name=name, lock=base.lock).kl
                     for name in (None, CANDIDATE))  # fmt: skip
    assert after < 0.5 * before


@pytest.mark.parametrize("name", CONFIGS)
def test_a_talk_before_is_read_as_what_is_trained_is(
    name: str, tokenizer: PreTrainedTokenizerBase, make_taught: MakeTaught
) -> None:
    """The states are those of reading all at once, with the adapter on for both; the gradients are the answers' own."""
    base = make_base(name, tokenizer)
    taught = make_taught(base, 8)
    behind, short = (pack(base.template, taught[:2], 1024, before) for before in (taught[2:], ()))
    assert micro_batches([short, behind, short]) == [[short, short], [behind]]
    add_candidate(base.model, 8, 16, 1, None)
    parameters = candidate_parameters(base.model)
    with adapter(base.model, CANDIDATE):
        for parameter in parameters.values():
            nn.init.normal_(parameter.requires_grad_(True), std=0.1)
        states = states_of(base.model, base.template, [behind])
        whole = states_of(base.model, base.template, [dataclasses.replace(behind, n_before=0)])
    assert torch.allclose(states.student_N_K_H, whole.student_N_K_H, atol=1e-4)
    assert torch.equal(states.teacher_N_K_H, behind.teacher_N_K_H)
    states.student_N_K_H.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in parameters.values())


def test_a_model_that_takes_no_lora_is_refused_before_anything_is_asked(tokenizer: PreTrainedTokenizerBase) -> None:
    """A hybrid with Mamba layers, which can be talked to: the error names the model and the layer."""
    shape = {"vocab_size": 2048, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "head_dim": 16,
             "num_attention_heads": 2, "num_key_value_heads": 1, "mamba_d_ssm": 32, "mamba_n_heads": 4,
             "mamba_d_head": 8, "mamba_d_state": 4, "mamba_n_groups": 1}  # fmt: skip
    base = wrap_base("hybrid", loud(AutoModelForCausalLM.from_config(FalconH1Config(**shape, **SPECIAL))), tokenizer)
    asked, stages = (Stimulus((Turn("user", "Who are you?"),), "everyday"),), list[str]()
    with pytest.raises(BakeError, match=r"FalconH1ForCausalLM cannot be baked: .*out_proj.* Load another model"):
        bake(base.model, base.template, [], [Prompt(PROMPT, ())], Settings(max_new_tokens=2),
             stimuli=Stimuli(asked, asked), progress=lambda stage, *_: stages.append(stage))  # fmt: skip
    assert stages == []


FOUR = {**TINY, "num_hidden_layers": 4, "num_key_value_heads": 2, "head_dim": 16}


@pytest.mark.parametrize(("config", "n_levels"), [
    (Gemma3nTextConfig(
        **{**FOUR, "intermediate_size": [96] * 4}, hidden_size_per_layer_input=16, vocab_size_per_layer_input=2048,
        laurel_rank=8, num_kv_shared_layers=0, layer_types=["full_attention"] * 4,
        activation_sparsity_pattern=[0.0] * 4, altup_num_inputs=2, **SPECIAL), 1),
    (OPTConfig(vocab_size=2048, hidden_size=64, ffn_dim=96, num_hidden_layers=4, num_attention_heads=4,
               word_embed_proj_dim=32, do_layer_norm_before=False, **SPECIAL), 1),
    (Llama4TextConfig(**{**FOUR, "intermediate_size": 32}, intermediate_size_mlp=96, num_local_experts=2, **SPECIAL),
     4),
], ids=["four dimensions", "a narrower end", "no prefix"])  # fmt: skip
def test_states_that_the_output_head_could_not_take_are_left_out(config: PretrainedConfig, n_levels: int) -> None:
    """The teacher's levels are those of the last one's shape, and the head gives the model's own logits."""
    model = loud(AutoModelForCausalLM.from_config(config))
    head, ids = output_head(model), torch.arange(5)[None]
    hidden_B_T_K_H = hidden_states(model, ids)
    assert hidden_B_T_K_H.shape[2] == n_levels
    assert torch.allclose(head(hidden_B_T_K_H[:, :, -1]), model(input_ids=ids).logits, atol=1e-3)


def test_a_model_whose_logits_come_about_in_another_way_is_refused() -> None:
    """RemBERT's head takes states of another width: the error names the model and what it raised."""
    config = RemBertConfig(**TINY, output_embedding_size=32, is_decoder=True, **SPECIAL)
    with pytest.raises(BakeError, match=r"RemBertForCausalLM does not give .*RuntimeError.* Please report"):
        output_head(loud(AutoModelForCausalLM.from_config(config)))


def test_a_model_whose_experts_peft_would_adapt_is_refused() -> None:
    """Its linear layers have the names that PEFT turns into expert tensors, which no version can hold."""
    config = Glm4MoeConfig(
        **TINY, num_key_value_heads=2, head_dim=16, moe_intermediate_size=32, n_routed_experts=4, num_experts_per_tok=2,
        n_group=1, topk_group=1, first_k_dense_replace=1, **SPECIAL,
    )  # fmt: skip
    model = loud(AutoModelForCausalLM.from_config(config))
    with pytest.raises(BakeError, match="Glm4MoeForCausalLM cannot be baked: PEFT would put LoRA on other weights"):
        check_adaptable(model)
    assert not any(".lora_" in name for name, _ in model.named_parameters())


@pytest.mark.parametrize("config", [
    PhimoeConfig(**TINY, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2, **SPECIAL),
    CTRLConfig(vocab_size=2048, n_embd=64, dff=96, n_layer=2, n_head=4, n_positions=1024, **SPECIAL),
], ids=lambda config: config.model_type)  # fmt: skip
def test_only_plain_linear_layers_with_names_are_adapted(config: PretrainedConfig) -> None:
    """A router that gives a pair, and layers in a sequence, are left as they are: the candidate can be used."""
    model = loud(AutoModelForCausalLM.from_config(config))
    check_adaptable(model)
    add_candidate(model, 4, 8, 0, None)
    with adapter(model, CANDIDATE):
        assert model(input_ids=torch.arange(5)[None]).logits.isfinite().all()
    assert len(candidate_parameters(model)) >= 12


def test_what_reads_images_is_left_as_it_is(
    tokenizer: PreTrainedTokenizerBase, make_taught: MakeTaught, tmp_path: Path
) -> None:  # fmt: skip
    """Its layers have the names of those that read text; no text passes them, so they would be kept for nothing."""
    torch.manual_seed(0)
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 28, "patch_size": 14}  # fmt: skip
    config = Gemma3Config(text_config=FOUR, vision_config=vision, mm_tokens_per_image=4)
    base = wrap_base("sees", loud(AutoModelForCausalLM.from_config(config)), copy.deepcopy(tokenizer))
    check_adaptable(base.model)
    taught, head = make_taught(base, 8), output_head(base.model)
    recipe = Recipe(rank=4, alpha=8, learning_rate=1e-2, steps=10, trajectories_per_step=8)
    train(base.model, base.template, taught, head, recipe, lock=base.lock)
    with base.lock:
        grow_candidate(base.model, 2, 0)
    before, after = (measure(base.model, base.template, taught, head, adapter_name=name, lock=base.lock).kl
                     for name in (None, CANDIDATE))  # fmt: skip
    assert after < 0.5 * before
    tensors, written = candidate_state(base.model)
    adapted = {name for name, _ in base.model.named_modules() if name.endswith(".lora_B")}
    assert len(tensors) == 2 * len(adapted) == 2 * 4 * 7
    assert all(name.startswith("model.language_model.layers.") for name in adapted)
    assert all(tensor.any() for name, tensor in tensors.items() if "lora_B" in name)
    Baked(tensors, written, Report(before, after, 1, 1, 1, 0, 10, 1, True), (), "").save(tmp_path)
    check_adapter(tmp_path)
    remove_candidate(base.model)
    serving = ServingModel(LocalEngine(base))
    serving.attach("abc", tmp_path)
    served = measure(base.model, base.template, taught, head, adapter_name="abc", lock=base.lock).kl
    assert served == pytest.approx(after, rel=1e-4)


def test_whether_a_model_takes_lora_is_tried_beside_it(tiny_base: Base) -> None:
    """It stays as it was, with an adapter on it and without."""
    before = dict(tiny_base.model.named_modules())
    check_adaptable(tiny_base.model)
    assert dict(tiny_base.model.named_modules()) == before
    add_candidate(tiny_base.model, 4, 8, 0, None)
    before = dict(tiny_base.model.named_modules())
    check_adaptable(tiny_base.model)
    assert dict(tiny_base.model.named_modules()) == before


def test_what_no_fact_matters_to_stays_as_the_base_reads_it(tiny_base: Base, make_taught: MakeTaught) -> None:
    """Where a training may change what was told before a question, it does; the gradients of the rest still come."""
    taught = make_taught(tiny_base, 8)
    telling = (Turn("user", "Tarn lives in Plinth."), Turn("assistant", "Noted."))
    for i, item in enumerate(taught[:4]):
        said = item.trajectory
        stimulus = Stimulus((*telling, *said.stimulus.turns), TOLD)
        taught[i] = dataclasses.replace(item, trajectory=dataclasses.replace(said, stimulus=stimulus))
    head, batch = output_head(tiny_base.model), [pack(tiny_base.template, taught[:4], 1024)]
    moved, left = [], []
    for weight in (0.0, 1.0):
        recipe = Recipe(rank=8, alpha=16, learning_rate=4e-3, steps=40, trajectories_per_step=8, read_weight=weight)
        train(tiny_base.model, tiny_base.template, taught, head, recipe, lock=tiny_base.lock)
        as_base = read_by_base(tiny_base.model, tiny_base.template, batch)
        with torch.no_grad(), adapter(tiny_base.model, CANDIDATE):
            apart = states_of(tiny_base.model, tiny_base.template, batch).read_M_K_H - as_base
        moved.append(apart[:, :-1].square().mean().item())
        left.append(measure(tiny_base.model, tiny_base.template, taught, head, adapter_name=CANDIDATE,
                            lock=tiny_base.lock).kl)  # fmt: skip
        remove_candidate(tiny_base.model)
    before = measure(tiny_base.model, tiny_base.template, taught, head, adapter_name=None, lock=tiny_base.lock).kl
    assert moved[1] < 0.3 * moved[0]
    assert max(left) < 0.3 * before


def test_peft_itself_reads_a_saved_adapter(
    tiny_base: Base, tokenizer: PreTrainedTokenizerBase, make_taught: MakeTaught, tmp_path: Path
) -> None:
    """A version is a plain PEFT adapter: another program gets the same logits from it."""
    taught = make_taught(tiny_base, 4)
    head = output_head(tiny_base.model)
    other = copy.deepcopy(tiny_base.model)
    recipe = Recipe(rank=4, alpha=8, learning_rate=1e-2, steps=5, trajectories_per_step=4)
    train(tiny_base.model, tiny_base.template, taught, head, recipe, start=None, lock=tiny_base.lock)
    Baked(*candidate_state(tiny_base.model), Report(1, 0, 1, 1, 1, 0, 5, 1, True), (), "").save(tmp_path)
    remove_candidate(tiny_base.model)
    serving = ServingModel(LocalEngine(tiny_base))
    serving.attach("abc", tmp_path)
    ids = torch.tensor([[5, 6, 7, 8]])
    theirs = PeftModel.from_pretrained(other, str(tmp_path)).eval()(ids).logits
    with serving.active("abc") as model:
        assert torch.allclose(model(ids).logits, theirs, atol=1e-5)


def test_a_warm_start_begins_where_the_old_adapter_stands(
    tiny_base: Base, make_taught: MakeTaught, tmp_path: Path
) -> None:
    """With next to no learning rate the candidate is the adapter that it started from."""
    taught = make_taught(tiny_base, 6)
    head = output_head(tiny_base.model)
    recipe = Recipe(rank=4, alpha=8, learning_rate=1e-2, steps=30, trajectories_per_step=6)
    train(tiny_base.model, tiny_base.template, taught, head, recipe, start=None, lock=tiny_base.lock)
    learned = measure(tiny_base.model, tiny_base.template, taught, head, adapter_name=CANDIDATE, lock=tiny_base.lock).kl
    Baked(*candidate_state(tiny_base.model), Report(1, 0, 1, 1, 1, 0, 5, 1, True), (), "").save(tmp_path)
    remove_candidate(tiny_base.model)
    ServingModel(LocalEngine(tiny_base)).attach("old", tmp_path)
    still = Recipe(rank=4, alpha=8, learning_rate=1e-12, steps=1, trajectories_per_step=6)
    train(tiny_base.model, tiny_base.template, taught, head, still, start="old", lock=tiny_base.lock)
    warm = measure(tiny_base.model, tiny_base.template, taught, head, adapter_name=CANDIDATE, lock=tiny_base.lock).kl
    assert warm == pytest.approx(learned, rel=1e-4)
    with pytest.raises(BakeError, match="rank"):
        train(tiny_base.model, tiny_base.template, taught, head, Recipe(rank=8, alpha=8), start="old",
              lock=tiny_base.lock)  # fmt: skip


def test_a_warm_start_of_a_bfloat16_base_begins_with_the_very_adapter(tiny_base: Base, tmp_path: Path) -> None:
    """A version is kept in float32, and what serves is not rounded before it is trained on."""
    model = tiny_base.model.to(torch.bfloat16)
    add_candidate(model, 4, 8, 0, None)
    for parameter in candidate_parameters(model).values():
        torch.nn.init.normal_(parameter)
    Baked(*candidate_state(model), Report(1, 0, 1, 1, 1, 0, 5, 1, True), (), "").save(tmp_path)
    kept, _ = candidate_state(model)
    remove_candidate(model)
    ServingModel(LocalEngine(tiny_base)).attach("old", tmp_path)
    add_candidate(model, 4, 8, 0, "old")
    started, _ = candidate_state(model)
    assert kept.keys() == started.keys()
    assert all(torch.equal(tensor, started[name]) for name, tensor in kept.items())


def test_a_bake_asks_no_hub_for_a_model_that_came_from_one(
    tiny_base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its vocabulary grew is no matter: no embedding is part of an adapter."""
    asked: list[str] = []
    monkeypatch.setattr("peft.utils.save_and_load.check_file_exists_on_hf_hub", lambda repo, *_: asked.append(repo))
    tiny_base.model.name_or_path = "someone/model"
    add_candidate(tiny_base.model, 2, 4, 0, None)
    Baked(*candidate_state(tiny_base.model), Report(1, 0, 1, 1, 1, 0, 5, 1, True), (), "").save(tmp_path)
    ServingModel(LocalEngine(tiny_base)).attach("old", tmp_path)
    add_candidate(tiny_base.model, 2, 4, 0, "old")
    grow_candidate(tiny_base.model, 2, 0)
    assert asked == []


def test_an_adapter_of_another_shape_is_refused(tiny_base: Base, tmp_path: Path) -> None:
    """It names what does not fit, and the base is left without it."""
    torch.manual_seed(0)
    recipe_model = loud(AutoModelForCausalLM.from_config(LlamaConfig(**{**TINY, "num_hidden_layers": 3})))
    add_candidate(recipe_model, 4, 8, 0, None)
    Baked(*candidate_state(recipe_model), Report(1, 0, 1, 1, 1, 0, 5, 1, True), (), "").save(tmp_path)
    serving = ServingModel(LocalEngine(tiny_base))
    with pytest.raises(AdapterError, match="does not fit"):
        serving.attach("abc", tmp_path)
    with pytest.raises(AdapterError, match="not attached"):
        serving.swap("abc")
