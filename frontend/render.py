"""Renders a page, or one named block of it, in the visitor's language."""

import json
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2_fragments import render_block
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from frontend import flash, i18n, phrases, security
from frontend.format import Formatter

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"
FILTERS = (
    "duration",
    "exact_seconds",
    "bytes",
    "money",
    "exact_money",
    "percent",
    "exact_percent",
    "milliseconds",
    "number",
    "whole",
    "rate",
    "relative",
    "exact_time",
    "clock",
    "plain",
)


class BundleMissingError(RuntimeError):
    """The front-end bundle was not built."""


def load_manifest(folder: Path = STATIC) -> dict[str, str]:
    """Plain asset name → hashed file name; raises BundleMissingError where nothing was built."""
    try:
        loaded: dict[str, str] = json.loads((folder / "manifest.json").read_text())
    except FileNotFoundError:
        raise BundleMissingError(
            "The dashboard's scripts and styles are not built. Run: npm --prefix frontend/assets ci && "
            "npm --prefix frontend/assets run build"
        ) from None
    return loaded


class Renderer:
    """Templates in every language. `secret` signs CSRF tokens."""

    def __init__(self, secret: bytes, manifest: Mapping[str, str]) -> None:
        self.secret = secret
        self._manifest = dict(manifest)

    @cached_property
    def environments(self) -> dict[str, Environment]:
        """One environment per language, all over the same templates."""
        return {language: self._environment(language) for language in i18n.LANGUAGES}

    def _environment(self, language: str) -> Environment:
        environment = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.i18n"],
        )
        environment.policies["ext.i18n.trimmed"] = True
        environment.install_gettext_translations(  # type: ignore[attr-defined] # added by the i18n extension
            i18n.translations(language), newstyle=True
        )
        formatter = Formatter(i18n.locale_of(language))
        for name in FILTERS:
            environment.filters[name] = getattr(formatter, name)
        book = phrases.phrasebook(language)
        environment.filters.update(said=book.say, sentence=partial(phrases.sentence, book))
        environment.globals.update(
            asset=self.asset,
            module=self.module,
            language=language,
            languages=i18n.LANGUAGES,
            html_language=language.replace("_", "-"),
        )
        return environment

    def asset(self, name: str) -> str:
        """The address of a bundled file."""
        return f"/static/{self._manifest[name]}"

    def module(self, name: str) -> Markup:
        """The tags of a script that draws: what it imports is asked for at once, not after it was read."""
        imports = self._manifest.get(f"{name}:imports", "").split()
        preloads = [Markup('<link rel="modulepreload" href="/static/{}">').format(each) for each in imports]
        return Markup("").join([*preloads, Markup('<script type="module" src="{}"></script>').format(self.asset(name))])

    def language(self, request: Request) -> str:
        """The language of a request."""
        return i18n.choose(request.cookies.get(i18n.LANGUAGE_COOKIE), request.headers.get("Accept-Language"))

    def text(self, request: Request, message: str) -> str:
        """One message in the language of a request; `message` must stand in a template too."""
        return i18n.translations(self.language(request)).gettext(message)

    def say(self, request: Request, message: str, /, **values: str | int) -> str:
        """A sentence of the code in the language of a request: `say(request, "%(name)s was deleted.", name=…)`."""
        return self.text(request, message) % values

    def saying(self, request: Request) -> Callable[[str | None], str]:
        """What translates the platform's own words into the language of a request."""
        return phrases.phrasebook(self.language(request)).say

    def sentence(self, request: Request, fact: str) -> str:
        """A fact of the platform (an error's detail, a reason) as a sentence in the language of a request."""
        return phrases.sentence(phrases.phrasebook(self.language(request)), fact)

    def render(self, request: Request, template: str, context: Mapping[str, Any], *, block: str | None = None) -> str:
        """HTML of a template, or of one block of it."""
        environment = self.environments[self.language(request)]
        every = {
            "request": request,
            "csrf_token": security.csrf_token(request, self.secret),
            "said": "" if block else flash.told(request),
            **context,
        }
        if block is None:
            return environment.get_template(template).render(every)
        return render_block(environment, template, block, every)

    def respond(
        self,
        request: Request,
        template: str,
        context: Mapping[str, Any],
        *,
        block: str | None = None,
        status_code: int = 200,
    ) -> HTMLResponse:
        """An answer with that HTML."""
        html = self.render(request, template, context, block=block)
        response = HTMLResponse(html, status_code=status_code, headers={"Vary": "HX-Request, Cookie"})
        security.keep_visitor(request, response)
        if block is None and "HX-Request" not in request.headers:
            flash.forget(request, response)
        return response
