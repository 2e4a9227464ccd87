"""A conversation made to fit what a model reads. Knows turns and a template."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from bakemem.errors import ContextError
from bakemem.serving.contract import Request
from bakemem.template import ChatTemplate
from bakemem.types import Turn


def fitted(request: Request, template: ChatTemplate, context: int) -> tuple[list[int], int, int]:
    """The prompt's token ids, the room for the reply in tokens, and how many of the oldest turns were left out for it.

    A window keeps the system turn and the last one, drops whole exchanges, and leaves room for the reply, a quarter of
    the context at most. Raises ContextError when it does not fit.
    """
    turns, room, begun = list(request.turns), request.sampling.max_new_tokens, template.ids(request.prefix)

    def read(some: Sequence[Turn]) -> list[int]:
        return template.prompt_ids(some, request.tools) + begun

    ids = read(turns)
    if request.too_long == "window" and len(ids) + min(room, context // 4) > context:
        windows, most = _windows(turns), context - min(room, context // 4)
        fits = bisect_left(windows, True, key=lambda kept: len(read(kept)) <= most)
        if windows:
            turns = windows[min(fits, len(windows) - 1)]
            ids = read(turns)
    if len(ids) >= context:
        what, cure = "conversation", "drop its oldest turns"
        if request.too_long == "window" or not _windows(turns):
            what, cure = "last turn, with what stands before every conversation,", "shorten it"
        raise ContextError(f"The {what} has {len(ids)} tokens, the model reads {context}: {cure}.")
    return ids, min(room, context - len(ids)), len(request.turns) - len(turns)


def _windows(turns: Sequence[Turn]) -> list[list[Turn]]:
    """Ever shorter conversations, each of which begins with a user's turn after the system's."""
    head = [turn for turn in turns[:1] if turn.role == "system"]
    starts = [i for i in range(len(head) + 1, len(turns)) if turns[i].role == "user"]
    return [[*head, *turns[i:]] for i in starts]
