"""Token ids into pieces of text as they come, up to a stop text. Knows a template; knows no models."""

from __future__ import annotations

from collections.abc import Sequence

from bakemem.template import ChatTemplate

_UNFINISHED = "\ufffd"  # what a tokenizer writes for the first bytes of a character


class Detokenizer:
    """What a reply has said so far. `add` gives what can be shown, `rest` what was held back; `stopped`: a stop text
    was met, which is not shown.

    White space is held back until something follows it, and so is what may be the beginning of a stop text. That at the
    start is left out, unless the reply goes on from ids that it has `begun` with.
    """

    def __init__(self, template: ChatTemplate, stop: Sequence[str] = (), begun: Sequence[int] = ()) -> None:
        self._template, self._stop = template, tuple(stop)
        self._ids, self._goes_on = list(begun), bool(begun)
        self._read = len(begun)  # ids before it are in the text
        self._from = 0  # a few before those: what a token looks like depends on its neighbour
        self._text = ""
        self._shown = 0
        self.stopped = False

    def add(self, token: int) -> str:
        """One more token; the text that can be shown now."""
        self._ids.append(token)
        before, now = (self._template.decode_raw(self._ids[self._from : end]) for end in (self._read, None))
        if len(now) <= len(before) or now.endswith(_UNFINISHED):
            return ""
        self._text += now[len(before) :]
        self._from, self._read = self._read, len(self._ids)
        return self._show(held=True)

    def rest(self) -> str:
        """What is left to show at the end."""
        if not self.stopped:
            before, now = (self._template.decode_raw(self._ids[self._from : end]) for end in (self._read, None))
            self._text += now[len(before) :]
        return self._show(held=False)

    def _show(self, *, held: bool) -> str:
        if not self.stopped:
            met = [(at + len(text), at) for text in self._stop if (at := self._text.find(text, self._shown)) >= 0]
            if met:  # the one that is complete first
                self._text, self.stopped = self._text[: min(met)[1]], True
        sure = self._text[: len(self._text) - self._begun()] if held and not self.stopped else self._text
        end = len(sure.rstrip())
        start = self._shown if self._goes_on else self._shown or len(self._text) - len(self._text.lstrip())
        piece = self._text[start:end]
        self._shown = max(self._shown, end) if piece else self._shown
        return piece

    def _begun(self) -> int:
        """How many characters at the end may be the beginning of a stop text."""
        return max((n for text in self._stop for n in range(1, len(text)) if self._text.endswith(text[:n])), default=0)
