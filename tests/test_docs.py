"""The generated pages of docs/ say what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from bakemem.cli import main
from bakemem.config import Config

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """docs/generate.py."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_page_has_drifted(generate: ModuleType) -> None:
    """`make docs` would change nothing."""
    assert generate.drifted() == []


def test_a_drifted_page_is_found(generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing page and one that was changed by hand are both named."""
    monkeypatch.setattr(generate, "DOCS", tmp_path)
    (tmp_path / "cli.md").write_text(generate.cli_page() + "By hand.\n", encoding="utf-8")
    assert generate.drifted() == ["cli.md", "config.md"]


def test_pages_are_complete(generate: ModuleType) -> None:
    """Every command has its heading and every setting its row."""
    commands, settings = generate.cli_page(), generate.config_page()
    assert all(f"\n## bakemem {name}\n" in commands for name in main.commands)
    assert all(f"\n| `{name}` | " in settings for name in Config.model_fields)
