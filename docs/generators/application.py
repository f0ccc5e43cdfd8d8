"""The API as the generators see it: composed as in production, connected to nothing."""

import importlib
from functools import cache

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import SecretStr

from backend.app import ROUTERS, create_app
from backend.core import openapi
from backend.core.problems import CODES
from backend.core.settings import DatabaseSettings, SecuritySettings, Settings


@cache
def application() -> FastAPI:
    """The whole application. Its database address leads nowhere, and nothing connects."""
    settings = Settings(
        database=DatabaseSettings(app_url=SecretStr("postgresql+psycopg://nobody@/nowhere")),
        security=SecuritySettings(master_key=SecretStr("A" * 43 + "=")),
    )
    return create_app(settings)


@cache
def routes() -> dict[tuple[str, str], APIRoute]:
    """(method, path) → route, of every route that the OpenAPI document shows."""
    found: dict[tuple[str, str], APIRoute] = {}
    for name in ROUTERS:
        for route in importlib.import_module(name).router.routes:
            if isinstance(route, APIRoute) and route.include_in_schema:
                found.update({(method, route.path): route for method in route.methods or ()})
    return found


def permission_of(route: APIRoute) -> str:
    """The permission that a route's dependencies demand: a name, `any credential`, or `none`."""
    needed = openapi.permission_of(route)
    return {None: "none", "any": "any credential"}.get(needed, str(needed))


def errors_of(route: APIRoute) -> set[tuple[int, str, str]]:
    """(status, code, title) of every error that a route declares; the error catalogue holds it to that."""
    codes = {(status, code) for status, each in openapi.declared(route).items() for code in each[CODES]}
    titles = {error.code: error.title for error in openapi.all_errors()}
    return {(status, code, titles[code]) for status, code in codes}
