"""Adapters that were damaged or made to harm are refused, for the right reason, before PEFT or torch opens them."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import peft
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

import bakemem.serving.adapters
import bakemem.serving.placing
from bakemem.agent_memory import AgentMemory
from bakemem.config import load_config
from bakemem.errors import AdapterError
from bakemem.memory import HomeLock, Journal
from bakemem.serving import Base, LocalEngine, ServingModel, wrap_base
from bakemem.testing import MemoryIndex
from bakemem.types import Prompt, Report
from bakemem.versions import Manifest, VersionStore, check_adapter
from tests.adapters import write_adapter
from tests.tiny import TINY
from tests.versions.hostile import CASES, Case

Serve = Callable[[Case], AgentMemory]


class Opened(BaseException):
    """A library that can run code, or trusts what it reads, was let at the adapter; no `except` of ours may hide it."""


@pytest.fixture(scope="module")
def base(tokenizer: PreTrainedTokenizerBase) -> Base:
    """A base that adapters claim to fit."""
    return wrap_base("tiny", LlamaForCausalLM(LlamaConfig(**TINY)), tokenizer)


@pytest.fixture
def serve(tmp_path: Path, base: Base, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """A memory whose live version is a case; whatever would load an adapter raises Opened."""

    def opened(*arguments: object, **named: object) -> None:
        raise Opened

    for place, name in (
        (bakemem.serving.adapters, "load_file"), (bakemem.serving.placing, "LoraConfig"),
        (bakemem.serving.placing, "set_peft_model_state_dict"), (peft.PeftModel, "from_pretrained"),
        (peft.PeftConfig, "from_pretrained"), (torch, "load"), (pickle, "load"), (pickle, "loads"),
    ):  # fmt: skip
        monkeypatch.setattr(place, name, opened)
    memories: list[AgentMemory] = []

    def make(case: Case) -> AgentMemory:
        journal, store = Journal(tmp_path / "journal.db"), VersionStore(tmp_path)
        source = write_adapter(tmp_path / "source")
        case.before(source)
        manifest = Manifest(
            name="v1", namespace="default", parent=None, created=datetime(2025, 1, 1, tzinfo=UTC),
            prompt=Prompt("", ()), base_fingerprint=base.fingerprint, seed=0, data_sha256="d" * 64,
            report=Report(4.0, 0.05, 0.98, 0.99, 1.0, 0.0, 60, 14.5, True),
            settings={"model": "big-model", "dtype": "float32"},
        )  # fmt: skip
        staged = store.stage(source, dataclasses.replace(manifest, **case.baked))
        journal.commit_version(staged.version(store.folder("v1")), accepted=True)
        case.after(store.folder("v1"))
        memories.append(AgentMemory(load_config(tmp_path), HomeLock(tmp_path).acquire(), journal, store,
                                    load_serving=lambda: ServingModel(LocalEngine(base)),
                                    open_index=MemoryIndex))  # fmt: skip
        return memories[-1]

    yield make
    for memory in memories:
        memory.close()


def test_a_sound_adapter_is_opened(serve: Serve) -> None:
    """So that the refusals below mean something: the guard stands where an adapter is read."""
    with pytest.raises(Opened):
        serve(Case("")).chat("Hello?")


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_before_anything_opens_it(serve: Serve, name: str) -> None:
    """When it is live, and when it is asked for by name; rolling back to the base helps."""
    memory = serve(CASES[name])
    with pytest.raises(AdapterError, match=CASES[name].why):
        memory.chat("Hello?")
    with pytest.raises(AdapterError, match=CASES[name].why):
        memory.chat("Hello?", version="v1")
    memory.rollback("base")
    assert memory.live is None


def test_what_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without the right to list it is an AdapterError like any other."""
    folder = write_adapter(tmp_path / "adapter")

    def forbidden(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", forbidden)
    with pytest.raises(AdapterError, match="Permission denied"):
        check_adapter(folder)
