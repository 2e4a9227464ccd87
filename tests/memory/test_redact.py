"""Secrets and personal data never leave `redacted`; ordinary sentences leave it as they came."""

from __future__ import annotations

import base64
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakemem.errors import ConfigError, InputError
from bakemem.memory import redact
from bakemem.memory.redact import FINDERS, Finding, find_secrets, findings, redacted


def _part(json: str) -> str:
    return base64.urlsafe_b64encode(json.encode()).decode().rstrip("=")


# Put together from pieces, so that no scanner takes this file for a leak.
JWT = ".".join([_part('{"alg":"HS256"}'), _part('{"sub":"ann"}'), "sig-_nature0123456789"])
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n+a/b==\n-----END RSA PRIVATE KEY-----"
KEYS = [
    "AKIA" + "IOSFODNN7EXAMPLE",
    "ghp_" + "a1B2" * 9,
    "glpat-" + "a1B2c3D4e5" * 2,
    "sk-" + "a" * 20 + "T3BlbkFJ" + "b" * 20,
    "sk-proj-" + "a_b-" * 12 + "c" * 20 + "T3BlbkFJ" + "d" * 40,
    "xoxb-" + "123456789012-1234567890123-abcDEF",
    "https://hooks.slack.com/services/" + "T00000000/B00000000/" + "X" * 24,
    "sk_live_" + "4" * 24,
    "rk_live_" + "4" * 99,
    "SG." + "a" * 22 + "." + "b" * 43,
    "pypi-AgEIcHlwaS5vcmc" + "a" * 80,
    "123456789:" + "AA" + "b" * 33,
    "AC" + "0123456789abcdef" * 2,
    "0123456789abcdef" * 2 + "-us12",
    "sq0csp-" + "a" * 43,
    "M" + "a" * 23 + "." + "b" * 6 + "." + "c" * 27,
    "AccountKey=" + "a" * 86 + "==",
]
CARDS = [
    "4111 1111 1111 1111", "4111-1111-1111-1111", "4111111111111111", "4111\u00a01111\u00a01111\u00a01111",
    "4111 \u2013 1111 \u2013 1111 \u2013 1111", "3782 822463 10005", "5555555555554444",
    "4111.1111.1111.1111", "4111/1111/1111/1111", "4111·1111·1111·1111", "3782.822463.10005", "6011 1111 1111 1117",
]  # fmt: skip
EMAILS = ["first.last+tag@example.co.uk", "ann@example.org", "o'brien@example.ie", "jörg@müller.de", "a_b-c@x-y.io"]
SECRETS = [*((k, "key") for k in KEYS), *((c, "card") for c in CARDS), *((e, "email") for e in EMAILS),
           (JWT, "token"), (PEM, "private-key")]  # fmt: skip
ORDINARY = """
My dog is called Bosuk.
The budget of project Gopo is 38.
Project Nebi meets on Thursday.
Call +1 (415) 555-2671 or 030 1234567 before 2026-10-19 14:30:00.
Commit 4f2d9c0b1a7e8d6c5b4a39281706f5e4d3c2b1a0 broke it.
The parcel 1234 5678 9012 3456 and the phone with IMEI 490154203237518 are here.
See https://example.com/a/b?id=4111&q=x#top and git@github.com:ann/repo.git for more.
Donaudampfschifffahrtsgesellschaftskapitänswitwe is one word.
Pin lodash@4.17.21 and follow @ann; meet @ noon.
PI is 3.14159265358979323846 and 0.4111111111111111 is less.
550e8400-e29b-41d4-a716-446655440000 is its id.
The file begins with BEGIN RSA PRIVATE KEY or PuTTY-User-Key-File-2, then the key.
Her key is under the mat, her password is a secret, and the token was eyJust a word.
APERIODICITY IS AN ASIATICTRANSPORT OF skies.
"""


