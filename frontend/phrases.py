"""What the platform says, in the visitor's language: reasons, errors, findings, codes.

Domains speak and store finished English sentences; the API hands them out as they are. The dashboard translates at
the moment of showing, sentences of years ago included: `locale/<language>/phrases/*.po` holds each sentence as a
template with named parameters, `there is no job %(job_id)s`, and a stored sentence is matched against them. A sentence
may be made of several: "reason; what follows", "Detail. Hint.", "file.csv, line 3: message". What nobody knows (words of a
provider, of a user's own code) is shown as it is. `tests/architecture/test_phrases.py` proves that none is missing.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

from babel.messages.pofile import read_po

from frontend.i18n import FOLDER

SAYING = frozenset({
    "approval_status",
    "before",
    "count",
    "detail",
    "disabled_reason",
    "error",
    "kind",
    "listed",
    "loss_reason",
    "named",
    "objections",
    "outcome",
    "reason",
    "status",
    "status_reason",
    "there",
    "what",
    "whose",
    "why",
})
"""Parameters that hold words of the platform again; every other is shown as it is."""
FULL_STOP = "\N{IDEOGRAPHIC FULL STOP}"
_PARAMETER = re.compile(r"%\((\w+)\)s")
_PLACE = re.compile(r"(?:, )?(line|column) ([^,:]+)")
_MAX_CHARACTERS = 4000
_DEPTH = 5


@dataclass(frozen=True, kw_only=True)
class Template:
    """A sentence with parameters: how it is recognized, and how it is said."""

    pattern: re.Pattern[str]
    translation: str
    literal: int
    """How many characters are its own: of two templates that fit, the one that says more is meant."""

    @classmethod
    def of(cls, message: str, translation: str) -> "Template":
        """From a message and its translation, both with `%(name)s`."""
        parts = _PARAMETER.split(message)
        texts, names = parts[::2], parts[1::2]
        pattern = "".join(
            re.escape(text.replace("%%", "%")) + (f"(?P<{_group(name)}>.+?)" if name else "")
            for text, name in zip(texts, [*names, ""], strict=True)
        )
        return cls(
            pattern=re.compile(pattern, re.DOTALL),
            translation=translation,
            literal=sum(len(text) for text in texts),
        )


def _group(name: str) -> str:
    return f"p_{name}"


class Phrasebook:
    """All phrases of one language. `phrases`: English to translation, both with `%(name)s` and `%%`."""

    def __init__(self, phrases: Mapping[str, str]) -> None:
        self._exact = {
            message.replace("%%", "%"): translation.replace("%%", "%")
            for message, translation in phrases.items()
            if not _PARAMETER.search(message)
        }
        self._templates = sorted(
            (Template.of(*pair) for pair in phrases.items() if _PARAMETER.search(pair[0])),
            key=lambda one: -one.literal,
        )
        self._translated = lru_cache(maxsize=4096)(self._translate)

    def say(self, text: str | None) -> str:
        """The text in this language, as far as it is known; unchanged where it is not, empty for none."""
        if not text or len(text) > _MAX_CHARACTERS:
            return text or ""
        return self._translated(text, _DEPTH) or text

    def _translate(self, text: str, depth: int) -> str | None:
        if depth == 0:
            return None
        return (
            self._exact.get(text)
            or self._sentences(text, depth)
            or self._one(text, depth)
            or self._parts(text, depth)
        )

    def _sentences(self, text: str, depth: int) -> str | None:
        """Two whole sentences: tried before one template, whose last parameter would take the second one for its own."""
        for head, tail in _cuts(text, ". "):
            first = self._one(f"{head}.", depth - 1)
            if first is not None and (second := self._translate(tail, depth - 1)) is not None:
                return first + second
        return None

    def _one(self, text: str, depth: int) -> str | None:
        """One phrase; as a sentence (capital, full stop) too where it is known as a fact without them."""
        if (found := self._known(text, depth)) is not None:
            return found
        bare = text[:1].lower() + text[1:].removesuffix(".")
        if bare != text and (found := self._known(bare, depth)) is not None:
            return found + (FULL_STOP if text.endswith(".") else "")
        return None

    def _known(self, text: str, depth: int) -> str | None:
        if (found := self._exact.get(text)) is not None:
            return found
        for template in self._templates if depth > 0 else ():
            if (match := template.pattern.fullmatch(text)) is not None:
                values = {name.removeprefix("p_"): value for name, value in match.groupdict().items()}
                return template.translation % {name: self._value(name, value, depth) for name, value in values.items()}
        return None

    def _value(self, name: str, value: str, depth: int) -> str:
        if name.rstrip("23456789") not in SAYING:
            return value
        return (self._translate(value, depth - 1) or value).removesuffix(FULL_STOP)

    def _parts(self, text: str, depth: int) -> str | None:
        """Facts with something between them, of which one at least is known; a list only where each is known."""
        for sign, between in (("; ", "\N{FULLWIDTH SEMICOLON}"), (". ", ""), (", ", "\N{IDEOGRAPHIC COMMA}")):
            for head, tail in _cuts(text, sign):
                first = self._one(head if between else f"{head}.", depth - 1)
                second = self._translate(tail, depth - 1)
                if (first and second) or ((first or second) and sign != ", "):
                    return f"{first or head}{between or (' ' if first is None else '')}{second or tail}"
        for head, tail in _cuts(text, ": "):
            if (second := self._translate(tail, depth - 1)) is not None:
                return f"{_PLACE.sub(_place, head)}\N{FULLWIDTH COLON}{second}"
        return None


def _cuts(text: str, sign: str) -> Iterator[tuple[str, str]]:
    """What stands before and after the sign, for each place where it stands."""
    at = text.find(sign)
    while at > 0:
        yield text[:at], text[at + len(sign) :]
        at = text.find(sign, at + 1)


def _place(match: re.Match[str]) -> str:
    return f" 第 {match[2]} 行" if match[1] == "line" else f" 列 {match[2]}"


class English(Phrasebook):
    """The source: everything is said as it is."""

    def __init__(self) -> None:
        super().__init__({})

    def say(self, text: str | None) -> str:
        """The text itself."""
        return text or ""


def sentence(book: Phrasebook, text: str | None) -> str:
    """A fact as a sentence: with a capital and a full stop."""
    if not text:
        return ""
    said = book.say(text)
    if said == text:
        return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", "!", "?", FULL_STOP)) else ".")
    return said if said.endswith((FULL_STOP, ".")) else said + FULL_STOP


def read_phrases(language: str) -> dict[str, str]:
    """Every phrase of a language with its translation."""
    found: dict[str, str] = {}
    for source in sorted((FOLDER / language / "phrases").glob("*.po")):
        with source.open("rb") as file:
            found |= {str(one.id): str(one.string) for one in read_po(file, locale=language) if one.id and one.string}
    return found


@cache
def phrasebook(language: str) -> Phrasebook:
    """The phrases of one of `frontend.i18n.LANGUAGES`."""
    return English() if language == "en" else Phrasebook(read_phrases(language))
