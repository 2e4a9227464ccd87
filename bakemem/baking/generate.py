"""Batched answers of a model to conversations, sorted by length so that little is padded.

Knows the model's own `generate`; which adapter is active is the caller's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import Cache, GenerationConfig, PreTrainedModel, StoppingCriteria, StoppingCriteriaList

from bakemem.baking.cache import PIECE_TOKENS, batches, prefilled, shared_length
from bakemem.errors import ContextError
from bakemem.kv import attends, context_of
from bakemem.template import ChatTemplate
from bakemem.types import Turn

Progress = Callable[[int, int], None]

FIRST_PASS = 16
"""Tokens of room for the first pass over a batch, four times as many for each next: few rows wait for the longest."""

WINDOWS = ("sliding_window", "attention_chunk_size", "window_size", "local_attention")
"""What the families call the places that a layer sees; GPT-Neo and ModernBERT's decoder have the last two."""


def generate(
    model: PreTrainedModel, template: ChatTemplate, conversations: Sequence[Sequence[Turn]], *,
    max_new_tokens: int = 64, temperature: float = 0.0, seed: int = 0, batch_tokens: int = 16_384,
    progress: Progress | None = None, begun: Sequence[str] = (), breathe: Callable[[], None] | None = None,
) -> list[list[int]]:  # fmt: skip
    """One answer a conversation, as token ids that end with the stop id that was drawn unless cut at `max_new_tokens`.

    `batch_tokens` bounds prompt tokens plus room for answers in one batch; temperature 0 takes the likeliest token.
    With `begun` each answer goes on from such a text, which is not in the ids. `breathe` is called between two tokens
    and between two pieces of the prompts. An answer is cut where the model's context ends, too. Raises ContextError for
    a conversation that leaves no room for one.
    """
    prompts = [template.prompt_ids(turns) for turns in conversations]
    if begun:
        prompts = [[*ids, *template.ids(text)] for ids, text in zip(prompts, begun, strict=True)]
    context, longest = context_of(model), max(map(len, prompts), default=0)
    if longest >= context:
        raise ContextError(
            f"A conversation of {longest} tokens leaves no room for an answer in the {context} positions of the model: "
            "shorten the text, or take a model that reads more."
        )
    answers: list[list[int]] = [[] for _ in prompts]
    waiting, room = list(range(len(prompts))), FIRST_PASS

    def left(i: int) -> int:
        return min(max_new_tokens, context - len(prompts[i])) - len(answers[i])

    def ended(i: int) -> bool:
        return left(i) <= 0 or template.ended(answers[i])

    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(seed)
        while waiting:
            room = min(room, *map(left, waiting))
            read = [[*prompts[i], *answers[i]] for i in waiting]
            for batch in batches(read, room, batch_tokens):
                made = _generate(model, template, [read[n] for n in batch], room, temperature, breathe)
                for n, ids in zip(batch, made, strict=True):
                    answers[waiting[n]] += ids
                if progress:
                    progress(sum(map(ended, range(len(prompts)))), len(prompts))
            waiting = [i for i in waiting if not ended(i)]
            room *= 4
    return answers


def whole_lines(template: ChatTemplate, ids: Sequence[int]) -> str:
    """The text of an answer; of one that was cut off before its end, the lines that it did end."""
    text = template.decode(ids)
    return text if template.ended(ids) else text.rpartition("\n")[0]


@torch.no_grad()
def _generate(
    model: PreTrainedModel, template: ChatTemplate, prompts: list[list[int]], max_new_tokens: int, temperature: float,
    breathe: Callable[[], None] | None,
) -> list[list[int]]:  # fmt: skip
    longest, shared = max(map(len, prompts)), shared_length(prompts) if attends(model) else 0
    shape = model.config.get_text_config()
    windows = [getattr(shape, name, None) for name in WINDOWS]
    if shape.model_type == "mpt" or any(isinstance(w, int) and 0 != w < longest + max_new_tokens for w in windows):
        shared = 0  # the gaps between the shared beginning and each row's own end would count as distance
    head, gaps = prompts[0][:shared], [longest - len(p) for p in prompts]
    rows = [[*head, *[template.end_id] * gap, *p[shared:]] for p, gap in zip(prompts, gaps, strict=True)]
    mask = [[1] * shared + [0] * gap + [1] * (longest - shared - gap) for gap in gaps]
    ids_B_T, attention_B_T = (torch.tensor(values, device=model.device) for values in (rows, mask))
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {}
    config = GenerationConfig(
        max_new_tokens=max_new_tokens, eos_token_id=list(template.stop_ids), pad_token_id=template.end_id, **sampling
    )
    run: Callable[..., torch.Tensor] = model.generate  # type: ignore[assignment]
    cache = {}
    if attends(model):
        cache = {"past_key_values": _read(model, head, ids_B_T, attention_B_T, breathe or (lambda: None))}
    pauses = StoppingCriteriaList([_Breath(breathe)] if breathe else [])
    with _alone(model, config):
        made_B_T = run(input_ids=ids_B_T, attention_mask=attention_B_T, generation_config=config,
                       stopping_criteria=pauses, **cache)  # fmt: skip
    return [_cut(row, template) for row in made_B_T[:, longest:].tolist()]


@contextmanager
def _alone(model: PreTrainedModel, config: GenerationConfig) -> Iterator[None]:
    """Inside, the model has no other config of its own, from which the library would fill what ours leaves open."""
    own, model.generation_config = model.generation_config, config
    try:
        yield
    finally:
        model.generation_config = own


def _read(
    model: PreTrainedModel, head: list[int], ids_B_T: torch.Tensor, attention_B_T: torch.Tensor,
    breathe: Callable[[], None],
) -> Cache:  # fmt: skip
    """A cache of all rows up to their last token: their common head once, and the rest in pieces."""
    n_rows, longest = ids_B_T.shape
    cache = prefilled(model, head, n_rows, breathe)
    position_ids_B_T = (attention_B_T.cumsum(-1) - 1).clamp(min=0)
    piece = max(1, PIECE_TOKENS // n_rows)
    for start in range(len(head), longest - 1, piece):
        breathe()
        end = min(start + piece, longest - 1)
        model.base_model(input_ids=ids_B_T[:, start:end], position_ids=position_ids_B_T[:, start:end],
                         attention_mask=attention_B_T[:, :end], past_key_values=cache, use_cache=True)  # fmt: skip
    return cache


class _Breath(StoppingCriteria):
    """Stops nothing: the library asks it after each token."""

    def __init__(self, breathe: Callable[[], None]) -> None:
        self._breathe = breathe

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object) -> torch.Tensor:
        """No row is to stop."""
        self._breathe()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def _cut(ids: list[int], template: ChatTemplate) -> list[int]:
    """The answer up to and with its end."""
    length = next((n for n, token in enumerate(ids, start=1) if token in template.stop_ids), len(ids))
    return ids[:length]
