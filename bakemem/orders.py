"""The /commands of a conversation: what is typed, what is done, and what is told in plain text.

Knows an assistant and its memory; knows no terminal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bakemem.errors import InputError
from bakemem.memory import INDEXED, local
from bakemem.serving import check_strength
from bakemem.types import Memory, Version

if TYPE_CHECKING:
    from bakemem.assistant import Assistant
    from bakemem.baking import StageProgress


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command did, as text for a person; `value` is what the memory gave, for a program."""

    command: str
    text: str
    value: object = None


def obey(assistant: Assistant, line: str, progress: StageProgress | None = None) -> Answer:
    """Do what the line says. Raises InputError for an unknown command and a wrong argument."""
    word, rest = [*line.strip().removeprefix("/").split(None, 1), "", ""][:2]
    rest = rest.strip()
    if word == "bake":
        return _bake(assistant, rest, progress)
    if word not in _ORDERS:
        raise InputError(f"There is no /{word[:40]}: /help lists the commands; begin with a space what is none.")
    return _ORDERS[word](assistant, rest)


def _remember(assistant: Assistant, rest: str) -> Answer:
    kept = assistant.memory.remember(rest, conversation=assistant.conversation)
    return Answer("remember", f"learned: {_line(kept)}", kept)


def _forget(assistant: Assistant, rest: str) -> Answer:
    if not rest:
        raise InputError("Say what to forget: /forget user.dog, or an id; /memories lists them.")
    memory = assistant.memory
    known = memory.memories(INDEXED)  # of one key there may be several: a rollback holds one beside the live one
    ids = [i for word in rest.split() for i in [m.id for m in known if m.key == word.lower()] or [word]]
    gone = memory.forget(ids)
    learned = ", ".join(v.name for v in memory.to_erase())
    more = f"\n{learned} learned it, and never serves again; the next /bake destroys it." if learned else ""
    return Answer("forget", f"forgotten: {', '.join(f'{m.kind} {m.id[:8]}' for m in gone) or 'nothing'}{more}", gone)


def _why(assistant: Assistant, rest: str) -> Answer:
    last = assistant.past(1)
    if not rest and not last:
        raise InputError("Say a question: /why What is my dog called?")
    found = assistant.memory.why(rest or last[0].text)
    lines = []
    for one in found:
        m = one.memory
        turn = f": “{m.provenance.turn}”" if m.provenance.turn else ""  # it may be forgotten
        where = f"in the weights ({one.span})" if one.live else "in the prompt"
        lines += [f"{m.id[:8]}  {one.score:.2f}  {m.key}: {m.text}",
                  f"          {where}; said by {m.provenance.source} {_day(m)}{turn}"]  # fmt: skip
    return Answer("why", "\n".join(lines) or "No memory is near to that.", found)


def _memories(assistant: Assistant, rest: str) -> Answer:
    known = [m for m in assistant.memory.memories() if m.status not in ("forgotten", "superseded")]
    lines = [f"{m.id[:8]}  {m.status:11}  {_line(m)}" for m in known]
    return Answer("memories", "\n".join(lines) or "Nothing is remembered yet.", known)


def _bake(assistant: Assistant, rest: str, progress: StageProgress | None) -> Answer:
    if rest not in ("", "from-base"):
        raise InputError("Say /bake, or /bake from-base to start cold.")
    version = assistant.memory.bake(from_base=rest == "from-base", progress=progress)
    if version.status == "accepted":
        n = len(version.memory_ids)
        told = f"{version.name} is live: {n} {'memory' if n == 1 else 'memories'} in the weights."
    else:
        told = (f"{version.name} was refused by the gate ({'; '.join(version.report.reasons)}): "
                f"{assistant.memory.live or 'base'} stays live, and what is pending stays in the prompt.")  # fmt: skip
    return Answer("bake", told, version)


def _versions(assistant: Assistant, rest: str) -> Answer:
    memory, versions = assistant.memory, assistant.memory.versions()[::-1]
    lost = {v.name for v in memory.to_erase()}

    def mark(v: Version) -> str:
        if v.name == memory.live:
            return "live"
        return v.gone or ("tainted" if v.name in lost else "" if v.status == "accepted" else v.status)

    lines = [f"{v.name:5} {mark(v):9}  {local(v.created):%Y-%m-%d %H:%M}  knows {len(v.memory_ids)}"
             for v in versions]  # fmt: skip
    return Answer("versions", "\n".join([*lines, "base" if memory.live else "base  live"]), versions)


def _rollback(assistant: Assistant, rest: str) -> Answer:
    if not rest:
        raise InputError("Say which: /rollback v1, or /rollback base; /versions lists them.")
    memory = assistant.memory
    was, moved, now = memory.live or "base", memory.rollback(rest), memory.live or "base"
    held = [m for m in moved if m.status == "held"]
    back = [m for m in moved if m.came_back]
    told = [f"{now} was live already." if now == was else f"{now} is live; {was} was."]
    told += [f"{word} {m.id[:8]}  {_line(m)}" for word, some in (("held", held), ("back", back)) for m in some]
    return Answer("rollback", "\n".join(told), held)


def _strength(assistant: Assistant, rest: str) -> Answer:
    if rest:
        try:
            strength = float(rest)
        except ValueError as error:
            raise InputError(f"{rest[:40]!r} is no strength: 0 is the base, 1 all of the memory.") from error
        check_strength(strength)
        assistant.options["strength"] = strength
    strength = assistant.options.get("strength", 1.0)
    return Answer("strength", f"The baked memory has strength {strength:g}.", strength)


def _help(assistant: Assistant, rest: str) -> Answer:
    return Answer("help", HELP)


def _quit(assistant: Assistant, rest: str) -> Answer:
    return Answer("quit", "")


def _line(memory: Memory) -> str:
    return f"{memory.kind} {memory.key}: {memory.text}"


def _day(memory: Memory) -> str:
    return f"{local(memory.created):%Y-%m-%d %H:%M}"


HELP = """\
/remember TEXT          keep a fact or an instruction
/forget KEY|ID ...      erase memories for good, from this conversation too
/memories               what is remembered
/why [QUESTION]         which memories an answer rests on, and who said them
/bake [from-base]       move what is pending into the weights
/versions               the versions, newest first
/rollback VERSION       let another version serve, or base
/strength [0...4]       how much of the baked memory counts: 0 none, 1 all
/help                   this list
/quit                   leave"""

_ORDERS: dict[str, Callable[[Assistant, str], Answer]] = {
    "remember": _remember, "forget": _forget, "memories": _memories, "why": _why, "versions": _versions,
    "rollback": _rollback, "strength": _strength, "help": _help, "quit": _quit,
}  # fmt: skip
