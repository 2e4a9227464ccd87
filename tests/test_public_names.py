"""What users may import from `bakemem`, and what they may rely on about it."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

import bakemem
import bakemem.types

PUBLIC = {"AgentMemory", "BakememError", "Config", "Memory", "Report", "Turn", "Version", "__version__", "open"}
VALUES = [
    value
    for _, value in inspect.getmembers(bakemem.types, inspect.isclass)
    if value.__module__ == "bakemem.types"
]  # fmt: skip


def test_public_names_are_these() -> None:
    """The root exports exactly the agreed names, a dozen at most: adding one is a decision."""
    assert set(bakemem.__all__) == PUBLIC
    assert len(bakemem.__all__) <= 12


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__"}))
def test_public_names_are_documented(name: str) -> None:
    """Every public name can be loaded and says what it is in its own docstring."""
    value = getattr(bakemem, name)
    assert callable(value)
    assert value.__doc__
    assert len(value.__doc__.split()) >= 4


def test_public_methods_are_documented() -> None:
    """Every public method of the object that a user holds has a docstring."""
    methods = inspect.getmembers(bakemem.AgentMemory, lambda member: inspect.isfunction(member))
    silent = [name for name, method in methods if not name.startswith("_") and not method.__doc__]
    assert not silent


def test_open_stays_a_function() -> None:
    """Loading the composition root does not put a module in the place of `bakemem.open`."""
    import bakemem.opening

    assert inspect.isfunction(bakemem.open)
    assert bakemem.opening.open_memory is not bakemem.open


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A misspelt name fails as it would on any module, though some names are loaded late."""
    with pytest.raises(AttributeError, match="AgentMemry"):
        bakemem.AgentMemry  # noqa: B018


def test_late_names_are_listed() -> None:
    """Names that are loaded on first use are offered by completion before that."""
    assert set(dir(bakemem)) >= PUBLIC


def test_there_are_values() -> None:
    """The tests below look at something."""
    assert bakemem.Turn in VALUES
    assert len(VALUES) >= 8


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.__name__)
def test_values_are_frozen(value: type) -> None:
    """What flows between stages cannot be changed after it was made, and has no other attributes."""
    assert dataclasses.is_dataclass(value)
    assert value.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert "__slots__" in vars(value)
    assert value.__doc__


def test_a_turn_cannot_be_changed() -> None:
    """Assigning to a field of a turn is refused."""
    turn = bakemem.Turn("user", "hello")
    with pytest.raises(dataclasses.FrozenInstanceError):
        turn.content = "bye"  # type: ignore[misc]
