"""An unfinished bake in a folder, so that one that was stopped goes on where it was.

One JSON file, and one of tensors that it names; nothing is a pickle. Knows values and tensors; knows no models.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from bakemem.disk import overwrite, write_whole
from bakemem.types import Stimulus, Trajectory, turn_of

CHECKPOINT_FILE = "checkpoint.json"
EVERY = 20.0
"""Seconds from one checkpoint of a training to the next; more where saving takes long."""
SHARE = 0.05
"""The most of a training's time that saving it may take."""

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class TrainingState:
    """A training between two steps: how many are done, the mean KL of the last one (nats), the states of the packer
    and of the schedule.

    `tensors` are the candidate's parameters and their optimizer's state by name.
    """

    step: int
    kl: float
    packer: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    schedule: Mapping[str, Any] = field(default_factory=dict)


class Checkpoint:
    """What a bake keeps of its way in a folder that is there; without a folder it keeps nothing.

    `key` says what is baked and how: a checkpoint of another key, or a damaged one, is logged and thrown away. The
    JSON file is the commit point: it names the file of tensors with its hash, which is on the disk before it.
    """

    def __init__(self, folder: Path | None = None, key: str = "") -> None:
        self._folder, self._key = folder, key
        self._opened = self._saved = time.monotonic()
        self._pause = EVERY
        self._values: dict[str, Any] = {}
        self._training: TrainingState | None = None
        if folder is not None:
            self._open(folder)
        self._spent = float(self._values.get("seconds", 0.0))
        self._found = frozenset(self._values)

    @property
    def seconds(self) -> float:
        """How long the bake has taken so far, with what it took before it was stopped."""
        return self._spent + time.monotonic() - self._opened

    @property
    def due(self) -> bool:
        """Whether it is time to save again."""
        return self._folder is not None and time.monotonic() - self._saved >= self._pause

    def found(self, name: str) -> bool:
        """Whether `once` had no need to make this."""
        return name in self._found

    def once(self, name: str, read: Callable[[Any], _T], make: Callable[[], _T]) -> _T:
        """What was kept under a name, read from its JSON; else what `make` gives, which is kept from now on."""
        if name in self._values:
            return read(self._values[name])
        made = make()
        self._write({name: json.loads(json.dumps(made, default=asdict))})
        return made

    def another(self, name: str) -> Checkpoint:
        """The checkpoint of another training of the same bake, in a folder of its own inside this one."""
        if self._folder is None:
            return Checkpoint()
        folder = self._folder / name.replace(" ", "-")
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            _LOG.warning("The bake is not saved any more (%s): if it is stopped, it begins anew.", error)
            return Checkpoint()
        return Checkpoint(folder, key_of(self._key, name))

    def resume(self) -> TrainingState | None:
        """How far the training was when the bake was stopped; handed out once, and not held after that."""
        state, self._training = self._training, None
        return state

    def save(self, state: TrainingState) -> None:
        """Keep a training in place of what was kept of it before; one whose numbers are not finite leads nowhere."""
        if self._folder is None or not all(tensor.isfinite().all() for tensor in state.tensors.values()):
            return
        before = self._values.get("training")
        if before and before["step"] == state.step:
            return
        started = time.monotonic()
        content = save({name: tensor.contiguous().cpu() for name, tensor in state.tensors.items()})
        file = {"file": f"step-{state.step}.safetensors", "sha256": hashlib.sha256(content).hexdigest()}
        training = {"step": state.step, "kl": state.kl, "packer": state.packer,
                    "schedule": state.schedule, **file}  # fmt: skip
        self._write({"training": training}, file["file"], content)
        if before:
            self._remove(before["file"])
        self._saved = time.monotonic()
        self._pause = max(EVERY, (self._saved - started) / SHARE)

    def drop(self) -> None:
        """Forget what is kept of the training: it begins anew."""
        if training := self._values.pop("training", None):
            self._write({})
            self._remove(training["file"])

    def _write(self, new: Mapping[str, Any], name: str = "", content: bytes = b"") -> None:
        if self._folder is None:
            return
        values = {**self._values, "key": self._key, "seconds": self.seconds, **new}
        try:
            if name:
                write_whole(self._folder / name, content)
            write_whole(self._folder / CHECKPOINT_FILE, _sealed(values))
            self._values = values  # not before: a save that Ctrl-C hits is done again
        except OSError as error:
            # Also where what is baked was forgotten meanwhile: then the folder is gone, and nothing may come back.
            _LOG.warning("The bake is not saved any more (%s): if it is stopped, it begins anew.", error)
            self._folder = None

    def _open(self, folder: Path) -> None:
        reason = ""
        try:
            values = _unsealed((folder / CHECKPOINT_FILE).read_bytes())
            if values["key"] == self._key:
                self._training = _state_of(folder, values["training"]) if "training" in values else None
                self._values = values
            else:
                reason = "it is of another bake"
        except FileNotFoundError as error:
            reason = str(error) if any(folder.iterdir()) else ""
        except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
            reason = f"it is damaged: {error!r}"
        if reason:
            _LOG.warning("The checkpoint in %s is thrown away (%s): the bake begins anew.", folder, reason)
        used = (CHECKPOINT_FILE, self._values.get("training", {}).get("file")) if self._values else ()
        for path in sorted(folder.iterdir()):
            if path.name not in used and path.is_file():  # a folder is another checkpoint
                self._remove(path.name)

    def _remove(self, name: str) -> None:
        if self._folder is not None:
            try:
                overwrite(self._folder / name)
            except OSError as error:
                _LOG.warning("%s cannot be removed (%s).", self._folder / name, error)


def key_of(*parts: object) -> str:
    """A hash over JSON values and dataclasses that define a bake, and over the code that bakes."""
    text = json.dumps([_code(), *parts], sort_keys=True, default=asdict)
    return hashlib.sha256(text.encode()).hexdigest()


def stimulus_of(values: Mapping[str, Any]) -> Stimulus:
    """The stimulus in its JSON."""
    return Stimulus(tuple(map(turn_of, values["turns"])), values["kind"], tuple(values["memory_ids"]))


def trajectory_of(values: Mapping[str, Any]) -> Trajectory:
    """The trajectory in its JSON."""
    return Trajectory(stimulus_of(values["stimulus"]), values["answer"], tuple(values["token_ids"]))


def _state_of(folder: Path, training: Mapping[str, Any]) -> TrainingState:
    content = (folder / Path(training["file"]).name).read_bytes()
    if hashlib.sha256(content).hexdigest() != training["sha256"]:
        raise ValueError(f"{training['file']} has another hash")
    return TrainingState(training["step"], training["kl"], training["packer"], load(content),
                         training["schedule"])  # fmt: skip


def _sealed(values: Mapping[str, Any]) -> bytes:
    """JSON that begins with the hash of the rest."""
    body = json.dumps(values)
    return json.dumps({"sha256": hashlib.sha256(body.encode()).hexdigest(), "body": values}).encode()


def _unsealed(content: bytes) -> dict[str, Any]:
    whole = json.loads(content)
    body: dict[str, Any] = whole["body"]
    if hashlib.sha256(json.dumps(body).encode()).hexdigest() != whole["sha256"]:
        raise ValueError(f"{CHECKPOINT_FILE} has another hash")
    return body


@cache
def _code() -> str:
    """A bake is never continued by other code than it was begun with, nor by another version of it."""
    digest = hashlib.sha256()
    for room in ("bakemem", "bakemem.baking"):
        for file in sorted(files(room).iterdir(), key=lambda file: file.name):
            if file.is_file() and file.name.endswith((".py", ".txt", ".tsv")):
                digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()
