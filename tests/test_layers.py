"""Who may import whom: reads every import of `bakemem` and `agents` and keeps the table of layers.

A module that has no place in the tables below, and a library that has none, is an error: placing it is a decision.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

LAYERS = {
    "base": {
        "config",
        "disk",
        "errors",
        "everyday",
        "kv",
        "names",
        "prompts",
        "rendering",
        "template",
        "turns",
        "types",
    },
    "stages": {"baking", "memory", "serving", "starter", "versions"},
    "flow": {
        "agent_memory",
        "chat_options",
        "asking",
        "assistant",
        "conversing",
        "cycle",
        "erasure",
        "gathering",
        "knowledge",
        "orders",
        "schedule",
        "talking",
        "upkeep",
        "versioned",
    },
    "wiring": {"opening"},
    "edges": {"__main__", "agents", "cli", "demo", "evaluation"},
    "root": {""},  # bakemem/__init__.py
    "free": {"testing"},
}
LAYER_OF = {room: layer for layer, rooms in LAYERS.items() for room in rooms}
# Downward only. A stage reaches its own room as well, and no other stage.
MAY_IMPORT = {
    "base": {"base"},
    "stages": {"base"},
    "flow": {"base", "stages", "flow"},
    "wiring": {"base", "stages", "flow"},
    "edges": {"base", "stages", "flow", "wiring", "edges", "root"},
    "root": {"base", "flow", "wiring"},
}
# These see a stage only through what its `__init__.py` exports.
PUBLIC_NAMES_ONLY = {"flow", "edges"}
# They may import inside functions, to keep `import bakemem` and the command line light.
LATE_IMPORTS = {"", "__main__", "agents", "cli", "demo", "opening"}

MODEL_ROOMS = frozenset({"baking", "serving", "starter"})
EDGES = frozenset(LAYERS["edges"])
# Library -> the rooms, or single modules, that may import it.
LIBRARIES: dict[str, frozenset[str]] = {
    "accelerate": MODEL_ROOMS,
    "apscheduler": frozenset({"schedule"}),
    "chromadb": frozenset({"memory.index"}),
    "click": EDGES,
    "detect_secrets": frozenset({"memory.redact"}),
    "email_validator": frozenset({"memory.redact"}),
    "langchain": frozenset({"agents"}),
    "langchain_core": frozenset({"agents"}),
    "langgraph": frozenset({"agents"}),
    "lm_eval": frozenset({"evaluation.harness"}),
    "llguidance": frozenset({"serving.guide"}),
    "llguidance.hf": frozenset({"serving.guide"}),
    "matplotlib": EDGES,
    "numpy": frozenset({"memory", "versions"}) | MODEL_ROOMS,
    "peft": MODEL_ROOMS,
    "plotext": EDGES,
    "pydantic": frozenset({"agents", "config"}),
    "pydantic_settings": frozenset({"config"}),
    "pydantic_extra_types": frozenset({"memory.redact"}),
    "rich": EDGES,
    "safetensors": frozenset({"versions"}) | MODEL_ROOMS,
    "safetensors.torch": MODEL_ROOMS,
    "sqlalchemy": frozenset(
        f"memory.{m}"
        for m in "adopt conversations database erase heard integrity jobs journal ledger memories migrations portable "
        "schema turns version_rows".split()
    ),
    "threadpoolctl": frozenset({"serving.engine"}),
    "tokenizers": MODEL_ROOMS,
    "torch": MODEL_ROOMS | {"kv"},
    "transformers": MODEL_ROOMS | {"kv"},
    "tzlocal": frozenset({"schedule"}),
}


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module, by its full name, and whether the statement stands inside a function."""

    target: str
    line: int
    late: bool


def check(module: str, source: str, modules: frozenset[str], exports: frozenset[str] = frozenset()) -> list[str]:
    """The broken rules of one module, as lines for a person.

    `modules` are all modules of the tree, `exports` the full names that packages bind in their `__init__.py`: there
    `rollout` is the exported function, not the file that bears its name.
    """
    room, layer = _place(module)
    if layer is None:
        return [f"{module}: has no layer; add it to LAYERS and to the table in docs"]
    if layer == "free":
        return []
    found = []
    for used in _imports(module, source, modules, exports):
        where = f"{module}:{used.line}"
        if used.late and room not in LATE_IMPORTS:
            found.append(f"{where}: imports {used.target} inside a function")
        ours = used.target.partition(".")[0] == "bakemem"
        reason = _wrong_layer(room, layer, used.target) if ours else _wrong_library(module, room, used.target)
        if reason:
            found.append(f"{where}: {reason}")
    return found


