"""Turns as token ids, on chat templates as different families have them."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Container
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AddedToken, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from bakemem.errors import InputError, ModelError
from bakemem.template import ChatTemplate
from bakemem.types import ToolCall, Turn

CHATML = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% if enable_thinking is defined and enable_thinking is false %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('must alternate') }}{% endif %}"
    "<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
LEAVES_SYSTEM_OUT = (
    "{% for m in messages if m['role'] != 'system' %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
PLAIN = (
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} [/{{ m['role'] }}]\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
LAST_SYSTEM = (  # Mistral 7B v0.3 and Nemo: the system text stands in the user's turn with which the prompt ends
    "{% if messages[0].role == 'system' %}{% set own = messages[0].content %}{% set rest = messages[1:] %}{% else %}"
    "{% set rest = messages %}{% endif %}{% for m in rest %}{% if m.role == 'user' %}[INST]{% if loop.last and own %}"
    "{{ own }}\n\n{% endif %}{{ m.content }}[/INST]{% elif m.role == 'assistant' %}{{ m.content + eos_token }}"
    "{% else %}[TOOL_RESULTS]{{ m.content }}[/TOOL_RESULTS]{% endif %}{% endfor %}"
)
IN_PARTS = (  # of many models that see too; what is plain text it passes over in silence
    "{% for m in messages %}<|{{ m['role'] }}|>\n{% for c in m['content'] %}{% if c['type'] == 'text' %}{{ c['text'] }}"
    "{% endif %}{% endfor %}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
TEMPLATES = {
    "own": "own",
    "chatml": CHATML,
    "in parts": IN_PARTS,
    "no system": NO_SYSTEM,
    "last system": LAST_SYSTEM,
    "none": None,
}
DIALOGUE = [Turn("system", "Be kind."), Turn("user", "One?"), Turn("assistant", "a"), Turn("user", "Two?")]


@pytest.fixture(params=TEMPLATES, ids=str)
def template(request: pytest.FixtureRequest, tokenizer: PreTrainedTokenizerBase) -> ChatTemplate:
    """The starter's tokenizer under each kind of template."""
    chosen = TEMPLATES[request.param]
    if chosen == "own":
        return ChatTemplate(tokenizer)
    other = copy.deepcopy(tokenizer)
    other.chat_template = chosen
    return ChatTemplate(other)


def answer_ids(template: ChatTemplate, text: str) -> list[int]:
    """An answer as a model makes it: its tokens and the end of the turn."""
    return [*template.tokenizer.encode(text, add_special_tokens=False), template.end_id]


def test_answers_stand_in_the_dialogue_as_they_were_made(template: ChatTemplate) -> None:
    """The ids of each answer are found at its start, once, and nothing of the context is among them."""
    first, second = answer_ids(template, "Yes, one."), answer_ids(template, "No.")
    turns = [*DIALOGUE[:2], Turn("assistant", "Yes, one."), Turn("user", "Two?"), Turn("assistant", "No.")]
    ids, starts = template.dialogue_ids(turns, {2: first, 4: second})
    assert ids[starts[2] : starts[2] + len(first)] == first
    assert ids[starts[4] :] == second


def test_a_dialogue_begins_as_its_prompt_does(template: ChatTemplate) -> None:
    """Training sees before its first answer what serving will see."""
    answer = answer_ids(template, "Yes.")
    ids, starts = template.dialogue_ids([*DIALOGUE[:2], Turn("assistant", "Yes.")], {2: answer})
    assert ids[: starts[2]] == template.prompt_ids(DIALOGUE[:2])


def test_the_end_of_turn_stands_once_between_turns(template: ChatTemplate) -> None:
    """The template's own end is not added to the one that the answer brings."""
    answer = answer_ids(template, "Yes.")
    turns = [Turn("user", "One?"), Turn("assistant", "Yes."), Turn("user", "Two?"), Turn("assistant", "Yes.")]
    ids, starts = template.dialogue_ids(turns, {1: answer, 3: answer})
    between = ids[starts[1] + len(answer) : starts[3]]
    assert between == template.next_ids("Two?")
    assert not between or between[0] != template.end_id


