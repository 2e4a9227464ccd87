"""Which line of a prompt an answer rests on: leave one out, and see how much less likely the answer becomes.

Knows a model and texts; knows no journal and no versions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from transformers import PreTrainedModel

from bakemem.baking.weights import adapter
from bakemem.errors import InputError
from bakemem.kv import context_of
from bakemem.template import ChatTemplate
from bakemem.types import Memory, Prompt, Turn


def blame(
    model: PreTrainedModel, template: ChatTemplate, memories: Sequence[Memory], question: str, answer: str,
    consolidate: Callable[[Sequence[Memory]], Prompt], *, lock: AbstractContextManager[object],
) -> list[tuple[Memory, float]]:  # fmt: skip
    """The memories, and by how many nats the answer is less likely without each; the one it rests on most first.

    Asked of the base with the memories in its prompt, as the teacher of a bake is. Raises InputError when there is no
    answer, or when prompt and answer do not fit the model.
    """
    if not answer.strip():
        raise InputError("There is no answer to explain: the model said nothing.")

    def nats(some: Sequence[Memory]) -> float:
        prompt = consolidate(some).text
        turns = [*([Turn("system", prompt)] if prompt else []), Turn("user", question)]
        return _log_probability(model, template, template.prompt_ids(turns), template.ids(answer), lock)

    whole = nats(memories)
    without = [(left_out, whole - nats([m for m in memories if m is not left_out])) for left_out in memories]
    return sorted(without, key=lambda pair: -pair[1])


@torch.no_grad()
def _log_probability(
    model: PreTrainedModel, template: ChatTemplate, prompt: Sequence[int], answer: Sequence[int],
    lock: AbstractContextManager[object],
) -> float:  # fmt: skip
    """The natural logarithm of P(answer | prompt), by the base; any of the template's stop ids may end the answer."""
    context = context_of(model)
    ids = torch.tensor([[*prompt, *answer, template.end_id]], device=model.device)
    if ids.shape[1] > context:
        raise InputError(f"Prompt and answer have {ids.shape[1]} tokens, the model reads {context}.")
    with lock, adapter(model, None):
        logits_T_V = model(input_ids=ids, use_cache=False, logits_to_keep=len(answer) + 2).logits[0, :-1]
    log_p_T_V = torch.log_softmax(logits_T_V.float(), -1)
    log_p_T = log_p_T_V.gather(1, ids[0, len(prompt) :, None])[:, 0]
    log_p_T[-1] = log_p_T_V[-1, list(template.stop_ids)].logsumexp(0)
    return float(log_p_T.sum())