def _place(module: str) -> tuple[str, str | None]:
    """The room of a module (`memory` for `bakemem.memory.journal`) and its layer."""
    room = module.removeprefix("bakemem").removeprefix(".").partition(".")[0]
    return room, LAYER_OF.get(room)


def _wrong_layer(room: str, layer: str, target: str) -> str | None:
    their_room, their_layer = _place(target)
    if their_room == room and room:
        return None
    if their_layer is None:
        return f"imports {target}, which has no layer"
    if their_layer not in MAY_IMPORT[layer]:
        return f"{layer} must not import {target} ({their_layer})"
    if their_layer == "stages" and layer in PUBLIC_NAMES_ONLY and target.count(".") > 1:
        return f"imports {target}, the inside of a stage; import from bakemem.{their_room}"
    if room == "baking" and their_room == "config":
        return "baking must run where pydantic-settings is not installed: pass it plain values"
    return None


def _wrong_library(module: str, room: str, target: str) -> str | None:
    library = target.partition(".")[0]
    if library in sys.stdlib_module_names:
        return None
    places = next((LIBRARIES[name] for name in (".".join(target.split(".")[:2]), library) if name in LIBRARIES), None)
    if places is None:
        return f"imports {target}, which no room may: add it to LIBRARIES and to pyproject.toml"
    if room in places or module.removeprefix("bakemem.") in places:
        return None
    return f"imports {target}, which belongs to {', '.join(sorted(places))}"


def _imports(module: str, source: str, modules: frozenset[str], exports: frozenset[str]) -> Iterator[Import]:
    """All imports of a module; `from package import name` counts as the submodule unless the package exports it."""
    is_package = any(name.startswith(f"{module}.") for name in modules)
    package = module.split(".") if is_package else module.split(".")[:-1]
    tree = ast.parse(source)
    late = {id(inner) for node in ast.walk(tree) if _is_function(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            full = [f"{base}.{alias.name}" for alias in node.names]
            targets = [name if name in (modules - exports) | LIBRARIES.keys() else base for name in full]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            targets = [ast.literal_eval(node.args[0])] if isinstance(node.args[0], ast.Constant) else []
        else:
            continue
        yield from (Import(target, node.lineno, id(node) in late) for target in dict.fromkeys(targets))


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def _tree() -> dict[str, Path]:
    """All modules of the package by their import names."""
    found = {}
    for folder, prefix in ((ROOT / "bakemem", "bakemem"), (ROOT / "agents", "bakemem.agents")):
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join([prefix, *(part for part in parts if part != "__init__")])] = path
    return found


def _exports(tree: dict[str, Path]) -> Iterator[str]:
    """The full names that packages take over from their own files."""
    for module, path in tree.items():
        if path.name == "__init__.py":
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ImportFrom) and (node.level == 1 or node.module != module) and node.module:
                    yield from (f"{module}.{alias.asname or alias.name}" for alias in node.names)


TREE = _tree()
MODULES = frozenset(TREE)
EXPORTS = frozenset(_exports(TREE))


def test_the_tree_is_read() -> None:
    """The check sees the root, a stage and the agents, so an empty answer means clean and not blind."""
    assert {"bakemem", "bakemem.types", "bakemem.starter.world", "bakemem.agents"} <= MODULES


@pytest.mark.parametrize("module", sorted(TREE))
def test_layers_are_kept(module: str) -> None:
    """Every import of a module points downward, through public names, to libraries that belong there."""
    broken = check(module, TREE[module].read_text(encoding="utf-8"), MODULES, EXPORTS)
    assert not broken, "\n".join(broken)


