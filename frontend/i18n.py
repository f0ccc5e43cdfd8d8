"""Languages: which there are, which one a request gets, and their catalogues.

A language's catalogue is every `locale/<language>/LC_MESSAGES/*.po` together: `messages.po` for the frame, one file
per room of the dashboard beside it. They are compiled in memory when first used, so a catalogue in force is never
older than its source. A message stands in one file only; `tests/architecture/test_strings.py` names what is missing.
"""

from functools import cache
from io import BytesIO
from pathlib import Path

from babel import Locale, negotiate_locale
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

FOLDER = Path(__file__).parent / "locale"
LANGUAGES = {"en": "English", "zh_Hans_CN": "简体中文"}
LANGUAGE_COOKIE = "modelyard_language"
_ALIASES = {"zh": "zh_Hans_CN", "zh_cn": "zh_Hans_CN", "zh_hans": "zh_Hans_CN", "en": "en"}


@cache
def translations(language: str) -> NullTranslations:
    """The catalogue of one of `LANGUAGES`; English is the source and needs none."""
    if language == "en":
        return NullTranslations()
    catalogue = read_catalogue(language)
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return Translations(compiled)


def read_catalogue(language: str) -> Catalog:
    """All messages of a language."""
    every = Catalog(locale=language)
    for source in sorted((FOLDER / language / "LC_MESSAGES").glob("*.po")):
        with source.open("rb") as file:
            for message in read_po(file, locale=language):
                every[message.id or ""] = message
    return every


def choose(cookie: str | None, accept_language: str | None) -> str:
    """The language of a request: the chosen one, else the first the browser accepts, else English."""
    if cookie in LANGUAGES:
        return cookie
    wanted = [part.split(";")[0].strip().replace("-", "_") for part in (accept_language or "").split(",")]
    found = negotiate_locale([tag for tag in wanted if tag], list(LANGUAGES), aliases=_ALIASES)
    return found if found in LANGUAGES else "en"


def locale_of(language: str) -> Locale:
    """Babel's locale, which formats dates and numbers."""
    return Locale.parse(language)