def test_an_answer_that_was_cut_short_is_ended_by_the_template(template: ChatTemplate) -> None:
    """It brings no end of its own; what follows would else be read as part of it."""
    cut = answer_ids(template, "Yes, and")[:-1]
    turns = [Turn("user", "One?"), Turn("assistant", "Yes, and"), Turn("user", "Two?"), Turn("assistant", "No.")]
    ids, starts = template.dialogue_ids(turns, {1: cut, 3: answer_ids(template, "No.")})
    assert ids[starts[1] + len(cut)] == template.end_id


def test_the_default_template_begins_with_the_tokenizers_own_first_token(tokenizer: PreTrainedTokenizerBase) -> None:
    """A Llama without a template was trained behind its BOS: prompts and dialogues have it once."""
    other = copy.deepcopy(tokenizer)
    other.chat_template, other.bos_token = None, "<|tool|>"
    begin = int(other.convert_tokens_to_ids("<|tool|>"))
    backend: Any = other
    backend.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|tool|> $A", special_tokens=[("<|tool|>", begin)]
    )
    template = ChatTemplate(other)
    turns = [Turn("user", "One?"), Turn("assistant", "Yes.")]
    ids, _ = template.dialogue_ids(turns, {1: answer_ids(template, "Yes.")})
    for made in (ids, template.prompt_ids(turns[:1])):
        assert made.index(begin) == 0
        assert made.count(begin) == 1


def test_the_system_text_reaches_every_model(template: ChatTemplate) -> None:
    """Where a template knows no system role it stands before the first user turn."""
    text = template.text(DIALOGUE)
    assert text.index("Be kind.") < text.index("One?")


@pytest.mark.parametrize("rest", [
    [Turn("assistant", "Hello."), Turn("user", "One?")],
    [Turn("assistant", "", tool_calls=(ToolCall("add", "{}", "abcdefghi"),)), Turn("tool", "2", "tool:add")],
], ids=["greeting", "no user"])  # fmt: skip
def test_the_system_text_is_never_left_out(tokenizer: PreTrainedTokenizerBase, rest: list[Turn]) -> None:
    """Pending memories are in it: it stands before the first user turn wherever that is, or as one of its own."""
    template = _under(tokenizer, LEAVES_SYSTEM_OUT)
    text = template.text([Turn("system", "Be kind."), *rest])
    expected = "\n\n".join(["Be kind.", *(turn.content for turn in rest if turn.role == "user")])
    assert f"<|user|>{expected}<|end|>" in text
    assert text.count("<|user|>") == 1


def test_user_turns_in_a_row_reach_every_model(template: ChatTemplate) -> None:
    """A summary is followed by the next question, and a question that was never answered by another."""
    asked = [Turn("user", "One?"), Turn("user", "Two?"), Turn("user", "Three?")]
    text = template.text([DIALOGUE[0], *asked])
    assert text.index("Be kind.") < text.index("One?") < text.index("Two?") < text.index("Three?")
    answer = answer_ids(template, "Yes.")
    ids, starts = template.dialogue_ids([*asked, Turn("assistant", "Yes.")], {3: answer})
    assert ids[: starts[3]] == template.prompt_ids(asked)
    assert ids[starts[3] :] == answer


@pytest.mark.parametrize(("source", "one"), [(CHATML, False), (NO_SYSTEM, True)], ids=["chatml", "alternating"])
def test_only_templates_that_alternate_get_user_turns_as_one(
    tokenizer: PreTrainedTokenizerBase, source: str, one: bool
) -> None:
    """Where each may stand for itself it does."""
    text = _under(tokenizer, source).text([Turn("user", "One?"), Turn("user", "Two?")])
    assert text.count("<|user|>") == 2 - one
    assert ("One?\n\nTwo?" in text) is one