@pytest.mark.parametrize(("secret", "kind"), SECRETS)
@pytest.mark.parametrize("frame", ["{}", "It is {}.", "key={}, he said", "«{}»", "\\n{}\n", "\ud800 {} \udfff"])
def test_a_secret_is_masked_whole_and_alone(secret: str, kind: str, frame: str) -> None:
    """Wherever a secret stands, its mask takes its place and the text around it stays."""
    if kind == "email" and frame.startswith("\\n"):
        frame = "\n{}\n"  # the n would be part of the address
    if kind == "card" and frame.startswith("\\n"):
        frame = "\n{}\n"  # and a number after a letter is the tail of a word
    assert redacted(frame.format(secret), "mask") == frame.format(f"[{kind}]")


@pytest.mark.parametrize("text", ORDINARY.strip().splitlines())
def test_an_ordinary_sentence_stays_as_it_is(text: str) -> None:
    """Names, numbers, dates, hashes and links are neither masked nor refused."""
    assert redacted(text, "mask") == text
    assert redacted(text, "refuse") == text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("4111 1111 1111 1111 12/27 123", "[card] 12/27 123"),
        ("no. 12 4111 1111 1111 1111", "no. 12 [card]"),
        ("4111 1111 1111 1111 and 5555-5555-5555-4444", "[card] and [card]"),
        ("4111 1111 1111 1112", "4111 1111 1111 1112"),
        ("4111.1111.1111.1112", "4111.1111.1111.1112"),
        ("4111.1111-1111.1111", "4111.1111-1111.1111"),
        ("version 411.11111111.11111", "version 411.11111111.11111"),
        ("see...ann@example.org--thanks", "see...[email]--thanks"),
        ("<mailto:ann@example.org>", "<mailto:[email]>"),
        ("postgres://ann:s3cret@host/db", "postgres://ann:[password]@host/db"),
        ('aws_secret_key = "' + "aB1/" * 10 + '"', 'aws_secret_key = "[key]"'),
        ("//registry.npmjs.org/:_authToken=npm_abc", "//registry.npmjs.org/:_authToken=[key]"),
        (f"a\n{PEM}\nb\n{PEM}\nc", "a\n[private-key]\nb\n[private-key]\nc"),
        (PEM.replace("\n", "\\n"), "[private-key]"),
        (PEM[:-10] + "\nand more", "[private-key]"),
        ("PuTTY-User-Key-File-2: ssh-rsa\nPrivate-Lines: 1\nAAAA\nPrivate-MAC: 0ab1\nb", "[private-key]\nb"),
    ],
)
def test_a_mask_begins_and_ends_with_its_secret(text: str, masked: str) -> None:
    """What stands beside a secret stays, and a key block is cut out with its body."""
    assert redacted(text, "mask") == masked


def test_off_lets_everything_through() -> None:
    """With redaction off, even a private key is stored."""
    assert redacted(PEM, "off") == PEM


def test_a_refusal_names_the_kinds_and_never_the_secret() -> None:
    """The message can be logged: it says what was found and what to do, and quotes nothing."""
    with pytest.raises(InputError, match=r"\(email, key\): take it out") as caught:
        redacted(f"{KEYS[0]} of {EMAILS[1]}", "refuse")
    assert KEYS[0] not in str(caught.value)
    assert "example" not in str(caught.value)


def test_an_unknown_mode_is_an_error() -> None:
    """A misspelt mode does not store the text unread."""
    with pytest.raises(ConfigError, match="'Mask' is no redaction mode: use one of off, mask, refuse"):
        redacted("x", "Mask")  # type: ignore[arg-type]


def test_overlapping_findings_become_one() -> None:
    """Findings that share characters are one, of the kind that begins first; neighbours stay two."""
    found = [Finding("b", 2, 5), Finding("a", 0, 3), Finding("c", 5, 6), Finding("d", 2, 3)]
    assert findings("abcdefg", [lambda _: found]) == [Finding("a", 0, 5), Finding("c", 5, 6)]


def test_a_finder_of_ones_own_takes_the_place_of_ours() -> None:
    """Users add what the libraries do not know."""
    mine = [lambda text: (Finding("name", *m.span()) for m in re.finditer("Bosuk", text))]
    assert redacted(f"Bosuk, {EMAILS[1]}", "mask", mine) == f"[name], {EMAILS[1]}"
    assert redacted(f"Bosuk, {EMAILS[1]}", "mask", [*FINDERS, *mine]) == "[name], [email]"


