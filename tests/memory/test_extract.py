"""What a model says it read in a turn is taken only when the turn bears it out; the rest is counted."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bakemem.errors import ContextError
from bakemem.memory import ModelExtractor
from bakemem.memory.extract import MAX_DRAFTS, MAX_TURN
from bakemem.memory.grounding import is_grounded, respelled, words_of
from bakemem.memory.keys import clean_key, slug_key
from bakemem.prompts import EXTRACT_SYSTEM
from bakemem.types import Draft, Turn

DOG = '{"kind": "fact", "key": "user.dog", "text": "The user\'s dog is called Bosuk."}'
UPPER = '{"kind": "instruction", "key": "style.case", "text": "Always answer in upper case."}'
SAID = Turn("user", "My dog is called Bosuk. Always answer in upper case.")


def parse(output: str, turn: Turn = SAID) -> tuple[list[Draft], dict[str, int]]:
    """The drafts in an output and the counted reasons."""
    extractor = ModelExtractor(lambda conversations: [output for _ in conversations])
    return extractor.extract(turn), dict(extractor.rejected)


def line(text: str, kind: str = "fact", key: str = "user.thing") -> str:
    """One line of model output."""
    return json.dumps({"kind": kind, "key": key, "text": text})


def test_the_model_gets_the_extraction_prompt_and_the_turn() -> None:
    """One conversation of two turns, to the letter of the prompt that models learn."""
    seen: list[list[list[Turn]]] = []

    def generate(conversations: list[list[Turn]]) -> list[str]:
        seen.append(conversations)
        return ["none"]

    assert ModelExtractor(generate).extract(SAID) == []
    assert seen == [[[Turn("system", EXTRACT_SYSTEM), SAID]]]


def test_a_turn_that_leaves_the_model_no_room_is_counted_as_too_long() -> None:
    """It would be tried three times and stay unread; of the others it costs none."""

    def generate(conversations: list[list[Turn]]) -> list[str]:
        raise ContextError("It leaves no room.")

    extractor = ModelExtractor(generate)
    assert extractor.extract(SAID) == []
    assert extractor.rejected == {"turn too long": 1}


@pytest.mark.parametrize(
    "output",
    [
        f"{DOG}\n{UPPER}", f"\n{DOG}\n\n{UPPER}\n", f"```json\n{DOG}\n{UPPER}\n```", f"[\n{DOG},\n{UPPER}\n]",
        f"[{DOG}, {UPPER}]", f"{DOG}\r\n{UPPER}", f"{DOG}\n{UPPER}\nnone",
    ],
)  # fmt: skip
def test_memories_are_read_in_order(output: str) -> None:
    """JSON lines, and the wrappings that models put around them."""
    drafts, rejected = parse(output)
    assert drafts == [
        Draft("fact", "user.dog", "The user's dog is called Bosuk."),
        Draft("instruction", "style.case", "Always answer in upper case."),
    ]
    assert rejected == {}


@pytest.mark.parametrize("output", ["none", "None.", "", " \n"])
def test_nothing_is_nothing(output: str) -> None:
    """An output without memories gives none and rejects none."""
    assert parse(output) == ([], {})


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("I found nothing to remember!", "malformed"),
        (DOG[:-5], "malformed"),
        ("[1, 2]", "malformed"),
        ("{}", "malformed"),
        ('{"kind": "fact", "key": "user.dog"}', "malformed"),
        ('{"kind": "fact", "key": "user.dog", "text": ["Bosuk"]}', "malformed"),
        ('{"kind": null, "key": "user.dog", "text": "Bosuk"}', "malformed"),
        ("[" * 100_000, "malformed"),
        ("1" * 10_000, "malformed"),
        (line("The dog is called Bosuk.", kind="order"), "unknown kind"),
        (line(" \n "), "empty text"),
        (line("dog " * 600), "bad text"),
        (line("dog \ud800"), "bad text"),
        (line("dog \0"), "bad text"),
        (line("The dog is called Bosuk\ufffd\ufffdw."), "bad text"),
    ],
)
def test_output_that_is_no_memory_is_counted(output: str, reason: str) -> None:
    """Each kind of bad output has its reason."""
    drafts, rejected = parse(output)
    assert drafts == []
    assert set(rejected) == {reason}


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("My dog is called Bosuk.", "The user's dog is called Rex."),  # another name
        ("My dog is called Bosuk, not Bosur.", "The user's dog is called Bosu."),  # a part of either name
        ("my dog is called bosuk.", "The user's dog is called Bosu."),  # a part of what may be no name
        ("I am 42 years old.", "The user is 43 years old."),  # another number
        ("I am 42 years old.", "The user is 4 years old."),  # a part of the number
        ("What a day!", "The user likes cheese."),  # nothing of it was said
        ("Hello, how are you?", "The user is the user."),
        ("What is my dog called?", "The user's dog is called Bosuk."),  # known from elsewhere
        ("My dog is called Bosuk.", "Zorro is the user's dog."),  # another name, at the beginning
        ("I live in a town by the sea.", "Berlin is the town where the user lives."),
        ("I had a long day at work.", "The user works as a brown."),  # nothing but an ordinary word
    ],
)
def test_a_fact_that_the_turn_does_not_bear_out_is_dropped(said: str, text: str) -> None:
    """Names and numbers must have been said, and something of the rest too."""
    assert parse(line(text), Turn("user", said)) == ([], {"not grounded": 1})


@pytest.mark.parametrize(
    ("said", "key", "text", "borne_out"),
    [
        ("Tell me about my dog.", "user.dog", "The user's dog is calledclareclareots.", False),
        ("Keep it.", "keepick.allergy", "Keepickcaick.", False),
        ("Thanks, that is all.", "thanks.language", "Thanks speaks all words.", False),
        ("I am going to Berlin tomorrow.", "berlin.product", "The town of Berlin makes boats.", False),
        ("My dog Rex died.", "user.dog", "The user's dog Rex is dead.", True),
        ("I have a dog.", "user.dog", "The user has a dog.", True),
        ("Ich habe einen Hund.", "user.dog", "Der Nutzer hat einen Hund.", True),
        ("I work nights as a nurse.", "user.job", "The user is a nurse who works at night.", True),
        ("I just got married!", "user.state", "The user is married.", True),
    ],
)
def test_what_a_fact_is_about_does_not_bear_out_what_it_tells(said: str, key: str, text: str, borne_out: bool) -> None:
    """A word of its key alone, the beginning of a longer one, or a usual verb is no evidence."""
    assert is_grounded(Draft("fact", key, text), said) is borne_out


@pytest.mark.parametrize(
    ("said", "text", "key", "kept", "spelt"),
    [
        (
            "My dog is called Bosuk.",
            "The user's dog is called Bosu.",
            "user.dog",
            "The user's dog is called Bosuk.",
            "user.dog",
        ),
        ("Boretho's in Tarn.", "Borethai lives in Tarn.", "borethai.town", "Boretho lives in Tarn.", "boretho.town"),
        ("Riattmatt's cost is 9.", "Riattt's cost is 9.", "riattt.cost", "Riattmatt's cost is 9.", "riattmatt.cost"),
        ("Bosuk is Bosuk.", "Bosur is Bosur.", "bosur.is", "Bosuk is Bosuk.", "bosuk.is"),
        ("O'Brien is in Tarn.", "Obrian lives in Tarn.", "obrian.town", "O'Brien lives in Tarn.", "obrien.town"),
        ("Snowball enjoys chess.", "Snow enjoys chess.", "snow.sport", "Snowball enjoys chess.", "snowball.sport"),
        ("Xiaoqing nurses.", "Gyiaoqing is a nurse.", "gyiaoqing.job", "Xiaoqing is a nurse.", "xiaoqing.job"),
    ],
)
def test_a_misspelt_name_is_spelt_as_it_was_said(said: str, text: str, key: str, kept: str, spelt: str) -> None:
    """In the text and in the key: the only name that was said is meant, if it is much alike."""
    [draft], _ = parse(line(text, key=key), Turn("user", said))
    assert (draft.text, draft.key) == (kept, spelt)


_WORDS = st.sampled_from("Bosuk Bosu Bosuk's Bosur bosuk Koda Kodar Zürich Zürch dog is 42 The, 柏林".split())


@example("Bosu", "Bosuk Bosuk's")  # the name that was said, in the genitive, in which it was not
@given(st.lists(_WORDS).map(" ".join) | st.text(max_size=40), st.lists(_WORDS).map(" ".join) | st.text(max_size=40))
def test_respelling_brings_in_no_name_that_was_not_said(turn: str, text: str) -> None:
    """What it changes is a word of the turn then, and what was grounded stays as it is."""
    draft = Draft("fact", "user.dog", text)
    spelt = respelled(draft, turn)
    before, said, after = ({w.removesuffix("'s") for w in words_of(t)} for t in (text, turn, spelt.text))
    assert after <= before | said
    if is_grounded(draft, turn):
        assert spelt == draft


def test_a_text_that_grows_too_long_as_it_is_respelt_is_dropped() -> None:
    """What is kept must fit into the journal."""
    long = ("Bosuki " * 285).strip()
    assert parse(line(long), Turn("user", "Bosukiri is a dog."))[1] == {"bad text": 1}


def test_a_misspelt_subject_is_dropped() -> None:
    """A name that begins the sentence counts as a name when the key bears it; this one may be either of two."""
    said = Turn("user", "Boretho lives in Tarn, as Borethan does.")
    assert parse(line("Borethai lives in Tarn.", key="borethai.town"), said)[1] == {"not grounded": 1}
    assert len(parse(line("Boretho lives in Tarn.", key="boretho.town"), said)[0]) == 1


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("my age is 42", "The user is 42 years old."),
        ("By the way: my flight's on monday!", "The user flies on Monday."),
        ("My car is red.", "The user drives a red car."),
        ("BOSUK IS MY DOG", "The user's dog is called Bosuk."),
        ("I love Bosuk’s bark.", "The user loves the bark of Bosuk."),
        ("I live in Zürich", "The user lives in zürich."),
        ("我住在柏林。", "用户住在柏林。"),
        ("My dog is called Bosuk.", "Bosuk is the user's dog."),
        ("I love green tea.", "Tea is the favourite drink of the user."),
        ("I had a dog.", "Since then the user has had a dog."),
        ("Я живу в Москве.", "Пользователь живёт в Москве."),
        ("Mein Hund heißt Bosuk.", "Der Hund des Benutzers heißt Bosuk."),
        ("Ich wohne in Köln.", "Der Nutzer wohnt in Köln."),
        ("Ich bin Lehrerin in Graz.", "Die Anwenderin ist Lehrerin in Graz."),
        ("My dog is called Bosuk.", "The User's dog is called Bosuk."),
        ("मेरे कुत्ते का नाम बोसुक है।", "उपयोगकर्ता के कुत्ते का नाम बोसुक है।"),
        ("मी पुण्यात राहतो.", "वापरकर्ता पुण्यात राहतो."),
        ("আমার কুকুরের নাম বসুক।", "ব্যবহারকারীর কুকুরের নাম বসুক।"),
        ("என் நாயின் பெயர் போசுக்.", "பயனரின் நாயின் பெயர் போசுக்."),
        ("สุนัขของฉันชื่อโบซุก", "ผู้ใช้มีสุนัขชื่อโบซุก"),
        (unicodedata.normalize("NFD", "Mein Bruder heißt José."), "Der Bruder des Benutzers heißt José."),
        ("Tôi sống ở Huế.", unicodedata.normalize("NFD", "Người dùng sống ở Huế.")),
        ("내 개 이름은 보석이다.", unicodedata.normalize("NFD", "사용자의 개 이름은 보석이다.")),
    ],
)
def test_a_fact_in_other_words_is_kept(said: str, text: str) -> None:
    """Case, inflection, possessives and scripts without spaces do not matter; nor does another language: a word for the
    user is no name, a vowel sign ends no word, and an accent may be a character of its own.
    """
    assert len(parse(line(text), Turn("user", said))[0]) == 1


@pytest.mark.parametrize("text", ["The user's dog is called.", "The name of the user's dog is", "My dog has a."])
def test_a_fact_that_lacks_its_value_is_dropped(text: str) -> None:
    """As a small model writes of “Don't remember what my dog is called.”: it would replace what is known."""
    said = Turn("user", "Don't remember what my dog is called; it has a name.")
    assert parse(line(text), said) == ([], {"unfinished": 1})


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("Mein Hund heißt Bosuk.", "Der Hund des Benutzers heißt Rex."),
        ("मेरे कुत्ते का नाम बोसुक है।", "उपयोगकर्ता दिल्ली में रहता था।"),
    ],
)
def test_a_fact_in_another_language_must_have_been_said_too(said: str, text: str) -> None:
    """The names in it, or a telling word."""
    assert parse(line(text), Turn("user", said)) == ([], {"not grounded": 1})