def test_a_greeting_is_refused_by_templates_that_alternate(tokenizer: PreTrainedTokenizerBase) -> None:
    """Neither left out nor given a question that was never asked: the error names the order."""
    with pytest.raises(InputError, match=r"order \(assistant, user\)"):
        _under(tokenizer, NO_SYSTEM).text([Turn("assistant", "Hello."), Turn("user", "One?")])


def test_template_arguments_are_passed_on(tokenizer: PreTrainedTokenizerBase) -> None:
    """`enable_thinking = false` reaches a Qwen-like template, in prompts and before every answer of a dialogue."""
    other = copy.deepcopy(tokenizer)
    other.chat_template = CHATML
    template = ChatTemplate(other, {"enable_thinking": False})
    assert "<think>\n\n</think>" in template.text([Turn("user", "One?")])
    answer = answer_ids(template, "Yes.")
    turns = [Turn("user", "One?"), Turn("assistant", "Yes."), Turn("user", "Two?"), Turn("assistant", "Yes.")]
    ids, starts = template.dialogue_ids(turns, {1: answer, 3: answer})
    assert str(other.decode(ids[: starts[3]])).count("</think>") == 2


def test_lone_surrogates_are_refused_with_a_clear_error(tokenizer: PreTrainedTokenizerBase) -> None:
    """No tokenizer reads them."""
    with pytest.raises(InputError, match="surrogate"):
        ChatTemplate(tokenizer).prompt_ids([Turn("user", "a \ud800 b")])


def test_a_tokenizer_without_an_end_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    """Its answers could not end."""
    other = copy.deepcopy(tokenizer)
    other.eos_token = None
    with pytest.raises(ModelError, match="end-of-sequence"):
        ChatTemplate(other)


def test_marks_of_calls_are_text(tokenizer: PreTrainedTokenizerBase) -> None:
    """A call is known by them; other special tokens are left out."""
    own, marks = copy.deepcopy(tokenizer), ("[TOOL_CALLS]", "[ARGS]", "<|python_tag|>")
    own.add_tokens([AddedToken(mark, special=True) for mark in (*marks, "[IMG]")])
    template, written = ChatTemplate(own), 'See. [TOOL_CALLS]add[ARGS]{"a": 1}<|python_tag|> Yes.'
    assert template.decode(template.ids(f"[IMG]{written}<|end|>")) == written


def test_an_end_that_is_plain_text_stops_no_answer(tokenizer: PreTrainedTokenizerBase) -> None:
    """Its first piece, such as a bracket, is in many answers: they end with the end-of-sequence token.

    No history that is served has that token, so no dialogue of a training has it either.
    """
    template = _under(tokenizer, PLAIN)
    assert template.stop_ids == (tokenizer.eos_token_id,)
    turns = [Turn("user", "One?"), Turn("assistant", "Yes."), Turn("user", "Two?"), Turn("assistant", "No.")]
    yes, no = answer_ids(template, "Yes."), answer_ids(template, "No.")
    ids, starts = template.dialogue_ids(turns, {1: yes, 3: no})
    assert ids[starts[1] : starts[1] + len(yes) - 1] == yes[:-1]
    assert ids[starts[3] : starts[3] + len(no) - 1] == no[:-1]
    assert ids[: starts[3]] == template.prompt_ids(turns[:3])


GLM = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
LLAMA_2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'].strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
TALK = [Turn("user", "One?"), Turn("assistant", "Yes, one."), Turn("user", "Two?"), Turn("assistant", "No."),
        Turn("user", "Three?"), Turn("assistant", "Yes.")]  # fmt: skip


def packed(template: ChatTemplate, past: Container[int] = ()) -> tuple[list[int], dict[int, int]]:
    """The talk as training has it, its answers as a model makes them."""
    return template.dialogue_ids(TALK, {i: answer_ids(template, TALK[i].content) for i in (1, 3, 5)}, past)


