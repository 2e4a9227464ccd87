"""One reply on its way: what was read, what was made, and how the next token is drawn.

Knows tokens and probabilities; knows no models and no threads.
"""

from __future__ import annotations

import secrets
from math import isfinite

import torch
from torch import Tensor

from bakemem.errors import ServingError
from bakemem.serving.contract import Request, Sampling
from bakemem.serving.detokenizer import Detokenizer
from bakemem.serving.guide import Guide
from bakemem.serving.reply import Channel, Ending, Finish, TokenLogprob
from bakemem.template import ChatTemplate


class Row:
    """A request with its prompt's token ids; `room` is how many tokens the reply may have."""

    def __init__(
        self, request: Request, channel: Channel, prompt: list[int], room: int, template: ChatTemplate,
        dropped_turns: int = 0, guide: Guide | None = None,
    ) -> None:  # fmt: skip
        self.request, self.channel, self.prompt = request, channel, prompt
        self.made: list[int] = []
        self.cached = 0
        self._room, self._template, self._dropped = room, template, dropped_turns
        self._guide = guide
        self._detokenizer = Detokenizer(template, request.sampling.stop, template.ids(request.prefix))
        self._logprobs: list[TokenLogprob] = []
        seed = request.sampling.seed
        self._generator = torch.Generator().manual_seed(secrets.randbits(63) if seed is None else seed)

    @property
    def read(self) -> list[int]:
        """The token ids whose keys and values are in the cache once the row waits for its next step."""
        return [*self.prompt, *self.made]

    @property
    def unwanted(self) -> bool:
        """Whether nobody reads it any more, or it was ended from outside."""
        return self.channel.cancelled or self.channel.over

    def take(self, logits_V: Tensor) -> bool:
        """Draw the next token, on the CPU; whether the reply goes on. Raises ServingError for numbers that are none."""
        if not isfinite(float(logits_V.max())):
            raise ServingError(
                "The model failed in the reply: its numbers are not finite any more. Set `dtype` to bfloat16 or "
                "float32, or load another."
            )
        held_V = self._guide.held(logits_V) if self._guide else logits_V
        token = draw(held_V, self.request.sampling, self._generator)
        if token in self._template.stop_ids:
            return self.end("stop")
        if self.request.sampling.logprobs:
            logprob = float(torch.log_softmax(logits_V, -1)[token])
            self._logprobs.append(TokenLogprob(token, self._template.decode_raw([token]), logprob))
        self.made.append(token)
        if self._guide:
            self._guide.add(token)
        if piece := self._detokenizer.add(token):
            self.channel.put(piece)
        if self._detokenizer.stopped:
            return self.end("stop")
        return len(self.made) < self._room or self.end("length")

    def end(self, finish: Finish) -> bool:
        """Nothing more is drawn; always False."""
        if finish != "cancelled" and (rest := self._detokenizer.rest()):
            self.channel.put(rest)
        self.channel.end(Ending(finish, len(self.prompt), len(self.made), self.cached, self._dropped,
                                tuple(self._logprobs)))  # fmt: skip
        return False


def draw(logits_V: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """A token: the likeliest at temperature 0, else a random one of the likeliest that hold `top_p`."""
    if sampling.temperature == 0.0:
        return int(logits_V.argmax())
    chances_V = torch.softmax(logits_V / sampling.temperature, -1)
    if sampling.top_p < 1.0:
        sorted_V, order_V = chances_V.sort(descending=True)
        above_V = sorted_V.cumsum(-1) - sorted_V  # the first one always stays
        chances_V = torch.zeros_like(chances_V).scatter(0, order_V, sorted_V.masked_fill(above_V >= sampling.top_p, 0))
    return int(torch.multinomial(chances_V, 1, generator=generator))
