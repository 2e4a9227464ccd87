"""What every test shares: no network, and no setting taken from the machine that runs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
import torch
from hypothesis import settings
from pytest_socket import SocketBlockedError, SocketConnectBlockedError
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from bakemem.agent_memory import AgentMemory
from bakemem.baking.rollout import Taught, rollout, teach
from bakemem.config import load_config
from bakemem.memory import HomeLock, Journal
from bakemem.serving import Base, LocalEngine, ServingModel, load_base, wrap_base
from bakemem.starter import STARTER
from bakemem.testing import MemoryIndex
from bakemem.types import Stimulus, Turn
from bakemem.versions import VersionStore
from tests.tiny import LENIENT, PROMPT, TINY, BakeHome, MakeTaught, OpenMemory, count_unended, loud

# Before any test imports a library that reads them.
os.environ.update(
    ANONYMIZED_TELEMETRY="False",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_OFFLINE="1",
    TOKENIZERS_PARALLELISM="false",
    TRANSFORMERS_OFFLINE="1",
)
for name in [name for name in os.environ if name.startswith("BAKEMEM_")]:
    del os.environ[name]

# A busy machine is no reason for a property to fail.
settings.register_profile("bakemem", deadline=None)
settings.load_profile("bakemem")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: one that begins last keeps one worker busy while the other has nothing left to do."""
    longest = {"test_month.py", "test_starter_memory.py"}
    items.sort(key=lambda item: (item.path.name not in longest, item.get_closest_marker("slow") is None))


@pytest.fixture(autouse=True)
def network_attempts() -> Iterator[list[str]]:
    """Fail a test that reached for the network, even where the code under test swallowed the refusal."""
    attempts: list[str] = []
    with _noted(SocketBlockedError, attempts), _noted(SocketConnectBlockedError, attempts):
        yield attempts
    if attempts:
        pytest.fail(f"The test reached for the network: {'; '.join(attempts)}", pytrace=False)


def _noted(error: type[RuntimeError], attempts: list[str]) -> mock._patch[object]:
    """Every making of the error that pytest-socket refuses with leaves a line in `attempts`."""
    make = error.__init__

    def noted(self: RuntimeError, *args: object, **kwargs: object) -> None:
        make(self, *args, **kwargs)
        attempts.append(str(self))

    return mock.patch.object(error, "__init__", noted)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    """The starter's tokenizer, with its chat template."""
    return AutoTokenizer.from_pretrained(STARTER)


@pytest.fixture
def tiny_base(tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch) -> Base:
    """A base that answers at random: enough to train, swap and compare in a second. Its questions count, unended."""
    count_unended(monkeypatch)
    return _tiny(tokenizer)


def _tiny(tokenizer: PreTrainedTokenizerBase) -> Base:
    torch.manual_seed(0)
    return wrap_base("tiny", loud(LlamaForCausalLM(LlamaConfig(**TINY, max_position_embeddings=2048))), tokenizer)


@pytest.fixture(scope="session")
def starter() -> Base:
    """The starter model, loaded once; leave it as you found it."""
    return load_base(str(STARTER), device="cpu")


@pytest.fixture
def make_taught() -> MakeTaught:
    """Lets the base answer `n` questions with the prompt in its context."""

    def make(base: Base, n: int = 12, prompt: str = PROMPT, max_new_tokens: int = 8) -> list[Taught]:
        words = "dogs cats towns boats songs tea".split()
        stimuli = [Stimulus((Turn("user", f"Question {i} about {words[i % 6]}?"),), "direct") for i in range(n)]
        trajectories = rollout(base.model, base.template, stimuli, [prompt] * n, max_new_tokens=max_new_tokens,
                               lock=base.lock)  # fmt: skip
        return teach(base.model, base.template, trajectories, [prompt] * n, lock=base.lock)

    return make


@contextmanager
def _opening(home: Path, base: Base) -> Iterator[OpenMemory]:
    """Opens the memory of one home on a tiny base; what is still open is closed at the end."""
    opened: list[AgentMemory] = []

    def make(**settings: object) -> AgentMemory:
        config = load_config(home, **{**LENIENT, **settings})
        lock = HomeLock(home).acquire()
        memory = AgentMemory(config, lock, Journal(home / "journal.db"), VersionStore(home),
                             load_serving=lambda: ServingModel(LocalEngine(base)),
                             open_index=MemoryIndex)  # fmt: skip
        opened.append(memory)
        return memory

    yield make
    for memory in opened:
        memory.close()


@pytest.fixture
def open_memory(tmp_path: Path, tiny_base: Base) -> Iterator[OpenMemory]:
    """Opens the memory of one home on the tiny base."""
    with _opening(tmp_path, tiny_base) as make:
        yield make


@pytest.fixture(scope="session")
def bake_home(tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory) -> BakeHome:
    """Makes a home with a version for each set of memories (key to text); tests copy it to begin where it ends."""

    def make(*bakes: dict[str, str]) -> Path:
        home = tmp_path_factory.mktemp("baked")
        with pytest.MonkeyPatch.context() as patch:
            count_unended(patch)
            with _opening(home, _tiny(tokenizer)) as open_memory:
                memory = open_memory()
                for told in bakes:
                    for key, text in told.items():
                        memory.remember(text, key=key)
                    memory.bake()
        return home

    return make