def test_a_dialogue_goes_on_as_serving_has_it(template: ChatTemplate) -> None:
    """Before each answer, not the first alone."""
    ids, starts = packed(template)
    assert [ids[: starts[i]] for i in (1, 3, 5)] == [template.prompt_ids(TALK[:i]) for i in (1, 3, 5)]


def test_a_template_without_an_end_has_none_in_a_dialogue(tokenizer: PreTrainedTokenizerBase) -> None:
    """GLM-4 ends an answer with the mark of the next turn."""
    test_a_dialogue_goes_on_as_serving_has_it(_under(tokenizer, GLM))


def test_a_special_token_that_swallows_white_space_does_so_in_a_dialogue(tokenizer: PreTrainedTokenizerBase) -> None:
    """As Phi-3's do: what is behind an answer is read behind its end."""
    backend = json.loads(copy.deepcopy(tokenizer).backend_tokenizer.to_str())  # type: ignore[attr-defined]
    for token in backend["added_tokens"]:
        token["rstrip"] = True
    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(backend)),
                                    eos_token=tokenizer.eos_token, pad_token=tokenizer.pad_token)  # fmt: skip
    test_a_dialogue_goes_on_as_serving_has_it(_under(other, CHATML))


def test_white_space_before_the_end_leaves_no_second_one(tokenizer: PreTrainedTokenizerBase) -> None:
    """Llama 2 writes a space before it."""
    other = copy.deepcopy(tokenizer)
    other.bos_token = "<|tool|>"
    template = _under(other, LLAMA_2)
    ids, _ = packed(template)
    assert ids.count(template.end_id) == 3


def test_what_was_said_before_stands_as_a_template_has_it_in_a_history(tokenizer: PreTrainedTokenizerBase) -> None:
    """Without the empty thoughts that it has a model go on from."""
    template = ChatTemplate(_under(tokenizer, CHATML).tokenizer, {"enable_thinking": False})
    ids, starts = packed(template, {1, 3})
    assert ids[: starts[5]] == template.prompt_ids(TALK[:5])


def test_the_models_own_ends_stop_answers_too(tokenizer: PreTrainedTokenizerBase) -> None:
    """Those that are tokens of their own: a config that was never filled in names any piece of text."""
    end, user = tokenizer.convert_tokens_to_ids(["<|end|>", "<|user|>"])
    word = tokenizer.encode("user")[0]
    assert ChatTemplate(tokenizer, ends=[end, user, word]).stop_ids == (end, user)


# ---- tools, as the templates of families write them

HERMES_2 = (
    "{% if tools %}<|system|><tools>{% for t in tools %}{{ t | tojson }}\n{% endfor %}</tools><|end|>\n{% endif %}"
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% for c in m.tool_calls or [] %}"
    '\n<tool_call>\n{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\n</tool_call>'
    "{% endfor %}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
HERMES_3 = HERMES_2.replace(
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}',
    '{ "arguments": {{ c.function.arguments | tojson }}, "name": "{{ c.function.name }}"}',
)
LLAMA_3 = (
    "{% for m in messages %}{% if 'tool_calls' in m %}{% if m.tool_calls | length > 1 %}{{ raise_exception('one') }}"
    '{% endif %}<|assistant|>{"name": "{{ m.tool_calls[0].function.name }}", "parameters": '
    "{{ m.tool_calls[0].function.arguments | tojson }}}<|end|>{% elif m.role == 'tool' %}<|tool|>"
    '{{ {"output": m.content} | tojson }}<|end|>{% else %}<|{{ m.role }}|>'
    "{% if loop.first %}{% for t in tools or [] %}{{ t | tojson }}{% endfor %}{% endif %}{{ m.content }}<|end|>"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
MISTRAL = (
    "{% for m in messages %}{% if m.role == 'user' %}{% if tools %}[AVAILABLE_TOOLS] {{ tools | tojson }}"
    "[/AVAILABLE_TOOLS]{% endif %}[INST] {{ m.content }}[/INST]{% elif m.tool_calls %}[TOOL_CALLS] ["
    "{% for c in m.tool_calls %}{% if c.id | length != 9 %}{{ raise_exception('nine') }}{% endif %}"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}, "id": "{{ c.id }}"}'
    "{% endfor %}]{{ eos_token }}{% elif m.role == 'tool' %}[TOOL_RESULTS] {{ m.content }}[/TOOL_RESULTS]"
    "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
