"""Secrets and personal data cut out of a text before it is stored.

What a secret looks like is the knowledge of three libraries: detect-secrets for keys, pydantic-extra-types for payment
cards, email-validator for addresses. The patterns here only cut candidates out of the text. Knows no journal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
from detect_secrets.plugins.base import RegexBasedDetector
from detect_secrets.plugins.basic_auth import BasicAuthDetector
from detect_secrets.plugins.discord import DiscordBotTokenDetector
from detect_secrets.plugins.github_token import GitHubTokenDetector
from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
from detect_secrets.plugins.jwt import JwtTokenDetector
from detect_secrets.plugins.mailchimp import MailchimpDetector
from detect_secrets.plugins.npm import NpmDetector
from detect_secrets.plugins.openai import OpenAIDetector
from detect_secrets.plugins.private_key import PrivateKeyDetector
from detect_secrets.plugins.pypi_token import PypiTokenDetector
from detect_secrets.plugins.sendgrid import SendGridDetector
from detect_secrets.plugins.slack import SlackDetector
from detect_secrets.plugins.square_oauth import SquareOAuthDetector
from detect_secrets.plugins.stripe import StripeDetector
from detect_secrets.plugins.telegram_token import TelegramBotTokenDetector
from detect_secrets.plugins.twilio import TwilioKeyDetector
from email_validator import EmailNotValidError, validate_email
from pydantic_extra_types.payment import PaymentCardBrand, PaymentCardNumber

from bakemem.errors import ConfigError, InputError

Mode = Literal["off", "mask", "refuse"]
MAX_PASSES = 8

# Left out: entropy, keyword and IP detectors, which fire on ordinary text; Artifactory, which takes APERIODICITY for a
# password; the IBM ones, whose patterns grow with the cube of a run of spaces.
_DETECTORS: tuple[tuple[str, RegexBasedDetector], ...] = (
    ("password", BasicAuthDetector()),
    *(
        ("key", detector())
        for detector in (
            AWSKeyDetector, AzureStorageKeyDetector, DiscordBotTokenDetector, GitHubTokenDetector, GitLabTokenDetector,
            MailchimpDetector, PypiTokenDetector, SendGridDetector, SlackDetector, SquareOAuthDetector, StripeDetector,
            TelegramBotTokenDetector, TwilioKeyDetector,
        )
    ),
)  # fmt: skip
# These patterns begin with a literal and go on without a limit, so a plain search is quadratic. What does not match at
# the first literal of a run of their characters matches at no later one of that run: it can be skipped.
_UNLIMITED: tuple[tuple[str, RegexBasedDetector, str, re.Pattern[str]], ...] = (
    ("token", JwtTokenDetector(), "eyJ", re.compile(r"[A-Za-z0-9_=-]*")),
    ("key", OpenAIDetector(), "sk-", re.compile(r"[A-Za-z0-9_-]*")),
    ("key", NpmDetector(), "//", re.compile(r".*")),
)
_KEY_TAIL = re.compile(r"[A-Za-z0-9_+/=-]*")
_DASHES = re.compile(r"-+ ?\Z")
_BLOCK_END = re.compile(r"-----END [A-Z0-9 ]+-----|---- END [A-Z0-9 ]+ ----|Private-MAC: [0-9a-f]+")
# Not the tail of a word or of a decimal; the dashes are the plain, the unbreakable and the long one.
_DIGIT_GROUPS = re.compile(
    r"(?<![A-Za-z0-9_])(?<![0-9][.,])[0-9]{3,19}(?:[ \u00a0\u202f\u2011\u2013-]{1,3}[0-9]{3,19})*(?![A-Za-z0-9_])"
)
# With other signs between them the groups must be those that stand on a card, else they are versions and measures.
_CARD_GROUPS = re.compile(
    r"(?<![A-Za-z0-9_])[0-9]{4}([._/:,*|\u00b7\u2022])(?:[0-9]{4}\1[0-9]{4}\1[0-9]{4}|[0-9]{6}\1[0-9]{5})(?![A-Za-z0-9_])"
)
_GROUP = re.compile(r"[0-9]+")
_LOCAL_PART = re.compile(r"\w[\w+'-]*(?:\.[\w+'-]+)*\Z")
_DOMAIN = re.compile(r"(?:[\w-]+\.)+[^\W\d_]{2,}")


@dataclass(frozen=True, slots=True)
class Finding:
    """Where something that must not be stored stands in a text, as `text[start:end]`, and what kind of thing it is."""

    kind: str
    start: int
    end: int


Finder = Callable[[str], Iterable[Finding]]
"""Finds secrets in a text; may yield them in any order and overlapping, but must not find its own mask, `[kind]`."""


def redacted(text: str, mode: Mode, finders: Iterable[Finder] | None = None) -> str:
    """The text as it may be stored: as it is ("off"), or with `[kind]` in the place of each finding ("mask").

    Without `finders`, those of `FINDERS` are asked. Raises InputError when the mode is "refuse" and something is found,
    naming the kinds but never the secret, and ConfigError for another mode.
    """
    if mode not in get_args(Mode):
        raise ConfigError(f"{mode!r} is no redaction mode: use one of {', '.join(get_args(Mode))}.")
    if mode == "off":
        return text
    asked = FINDERS if finders is None else tuple(finders)
    # Masking can lay bare another secret beside the first, so it goes on until nothing is found.
    for _ in range(MAX_PASSES):
        found = findings(text, asked)
        if not found:
            return text
        if mode == "refuse":
            kinds = ", ".join(sorted({finding.kind for finding in found}))
            raise InputError(
                f"The text holds what must not be stored ({kinds}): take it out and try again, or set redaction to "
                "mask, which stores the text without it."
            )
        text = _masked(text, found)
    raise InputError(f"Something was still found after {MAX_PASSES} maskings: a finder must not find its own masks.")


def findings(text: str, finders: Iterable[Finder]) -> list[Finding]:
    """What the finders find, in the order of the text; overlapping findings become one, of the kind that began it."""
    merged: list[Finding] = []
    # A stable sort: of two that begin together, the kind of the earlier finder is kept.
    for new in sorted((f for finder in finders for f in finder(text)), key=lambda finding: finding.start):
        if merged and new.start < merged[-1].end:
            last = merged[-1]
            merged[-1] = Finding(last.kind, last.start, max(last.end, new.end))
        else:
            merged.append(new)
    return merged


def find_secrets(text: str) -> Iterator[Finding]:
    """API keys, tokens, private keys, and passwords in URLs."""
    yield from _private_keys(text)
    for kind, detector in _DETECTORS:
        for pattern in detector.denylist:
            match = pattern.search(text)
            while match:
                found = _secret(kind, match)
                yield found
                # On from the end of the whole key: from that of the match, a run of keys would take quadratic time.
                match = pattern.search(text, found.end)
    for kind, detector, literal, run in _UNLIMITED:
        for pattern in detector.denylist:
            at = text.find(literal)
            while at >= 0:
                match = pattern.match(text, at)
                if match and (not isinstance(detector, JwtTokenDetector) or _is_jwt(match.group())):
                    found = _secret(kind, match)
                    yield found
                    at = text.find(literal, found.end)
                else:
                    at = text.find(literal, max(_end(run, text, at), at + 1))


def find_cards(text: str) -> Iterator[Finding]:
    """Payment card numbers of a known brand, with the right length and Luhn digit, in one piece or in groups."""
    for run in _DIGIT_GROUPS.finditer(text):
        groups = [group.span() for group in _GROUP.finditer(text, *run.span())]
        first = 0
        while first < len(groups):
            number, last = "", None
            for index in range(first, len(groups)):
                number += text[slice(*groups[index])]
                if len(number) > PaymentCardNumber.max_length:
                    break
                if len(number) >= PaymentCardNumber.min_length and _is_card(number):
                    last = index
            if last is not None:
                yield Finding("card", groups[first][0], groups[last][1])
            first = first + 1 if last is None else last + 1
    for run in _CARD_GROUPS.finditer(text):
        if _is_card("".join(_GROUP.findall(run.group()))):
            yield Finding("card", *run.span())


def find_emails(text: str) -> Iterator[Finding]:
    """E-mail addresses that could be delivered; `git@` is left alone, as it names a server and no person."""
    at = text.find("@")
    while at >= 0:
        local = _LOCAL_PART.search(text[max(0, at - 64) : at])
        domain = _DOMAIN.match(text, at + 1, at + 256)
        if local and domain and local.group() != "git" and _is_email(f"{local.group()}@{domain.group()}"):
            yield Finding("email", at - len(local.group()), domain.end())
        at = text.find("@", at + 1)


FINDERS: tuple[Finder, ...] = (find_secrets, find_cards, find_emails)


def _masked(text: str, found: list[Finding]) -> str:
    pieces, at = [], 0
    for finding in found:
        pieces += [text[at : finding.start], f"[{finding.kind}]"]
        at = finding.end
    return "".join([*pieces, text[at:]])


def _secret(kind: str, match: re.Match[str]) -> Finding:
    """The whole key: a group of a pattern holds the secret or only its prefix, and a length may be that of old keys."""
    start, end = match.span(1 if match.re.groups else 0)
    return Finding(kind, start, _end(_KEY_TAIL, match.string, end))


def _end(run: re.Pattern[str], text: str, start: int) -> int:
    match = run.match(text, start)
    return match.end() if match else start


def _private_keys(text: str) -> Iterator[Finding]:
    """Whole key blocks; one without an end reaches to the end of the text, as it may have been cut off."""
    for pattern in PrivateKeyDetector().denylist:
        match = pattern.search(text)
        while match:
            start, end = match.span()
            dashes = _DASHES.search(text[max(0, start - 6) : start])
            # Without dashes or a colon it is a sentence that mentions the words.
            if dashes or text.startswith("PuTTY-User-Key-File-2:", start):
                close = _BLOCK_END.search(text, start)
                start, end = start - len(dashes.group()) if dashes else start, close.end() if close else len(text)
                yield Finding("private-key", start, end)
            match = pattern.search(text, end)


def _is_jwt(token: str) -> bool:
    try:
        return JwtTokenDetector.is_formally_valid(token)
    except RecursionError:  # JSON nested deeper than Python can read: take it for what it looks like
        return True


def _is_card(number: str) -> bool:
    try:
        return PaymentCardNumber(number).brand != PaymentCardBrand.other
    except ValueError:
        return False


def _is_email(address: str) -> bool:
    try:
        validate_email(address, check_deliverability=False)
    except EmailNotValidError:
        return False
    return True
