"""What the platform says, in the visitor's language: reasons, errors, findings, codes.

Domains speak and store finished English sentences; the API hands them out as they are. The dashboard translates at
the moment of showing, sentences of years ago included: `locale/<language>/phrases/*.po` holds each sentence as a
template with named parameters, `there is no job %(job_id)s`, and a stored sentence is matched against them. A sentence
may be made of several: "reason; what follows", "Detail. Hint.", "file.csv, line 3: message". What nobody knows (words
of a provider, of a user's own code) is shown as it is. `tests/architecture/test_phrases.py` proves that none of ours
is missing.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

from babel.messages.pofile import read_po

from frontend.i18n import FOLDER, read_catalogue

SAYING = frozenset(
    {
        "approval_status",
        "before",
        "count",
        "detail",
        "disabled_reason",
        "error",
        "kind",
        "listed",
        "loss_reason",
        "metric",
        "named",
        "objections",
        "outcome",
        "reason",
        "status",
        "status_reason",
        "there",
        "unit",
        "what",
        "whose",
        "why",
    }
)
"""Parameters that hold words of the platform again; every other is shown as it is."""
FULL_STOP = "\N{IDEOGRAPHIC FULL STOP}"
_PARAMETER = re.compile(r"%\((\w+)\)s")
_PLACE = re.compile(r"(?:, )?(line|column) ([^,:]+)")
_MAX_CHARACTERS = 2000
_EFFORT = 120
_DEPTH = 8


@dataclass(frozen=True, kw_only=True)
class Template:
    """A sentence with parameters: how it is recognized, and how it is said."""

    texts: tuple[str, ...]
    """What stands before, between and after the parameters."""
    names: tuple[str, ...]
    translation: str

    @classmethod
    def of(cls, message: str, translation: str) -> "Template":
        """From a message and its translation, both with `%(name)s`."""
        parts = _PARAMETER.split(message)
        texts = tuple(text.replace("%%", "%") for text in parts[::2])
        return cls(texts=texts, names=tuple(parts[1::2]), translation=translation)

    @property
    def literal(self) -> int:
        """How many characters are its own: of two templates that fit, the one that says more is meant."""
        return sum(len(text) for text in self.texts)

    def values(self, text: str) -> dict[str, str] | None:
        """The parameters if the text is this sentence; each as short as it can be. Linear in the text's length."""
        if not text.startswith(self.texts[0]) or not text.endswith(self.texts[-1]):
            return None
        found, at, end = [], len(self.texts[0]), len(text) - len(self.texts[-1])
        for between in self.texts[1:-1]:
            next_at = text.find(between, at + 1, end)
            if next_at < 0:
                return None
            found.append(text[at:next_at])
            at = next_at + len(between)
        if at >= end:
            return None
        named = dict(zip(self.names, [*found, text[at:end]], strict=True))
        return None if not named.get("number", "0").isdecimal() else named


@dataclass
class Effort:
    """How many more lookups one text is worth: a text may be made to have very many parts."""

    left: int = _EFFORT
    deep: int = 0

    def spend(self) -> bool:
        """One more lookup, if there are any left."""
        self.left -= 1
        return self.left >= 0


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
        self._translated = lru_cache(maxsize=4096)(self._translate_anew)

    def say(self, text: str | None) -> str:
        """The text in this language, as far as it is known; unchanged where it is not, empty for none."""
        if not text or len(text) > _MAX_CHARACTERS:
            return text or ""
        return self._translated(text) or text

    def _translate_anew(self, text: str) -> str | None:
        return self._translate(text, Effort())

    def _translate(self, text: str, effort: Effort) -> str | None:
        if effort.deep == _DEPTH:
            return self._exact.get(text)
        effort.deep += 1
        found = (
            self._exact.get(text)
            or self._sentences(text, effort)
            or self._one(text, effort)
            or self._parts(text, effort)
        )
        effort.deep -= 1
        return found

    def _sentences(self, text: str, effort: Effort) -> str | None:
        """Two sentences or more: tried before one template, whose last parameter would take the second for its own."""
        for head, tail in _cuts(text, ". ", effort):
            first = self._one(f"{head}.", effort)
            if first is not None and (second := self._translate(tail, effort)) is not None:
                return first + second
        return None

    def _one(self, text: str, effort: Effort) -> str | None:
        """One phrase; as a sentence (capital, full stop) too where it is known as a fact without them."""
        if (found := self._known(text, effort)) is not None:
            return found
        bare = text[:1].lower() + text[1:].removesuffix(".")
        if bare != text and (found := self._known(bare, effort)) is not None:
            return found + (FULL_STOP if text.endswith(".") else "")
        return None

    def _known(self, text: str, effort: Effort) -> str | None:
        if (found := self._exact.get(text)) is not None:
            return found
        if not effort.spend():
            return None
        for template in self._templates:
            if (values := template.values(text)) is not None:
                return template.translation % {name: self._value(name, one, effort) for name, one in values.items()}
        return None

    def _value(self, name: str, value: str, effort: Effort) -> str:
        if name.rstrip("23456789") not in SAYING:
            return value
        return (self._translate(value, effort) or value).removesuffix(FULL_STOP)

    def _parts(self, text: str, effort: Effort) -> str | None:
        """Facts with something between them, of which one at least is known; a list only where each is known."""
        for sign, between in (("; ", "\N{FULLWIDTH SEMICOLON}"), (". ", ""), (", ", "\N{IDEOGRAPHIC COMMA}")):
            for head, tail in _cuts(text, sign, effort):
                first = self._one(head if between else f"{head}.", effort)
                second = self._translate(tail, effort)
                if (first and second) or ((first or second) and sign != ", "):
                    return f"{first or head}{between or (' ' if first is None else '')}{second or tail}"
        for head, tail in _cuts(text, ": ", effort):
            if (second := self._translate(tail, effort)) is not None:
                return f"{_PLACE.sub(_place, head)}\N{FULLWIDTH COLON}{second}"
        return None


def _cuts(text: str, sign: str, effort: Effort) -> Iterator[tuple[str, str]]:
    """What stands before and after the sign, for each place where it stands, as long as that is worth it."""
    at = text.find(sign)
    while at > 0 and effort.left > 0:
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
    if language == "en":
        return English()
    of_pages = {
        str(one.id): str(one.string)
        for one in read_catalogue(language)
        if isinstance(one.id, str) and " " in one.id and one.string and not one.python_format
    }
    return Phrasebook(of_pages | read_phrases(language))