ALTERNATING = (  # as Mistral's own template counts turns
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% if m.role != 'tool' and not m.tool_calls %}"
    "{% if (m.role == 'user') != (ns.n % 2 == 0) %}{{ raise_exception('must alternate') }}{% endif %}"
    "{% set ns.n = ns.n + 1 %}{% endif %}{% endfor %}"
)
MISTRAL_11 = (
    MISTRAL.replace("[TOOL_CALLS] [", "")
    .replace(
        '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}, "id": "{{ c.id }}"}',
        "[TOOL_CALLS]{{ c.function.name }}[ARGS]{{ c.function.arguments | tojson }}",
    )
    .replace("{% endfor %}]", "{% endfor %}")
)
FORMS = {  # how a call of `add` begins, how it ends, and what marks it
    "own": ('<tool_call>\n{"name": "add", "arguments":', "}\n</tool_call>", "<tool_call>"),
    HERMES_2: ('<tool_call>\n{"name": "add", "arguments":', "}\n</tool_call>", "<tool_call>"),
    HERMES_3: ('<tool_call>\n{"name": "add", "arguments":', "}\n</tool_call>", ""),  # its own calls end with the name
    LLAMA_3: ('{"name": "add", "parameters":', "}", ""),
    MISTRAL: ('[TOOL_CALLS] [{"name": "add", "arguments":', "}]", "[TOOL_CALLS]"),
    MISTRAL_11: ("[TOOL_CALLS]add[ARGS]", "", "[TOOL_CALLS]"),
}
ADD = {"type": "function", "function": {
    "name": "add", "description": "Add two numbers.",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
}}  # fmt: skip
CALLED = [
    Turn("user", "Add 1."), Turn("assistant", "", tool_calls=(ToolCall("add", '{"a": 1}', "abcdefghi"),)),
    Turn("tool", "2", "tool:add", tool_call_id="abcdefghi"),
]  # fmt: skip


def _under(tokenizer: PreTrainedTokenizerBase, source: str | None) -> ChatTemplate:
    other = copy.deepcopy(tokenizer)
    other.chat_template = tokenizer.chat_template if source == "own" else source
    return ChatTemplate(other)


@pytest.mark.parametrize("source", FORMS, ids=["own", "hermes 2", "hermes 3", "llama 3", "mistral", "mistral 11"])
def test_tools_stand_as_the_template_writes_them(tokenizer: PreTrainedTokenizerBase, source: str) -> None:
    """Tools, calls and results are in the text, and a call can be begun for the model."""
    template = _under(tokenizer, source)
    text = template.text(CALLED, tools=[ADD])
    assert "add" in text
    assert '"a": 1' in text
    assert text.index("Add 1.") < text.index('"a": 1') < text.rindex("2")
    form = template.call_form
    assert (form.begin("add"), form.end, form.mark) == FORMS[source]
    assert form.begin("add").startswith(form.start)


@pytest.mark.parametrize(("source", "writes"), [
    ("own", True), (MISTRAL, True), (LLAMA_3, True), (NO_SYSTEM, False), (None, True),
    (CHATML.replace("for m in messages", "for m in messages if m['role'] != 'tool'"), False),
    (ALTERNATING + MISTRAL, False),
], ids=["own", "mistral", "llama 3", "refuses", "none", "leaves out", "alternating"])  # fmt: skip
def test_it_says_whether_results_may_stand_behind_answers(
    tokenizer: PreTrainedTokenizerBase, source: str | None, writes: bool
) -> None:
    """A bake rehearses what tools gave back only where it may."""
    assert _under(tokenizer, source).writes_results is writes


