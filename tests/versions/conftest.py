"""Adapters and manifests for the tests of the versions room."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bakemem.types import Prompt, Report
from bakemem.versions import Manifest
from tests.adapters import CONFIG, SHAPES, write_adapter, write_weights


@pytest.fixture
def shapes() -> dict[str, tuple[int, ...]]:
    """The tensors of the small adapter."""
    return dict(SHAPES)


@pytest.fixture
def config() -> dict[str, object]:
    """The configuration of the small adapter."""
    return dict(CONFIG)


@pytest.fixture(name="write_weights")
def weights_writer() -> Callable[..., None]:
    """Writes a safetensors file of the given shapes; `bits` are the bits of every number."""
    return write_weights


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A folder as a bake leaves it."""
    return write_adapter(tmp_path / "baked")


@pytest.fixture
def make_manifest() -> Callable[..., Manifest]:
    """Makes the manifest of a bake."""

    def make(
        name: str = "v1", *, namespace: str = "default", text: str = "Prompt of Bosuk.", seed: int = 0
    ) -> Manifest:
        report = Report(4.0, 0.05, 0.98, 0.99, 1.0, 0.0, 60, 14.5, True, (), ("feed",))
        return Manifest(
            name=name, namespace=namespace, parent=None, created=datetime(2025, 1, 1, tzinfo=UTC),
            prompt=Prompt(text, ("a1", "b2")), base_fingerprint="base-1", report=report, seed=seed,
            data_sha256="d" * 64, settings={"rank": 2, "learning_rate": None},
        )  # fmt: skip

    return make
