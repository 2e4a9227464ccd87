"""Baked adapters beside one base: read into place, made active for one step, and let go of when nobody needs them.

Knows adapters by id; knows no requests, versions or journals.
"""

from __future__ import annotations

import json
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedModel

from bakemem.errors import AdapterError
from bakemem.serving.placing import Ready, displace, lora_layers, place, ready
from bakemem.serving.turnstile import Turnstile

_NAMED = ("r", "lora_alpha", "target_modules", "fan_in_fan_out", "bias", "task_type")


class Adapters:
    """The adapters of a base. Those that are pinned stay; of the others the least recently used leave when all together
    are larger than `most_bytes`. Safe for threads.
    """

    def __init__(self, model: PreTrainedModel, lock: Turnstile, most_bytes: int = 1 << 28) -> None:
        self._model, self._lock = model, lock
        self.most_bytes = most_bytes
        self._guard = threading.RLock()  # never waits for the model while it is held
        self._sizes: OrderedDict[str, int] = OrderedDict()  # least recently used first
        self._pins: Counter[str] = Counter()
        self._retired: set[str] = set()
        self._layers: tuple[tuple[str, ...], dict[str, LoraLayer]] = ((), {})

    # ---- which there are

    def ids(self) -> set[str]:
        """Those that new requests may name."""
        with self._guard:
            return self._sizes.keys() - self._retired

    @property
    def bytes(self) -> int:
        """What all of them take."""
        with self._guard:
            return sum(self._sizes.values())

    def attach(self, adapter_id: str, folder: Path) -> None:
        """Read an adapter that was checked before into place beside the others. Raises AdapterError; then all is as it
        was.
        """
        with self._guard:
            if adapter_id in self._sizes:  # an id names its content, so it is the same one
                self._retired.discard(adapter_id)
                self._sizes.move_to_end(adapter_id)
                return
        adapter = _read(self._model, folder)
        with self._lock:
            if adapter_id not in self._sizes:  # nobody else was faster
                self._place(adapter_id, adapter, folder)
                with self._guard:
                    self._sizes[adapter_id] = adapter.n_bytes
            self._make_room(adapter_id)

    def detach(self, adapter_id: str) -> None:
        """New requests cannot name it any more; it is freed as soon as nothing pins it."""
        with self._guard:
            known = adapter_id in self._sizes
            if known:
                self._retired.add(adapter_id)
        if known:
            self._free_retired()
        else:
            with self._lock.replying():
                self._remove(adapter_id)

    def pin(self, adapter_id: str) -> None:
        """It stays until it is unpinned as often. Raises AdapterError when it is not attached."""
        with self._guard:
            if adapter_id not in self._sizes or adapter_id in self._retired:
                raise AdapterError(f"Adapter {adapter_id} is not attached, or was destroyed: attach it, or ask again.")
            self._pins[adapter_id] += 1
            self._sizes.move_to_end(adapter_id)

    def unpin(self, adapter_id: str) -> None:
        """One pin less."""
        with self._guard:
            self._pins[adapter_id] -= 1
        self._free_retired()

    # ---- which is active

    @contextmanager
    def active(self, adapter_id: str | None, strength: float = 1.0) -> Iterator[PreTrainedModel]:
        """The model with exactly this adapter at this strength, for one step of other work than replies."""
        with self._lock, self.switched(adapter_id, strength) as model:
            yield model

    @contextmanager
    def switched(self, adapter_id: str | None, strength: float = 1.0) -> Iterator[PreTrainedModel]:
        """As `active`, for whoever holds the lock."""
        wanted = None if strength == 0.0 else adapter_id
        if wanted is not None and wanted not in self._names():
            raise AdapterError("The version that this reply began with is destroyed: ask again.")
        layers = self._lora_layers().values()
        for layer in layers:
            # What set_adapter and disable_adapters do, without their walk over all parameters: 0.1 in place of 10 ms.
            layer._disable_adapters = wanted is None
            if wanted is not None:
                layer._active_adapter = [wanted]
        if wanted is None or strength == 1.0:
            yield self._model
            return
        for layer in layers:
            layer.set_scale(wanted, strength)
        try:
            yield self._model
        finally:
            for layer in layers:
                layer.set_scale(wanted, 1.0)

    # ---- the rest

    def _lora_layers(self) -> dict[str, LoraLayer]:
        """All of them by name; they are others only when there are other adapters."""
        if self._layers[0] != self._names():
            self._layers = (self._names(), lora_layers(self._model))
        return self._layers[1]

    def _names(self) -> tuple[str, ...]:
        return tuple(getattr(self._model, "peft_config", None) or ())

    def _place(self, adapter_id: str, adapter: Ready, folder: Path) -> None:
        try:
            layers = self._lora_layers()
            if place(self._model, layers, adapter_id, adapter, self._sizes):
                self._layers = (self._names(), layers)
        except BaseException as error:
            self._remove(adapter_id)
            if not isinstance(error, (ValueError, TypeError, KeyError, RuntimeError)):
                raise
            raise AdapterError(f"The adapter in {folder} does not fit the base model: {error}.") from error

    def _make_room(self, newest: str) -> None:
        with self._guard:
            over = self.bytes - self.most_bytes
            for adapter_id, size in self._sizes.items():
                if over > 0 and not self._pins[adapter_id] and adapter_id != newest:
                    self._retired.add(adapter_id)
                    over -= size
        self._free_retired()

    def _free_retired(self) -> None:
        if not self._free():
            return
        with self._lock.replying():  # it takes no longer than a step, and the replies' own thread comes here too
            with self._guard:  # looked for again: one that was attached meanwhile stays
                gone = self._free()
                for adapter_id in gone:
                    del self._sizes[adapter_id], self._pins[adapter_id]
                self._retired.difference_update(gone)
            for adapter_id in gone:
                self._remove(adapter_id)

    def _free(self) -> list[str]:
        with self._guard:
            return [adapter_id for adapter_id in self._retired if not self._pins[adapter_id]]

    def _remove(self, adapter_id: str) -> None:
        if adapter_id in self._names():
            layers = self._lora_layers()
            displace(self._model, layers, adapter_id)
            self._layers = (self._names(), layers)


def _read(model: PreTrainedModel, folder: Path) -> Ready:
    try:
        tensors = load_file(folder / "adapter_model.safetensors")
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, SafetensorError, ValueError) as error:
        raise AdapterError(f"The adapter in {folder} cannot be read: {error}. Run `bakemem log`.") from error
    try:
        return ready(model, {k: value for k, value in config.items() if k in _NAMED}, tensors)
    except (ValueError, TypeError, IndexError, RuntimeError) as error:
        raise AdapterError(f"The adapter in {folder} is no plain LoRA: {error}.") from error