@pytest.mark.parametrize("source", [CHATML, None], ids=["chatml", "none"])
def test_templates_without_tools_say_so(tokenizer: PreTrainedTokenizerBase, source: str | None) -> None:
    """A model that would never see its tools is no error only when there are none."""
    template = _under(tokenizer, source)
    with pytest.raises(InputError, match="leaves tools out"):
        template.prompt_ids([Turn("user", "x")], tools=[ADD])
    with pytest.raises(InputError, match="writes no tool calls"):
        template.call_form  # noqa: B018


CALLS = (ToolCall("add", '{"a": 1}', "abcdefghi"), ToolCall("add", '{"a": 5}', "jklmnopqr"))
CALLED_TWICE = [
    Turn("user", "Add."), Turn("assistant", "", tool_calls=CALLS),
    Turn("tool", "six", "tool:add", tool_call_id="jklmnopqr"),
    Turn("tool", "two", "tool:add", tool_call_id="abcdefghi"),
]  # fmt: skip


def test_calls_of_one_turn_are_written_one_by_one_where_a_template_wants_it(tokenizer: PreTrainedTokenizerBase) -> None:
    """Each before its own result; a template that takes both in a turn is given both."""
    orders = {LLAMA_3: ['"a": 1', "two", '"a": 5', "six"], HERMES_2: ['"a": 1', '"a": 5', "six", "two"]}
    for source, order in orders.items():
        text = _under(tokenizer, source).text([*CALLED_TWICE, Turn("user", "Thanks.")])
        places = [text.index(piece) for piece in [*order, "Thanks."]]
        assert places == sorted(places)
    unanswered = _under(tokenizer, LLAMA_3).text(CALLED_TWICE[:3])
    assert unanswered.index('"a": 1') < unanswered.index('"a": 5') < unanswered.index("six")


@pytest.mark.parametrize("n", [2, 3], ids=["behind a call", "behind a result"])
def test_a_thread_goes_on_where_a_run_failed(tokenizer: PreTrainedTokenizerBase, n: int) -> None:
    """An empty answer stands there for templates that want one, and nothing for the others."""
    thread = [*CALLED[:n], Turn("user", "Go on.")]
    plain = _under(tokenizer, MISTRAL).text(thread)
    text = _under(tokenizer, ALTERNATING + MISTRAL).text(thread)
    assert text == plain.replace("[INST] Go on.", f" {tokenizer.eos_token}[INST] Go on.")
    assert _under(tokenizer, ALTERNATING + MISTRAL).text([*CALLED, Turn("assistant", "2."), thread[-1]]) == (
        _under(tokenizer, MISTRAL).text([*CALLED, Turn("assistant", "2."), thread[-1]])
    )


@pytest.mark.parametrize("source", [MISTRAL, MISTRAL_11], ids=["mistral", "mistral 11"])
def test_ids_of_another_provider_are_written_as_the_template_wants_them(
    tokenizer: PreTrainedTokenizerBase, source: str
) -> None:
    """The same each time, and for a result the one of its call; other templates are given them as they are."""
    shown = source.replace("[TOOL_RESULTS]", "[TOOL_RESULTS]{{ m.tool_call_id }}").replace("[ARGS]", "[ARGS]{{ c.id }}")
    foreign = [
        Turn("user", "Add 1."), Turn("assistant", "", tool_calls=(ToolCall("add", "{}", "call_1-of-another"),)),
        Turn("tool", "2", "tool:add", tool_call_id="call_1-of-another"), *CALLED,
    ]  # fmt: skip
    text = _under(tokenizer, shown).text(foreign)
    [written] = re.findall(r"TOOL_RESULTS\](\w{9}) 2", text.partition("Add 1.")[2].partition("Add 1.")[0])
    assert text.count(written) == text.count("abcdefghi") == 2
    assert "another" not in text
    assert text == _under(tokenizer, shown).text(foreign)
    kept = shown.replace("{% if c.id | length != 9 %}", "{% if false %}")
    assert _under(tokenizer, kept).text(foreign).count("call_1-of-another") == 2
