"""Questions to bake a prompt with are read from plain lines and from JSON Lines."""

from __future__ import annotations

import pytest

from bakemem.cli.questions import parse_questions
from bakemem.errors import InputError
from bakemem.types import Turn


def test_plain_lines_are_questions() -> None:
    """Each line that holds something is one question."""
    assert parse_questions("Who?\n\n  Where? \n", "q") == [(Turn("user", "Who?"),), (Turn("user", "Where?"),)]


def test_json_lines_are_questions_or_conversations() -> None:
    """A line of JSON is a question or a whole conversation."""
    text = (
        '{"question": "Who?"}\n'
        '{"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Where?"}]}\n'
    )
    assert parse_questions(text, "q") == [
        (Turn("user", "Who?"),), (Turn("system", "Be kind."), Turn("user", "Where?")),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("\n \n", "is empty"),
        ('{"question": "Who?"}\nWhere?', "line 2: this is not JSON"),
        ('{"question": ""}', "line 1: give"),
        ('{"query": "Who?"}', "line 1: give"),
        ('{"messages": []}', "line 1: give"),
        ('{"messages": [{"role": "tool", "content": "4"}]}', "roles are system, user, assistant"),
        ('{"messages": [{"role": "assistant", "content": "Hello."}]}', "must be the user's"),
        ('{"question": "Who?"}\n["Where?"]', "line 2: give"),
    ],
)
def test_what_cannot_be_read_is_an_error(text: str, complaint: str) -> None:
    """Whatever is no question is named with its line."""
    with pytest.raises(InputError, match=complaint):
        parse_questions(text, "q")