KNOWN = frozenset(
    "bakemem bakemem.types bakemem.config bakemem.memory bakemem.memory.journal bakemem.versions bakemem.baking"
    " bakemem.baking.train bakemem.cycle bakemem.opening bakemem.agents bakemem.agents.tools bakemem.cli".split()
)


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("bakemem.types", "import bakemem.errors, bakemem.memory", "base must not import bakemem.memory"),
        ("bakemem.types", "import numpy", "imports numpy"),
        ("bakemem.errors", "import pydantic", "imports pydantic, which belongs to agents, config"),
        ("bakemem.memory.journal", "from bakemem.versions import save", "stages must not import bakemem.versions"),
        ("bakemem.memory.journal", "from ..versions import save", "stages must not import bakemem.versions"),
        ("bakemem.memory.journal", "from bakemem import cycle", "stages must not import bakemem.cycle"),
        ("bakemem.memory.journal", "from bakemem import Turn", "stages must not import bakemem (root)"),
        ("bakemem.memory.journal", "import torch", "imports torch"),
        ("bakemem.memory.journal", "import chromadb", "imports chromadb, which belongs to memory.index"),
        ("bakemem.memory.index", "from sqlalchemy.orm import Session", "imports sqlalchemy.orm"),
        ("bakemem.versions.store", "import sqlalchemy", "imports sqlalchemy"),
        ("bakemem.versions.store", "from safetensors.torch import save_file", "imports safetensors.torch"),
        ("bakemem.versions.store", "from safetensors import torch", "imports safetensors.torch"),
        ("bakemem.baking.train", "from bakemem.config import Config", "pydantic-settings is not installed"),
        ("bakemem.baking.train", "from bakemem.testing import Fake", "stages must not import bakemem.testing"),
        ("bakemem.cycle", "from bakemem.memory.journal import Journal", "the inside of a stage"),
        ("bakemem.cycle", "from bakemem.memory import journal", "the inside of a stage"),
        ("bakemem.cycle", "import bakemem.opening", "flow must not import bakemem.opening"),
        ("bakemem.opening", "import bakemem.cli", "wiring must not import bakemem.cli"),
        ("bakemem.cli", "from bakemem.baking.train import train", "the inside of a stage"),
        ("bakemem.cli", "import langchain_core.messages", "imports langchain_core.messages"),
        ("bakemem.cycle", "import requests", "imports requests, which no room may"),
        ("bakemem.utils", "", "has no layer"),
        ("bakemem.cycle", "import bakemem.helpers", "imports bakemem.helpers, which has no layer"),
        ("bakemem.cycle", "def run():\n    import json", "imports json inside a function"),
        ("bakemem.cycle", "class A:\n    async def run(self):\n        import json", "json inside a function"),
        ("bakemem.cycle", "import importlib\nimportlib.import_module('torch')", "imports torch"),
        ("bakemem.cycle", "if TYPE_CHECKING:\n    import peft", "imports peft"),
    ],
)
def test_a_broken_rule_is_reported(module: str, source: str, complaint: str) -> None:
    """Each rule can fail: a module that breaks it is named together with what it imported."""
    broken = check(module, source, KNOWN)
    assert len(broken) == 1, broken
    assert broken[0].startswith(module)
    assert complaint in broken[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("bakemem.types", "import json\nfrom collections.abc import Mapping"),
        ("bakemem.config", "from pydantic_settings import BaseSettings\nfrom bakemem.errors import ConfigError"),
        ("bakemem.memory.journal", "import sqlalchemy\nfrom bakemem.memory.schema import Row\nfrom .recall import x"),
        ("bakemem.memory", "from .journal import Journal"),
        ("bakemem.versions.store", "from safetensors.numpy import load_file\nimport numpy as np"),
        ("bakemem.baking.train", "import torch\nfrom safetensors.torch import save_file"),
        ("bakemem.cycle", "from bakemem.memory import Journal\nfrom bakemem.baking import bake"),
        ("bakemem.opening", "def open_memory():\n    from bakemem.memory.journal import Journal"),
        ("bakemem", "def open():\n    from bakemem.opening import open_memory"),
        ("bakemem.agents.tools", "import bakemem\nfrom langchain_core.tools import tool\nfrom . import chat_model"),
        ("bakemem.testing", "import torch\nfrom bakemem.memory.journal import Journal"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    """The rules do not stand in the way of what the layers are for."""
    assert check(module, source, KNOWN) == []


def test_an_exported_function_may_bear_the_name_of_its_file() -> None:
    """`from bakemem.baking import train` is a public name once the package exports it, and an inside before."""
    source = "from bakemem.baking import train"
    assert check("bakemem.cycle", source, KNOWN)
    assert check("bakemem.cycle", source, KNOWN, frozenset({"bakemem.baking.train"})) == []