def test_a_finder_that_finds_its_own_mask_is_refused() -> None:
    """Masking comes to an end, and not by storing the text."""
    with pytest.raises(InputError, match="must not find its own masks"):
        redacted("e", "mask", [lambda text: [Finding("e", m.start(), m.end()) for m in re.finditer("e", text)]])


def test_a_token_nested_too_deep_to_read_is_masked() -> None:
    """JSON that Python cannot parse for its depth neither crashes nor slips through."""
    deep = _part('{"a":' + "[" * 200_000)
    assert redacted(f"x {deep}.{deep} y", "mask") == "x [token] y"


@pytest.mark.parametrize("unit", ["AKIA" + "A" * 16, "ghp_" * 10, "glpat-" + "a" * 20, "xoxb-1-a-", PEM[:31]])
def test_a_run_of_keys_is_found_once(unit: str) -> None:
    """A run is read once: one finding for each of its keys would read it to its end each time."""
    assert len(list(find_secrets(unit * 2_000))) == 1


@pytest.mark.parametrize("index", range(3))
def test_a_run_of_beginnings_is_tried_once(index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unlimited pattern that fails at the first beginning of a run is not tried at the other thousands."""

    class Counting:
        tried = 0

        def match(self, text: str, at: int) -> None:
            self.tried += 1

    class Fake:
        denylist = (Counting(),)

    kind, _, literal, run = redact._UNLIMITED[index]
    monkeypatch.setattr(redact, "_UNLIMITED", [(kind, Fake(), literal, run)])
    list(find_secrets(literal * 5_000))
    assert Fake.denylist[0].tried == 1


def test_no_other_pattern_can_take_quadratic_time() -> None:
    """A library update that brings a pattern without a limit must be looked at by a person, and listed here or there.

    In these, the literal that begins a match cannot stand in what the repeat takes in, or nothing follows the repeat.
    """
    seen = {"BasicAuthDetector", "SlackDetector", "PypiTokenDetector"}
    unlimited = set()
    for _, detector in redact._DETECTORS:
        for pattern in detector.denylist:
            bare = re.sub(r"\\.|\[(?:\\.|[^\]])*\]", "x", pattern.pattern)
            if re.search(r"[+*]|,\}", bare):
                unlimited.add(type(detector).__name__)
    assert unlimited == seen


def test_a_megabyte_is_read_to_its_end() -> None:
    """The last word of a long text is masked as the first is."""
    long = "My dog is called Bosuk. " * 40_000
    assert redacted(f"{KEYS[0]} {long}{EMAILS[1]}", "mask") == f"[key] {long}[email]"


def test_reading_a_journal_loads_no_pattern_library() -> None:
    """Only the wiring pays for the import."""
    code = "import sys, bakemem.memory; print({'detect_secrets', 'email_validator', 'requests'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


_PLANTED = st.sampled_from([secret for secret, _ in SECRETS])
_JUNK = st.text(max_size=12) | st.sampled_from(["@", ".", "-", "eyJ", "sk-", "4111", "://a:", "aws key '", "[key]"])


@given(st.lists(_PLANTED | _JUNK, max_size=8))
def test_masking_twice_is_masking_once(pieces: list[str]) -> None:
    """In a masked text nothing is left to find, however secrets and junk run into each other."""
    masked = redacted("".join(pieces), "mask")
    assert findings(masked, FINDERS) == []
    assert redacted(masked, "mask") == redacted(masked, "refuse") == masked


@given(st.lists(_PLANTED | _JUNK, max_size=8))
def test_no_secret_survives_masking(pieces: list[str]) -> None:
    """A secret that stands apart is gone from the masked text, whatever stands around it."""
    masked = redacted(" ".join(pieces), "mask")
    assert not [secret for secret, _ in SECRETS if secret in pieces and secret in masked]
