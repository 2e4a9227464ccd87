"""“Forget that …” and “stop …”: what is taken back, and which memory is meant."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bakemem.memory import meant, retraction
from bakemem.types import Memory


@pytest.mark.parametrize(
    ("said", "taken_back"),
    [
        ("Forget that my dog is called Bosuk.", ("my dog is called Bosuk", False)),
        ("Please forget where I live.", ("I live", False)),
        ("Don’t remember my sister's name", ("my sister's name", False)),
        ("Do not remember that I live in Plinth.", ("I live in Plinth", False)),
        ("You can forget about project Gopo.", ("project Gopo", False)),
        ("Stop answering in upper case.", ("answering in upper case", True)),
        ("Please stop being sad now!", ("being sad", True)),
        ("You no longer need to thank me.", ("thank me", True)),
    ],
)
def test_what_is_taken_back_is_read_out_of_the_message(said: str, taken_back: tuple[str, bool]) -> None:
    """The words after “forget” or “stop”, and whether an instruction ends."""
    assert retraction(said) == taken_back


@pytest.mark.parametrize(
    "said",
    ["My dog is called Bosuk.", "Forget it.", "Forget everything.", "I forgot my keys.", "Do not forget my birthday.",
     "What did I forget?", "Stop!", "", "Never forget that I live in Plinth.", "Forget " + "a word " * 40,
     "Don't remember what my dog is called.", "No longer remember who my sister is.", "Do not remember if I told you."],
)  # fmt: skip
def test_other_messages_take_nothing_back(said: str) -> None:
    """Nor does what is too sweeping to be taken at its word."""
    assert retraction(said) is None


def test_a_long_message_is_read_as_fast_as_another() -> None:
    """Not in a time that grows with the square of its signs."""
    assert retraction("Stop " + "." * 1_000_000 + " now, please") is None


def test_the_memory_with_most_of_the_words_is_meant(make_memory: Callable[..., Memory]) -> None:
    """By its text or its key; where two of different keys fit as well, or none does, nothing is meant."""
    dog = make_memory("The user's dog is called Bosuk.", key="user.dog")
    cat = make_memory("The user's cat is called Tarin.", key="user.cat")
    case = make_memory("Always answer in upper case.", "instruction", key="style.case")
    every = [dog, cat, case]
    assert meant("my dog is called Bosuk", False, every) == [dog]
    assert meant("my cat's name", False, every) == [cat]
    assert meant("answering in upper case", True, every) == [case]
    assert meant("is called", False, every) == []
    assert meant("my boat's name", False, every) == []
    held = make_memory("The user's dog is called Rexo.", key="user.dog")
    assert meant("what my dog is called", False, [held, *every]) == [held, dog]
    assert meant("my dog is called Rexo", False, [held, *every]) == [held]
    assert meant("calling my dog Bosuk", True, every) == []


@pytest.mark.parametrize(
    "said",
    ["Stop using emojis, and always answer in French.", "Forget my cat. My dog is called Bosuk.",
     "Forget work, I live in Tarn now.", "Forget about dinner, the meeting is on Monday.", "Delete the Bosuk file.",
     "Delete the last email.", "Forget the dog for a moment.", "Stop answering.", "Forget the dog and call me Al."],
)  # fmt: skip
def test_ordinary_speech_erases_nothing(make_memory: Callable[..., Memory], said: str) -> None:
    """What is erased cannot be brought back, so a doubt is a no."""
    every = [
        make_memory("The user's dog is called Bosuk.", key="user.dog"), make_memory("The user lives in Tarn."),
        make_memory("The meeting is on Monday."), make_memory("The user's e-mail is [email].", key="user.email"),
        make_memory("Always answer in French.", "instruction"),
    ]  # fmt: skip
    taken_back = retraction(said)
    assert taken_back is None or meant(*taken_back, every) == []
