"""What is installed: the wheel holds every module and data file, and nothing beside `bakemem`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOT_SOURCE = shutil.ignore_patterns("__pycache__", "*.pyc", "*.tmp")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from a copy so that no earlier build leaks into it and none is left behind."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("bakemem", "agents"):
        shutil.copytree(ROOT / name, source / name, ignore=NOT_SOURCE)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", "--no-index",
         "--wheel-dir", str(target), str(source)],
        check=True,
    )  # fmt: skip
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> frozenset[str]:
    """The paths of the files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return frozenset(archive.namelist())


def _sources(folder: Path, prefix: str) -> Iterator[str]:
    """All files under a source folder, modules and data, as the wheel should name them."""
    for path in folder.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in {".pyc", ".tmp"}:
            yield f"{prefix}/{path.relative_to(folder).as_posix()}"


def test_every_package_is_listed() -> None:
    """A new package folder is named in pyproject.toml, where packages are listed and not searched for."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "bakemem").rglob("__init__.py")}
    present = {".".join(folder.parts) for folder in folders} | {"bakemem.agents"}
    assert present == set(listed)


def test_the_wheel_is_complete(names: frozenset[str]) -> None:
    """Every module and every data file of the tree is in the wheel: wordings, questions, weights, py.typed."""
    expected = {*_sources(ROOT / "bakemem", "bakemem"), *_sources(ROOT / "agents", "bakemem/agents")}
    assert {"bakemem/everyday.tsv", "bakemem/py.typed", "bakemem/agents/__init__.py"} <= expected
    assert not expected - names


def test_the_wheel_takes_one_name(names: frozenset[str]) -> None:
    """Nothing but `bakemem` is installed: a top-level `agents` would collide with other people's."""
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"bakemem"}


def test_the_wheel_brings_license_and_command(wheel: Path) -> None:
    """The license travels with the code, and the `bakemem` command is installed."""
    with zipfile.ZipFile(wheel) as archive:
        (license_name,) = [name for name in archive.namelist() if name.endswith("LICENSE")]
        (commands,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert b"Apache License" in archive.read(license_name)
        assert b"bakemem = bakemem.cli:main" in archive.read(commands)


def test_the_agents_are_imported_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """`bakemem.agents` is importable from an installed wheel, and `agents` is not."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import importlib.util, bakemem, bakemem.agents;"
        "assert importlib.util.find_spec('agents') is None;"
        "print(bakemem.agents.__file__)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path.parent, env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(run.stdout.strip()) == tmp_path / "bakemem" / "agents" / "__init__.py"