def test_an_instruction_may_be_worded_anew_but_not_name_anew() -> None:
    """Its words are free, the names in it are not."""
    said = Turn("user", "I want capitals from you, and address me as Captain.")
    assert len(parse(line("Always answer in upper case.", "instruction", "style.case"), said)[0]) == 1
    assert len(parse(line("Call the user Captain.", "instruction", "user.address"), said)[0]) == 1
    assert parse(line("Call the user Admiral.", "instruction", "user.address"), said)[1] == {"not grounded": 1}


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        (Turn("assistant", "My dog is called Bosuk."), "said by the assistant"),
        (Turn("system", "My dog is called Bosuk."), "said by the system"),
        (Turn("user", ""), "empty turn"),
        (Turn("user", " \n\t"), "empty turn"),
        (Turn("user", "My dog is called Bosuk. " * (MAX_TURN // 10)), "turn too long"),
    ],
)
def test_only_a_users_turn_of_a_fair_length_reaches_the_model(turn: Turn, reason: str) -> None:
    """Others are counted and no model is called."""

    def generate(conversations: list[list[Turn]]) -> list[str]:
        raise AssertionError("the model was called")

    extractor = ModelExtractor(generate)
    assert extractor.extract(turn) == []
    assert extractor.rejected == {reason: 1}


def test_repetition_and_floods_are_cut() -> None:
    """The same memory counts once, and one turn gives a limited number."""
    assert parse(f"{DOG}\n{DOG}")[1] == {"repeated": 1}
    flood = "\n".join(line(f"The dog is called{' so' * i} Bosuk.") for i in range(MAX_DRAFTS + 5))
    drafts, rejected = parse(flood)
    assert (len(drafts), rejected) == (MAX_DRAFTS, {"too many": 5})


@pytest.mark.parametrize("key", ["", "user dog", "user..dog", "../../etc", "x" * 300])
def test_what_comes_with_no_fit_key_gets_one_of_its_own(key: str) -> None:
    """The turn bears it out, so it is not lost for that."""
    [draft], rejected = parse(line("The dog is called Bosuk.", key=key))
    assert draft.text == "The dog is called Bosuk."
    assert draft.key == clean_key(draft.key) == slug_key(draft.text, "fact")
    assert rejected == {}


@pytest.mark.parametrize("keys", [("user.cat", "user.dog"), ("user.dog", "user.cat")])
def test_of_two_keys_for_one_text_the_fitting_one_is_kept(keys: tuple[str, str]) -> None:
    """Else the memory under the other would stay when the dog gets another name."""
    drafts, rejected = parse("\n".join(line("The user's dog is called Bosuk.", key=key) for key in keys))
    assert drafts == [Draft("fact", "user.dog", "The user's dog is called Bosuk.")]
    assert rejected == {"repeated": 1}


def test_a_sign_for_no_character_is_kept_where_it_was_said() -> None:
    """Only a model that stopped within a character brings it in by itself."""
    assert len(parse(line("The dog is called Bosuk\ufffd."), Turn("user", "My dog is called Bosuk\ufffd."))[0]) == 1


def test_keys_and_kinds_are_cleaned() -> None:
    """Case and white space around them do not make another key."""
    drafts, _ = parse(line(" The user's dog is called Bosuk. ", kind=" FACT", key=" User.Dog "))
    assert drafts == [Draft("fact", "user.dog", "The user's dog is called Bosuk.")]


fields = st.fixed_dictionaries(
    {"kind": st.sampled_from(["fact", "instruction", ""]), "key": st.text(), "text": st.text()}
)
hostile = st.text() | st.lists(fields.map(json.dumps) | st.text()).map("\n".join)


@settings(max_examples=50)
@given(output=hostile, said=st.text())
def test_no_output_breaks_the_extraction(output: str, said: str) -> None:
    """Whatever a model writes and whatever was said, there is a list of drafts and no error."""
    drafts, _ = parse(output, Turn("user", said))
    assert all(draft.text.strip() for draft in drafts)
