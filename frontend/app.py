"""The dashboard as an application of its own, mounted beside the API.

`install(app)` comes last in the composition root: the dashboard owns every path that is not a
machine's. Errors become pages, toasts (htmx) or problem documents (RFC 9457),
by what the caller accepts.
"""

from http import HTTPStatus
from mimetypes import guess_type
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Match, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from backend.core.errors import DomainError
from backend.core.settings import Settings
from frontend import security
from frontend.backstage import Backstage
from frontend.pages import (
    admin,
    admin_acts,
    admin_prices,
    auth,
    budgets,
    compare,
    compress,
    costs,
    data,
    endpointchanges,
    endpointnew,
    endpoints,
    freeze,
    imports,
    jobs,
    keys,
    launch,
    lineage,
    members,
    models,
    modelversions,
    playground,
    projects,
    settings,
    start,
    uploads,
    versions,
    webhooks,
)
from frontend.pages.common import NotLoggedInError, framed
from frontend.render import STATIC, BundleMissingError, Renderer, load_manifest
from frontend.services import Services
from frontend.views import Platform

log = structlog.get_logger(__name__)
DEFAULT_COOKIES = security.CookiePolicy()
ROOMS = (
    auth.router,
    admin.router,
    admin_acts.router,
    admin_prices.router,
    compare.router,  # its addresses, and those of launch, are none of a job: they come before jobs
    launch.router,
    budgets.router,
    compress.router,
    costs.router,
    endpointnew.router,  # before `endpoints`: `new` is no endpoint's id
    endpointchanges.router,
    endpoints.router,
    playground.router,
    jobs.router,
    keys.router,
    lineage.router,
    members.router,
    models.router,
    modelversions.router,
    settings.router,
    versions.router,  # before `data`, whose datasets are named in the same place of an address
    data.router,
    uploads.router,
    freeze.router,
    imports.router,
    projects.router,
    start.router,
    webhooks.router,
)


class PagesMount(Mount):
    """Everything but the machines' paths, whose unknown addresses and wrong methods keep their own errors."""

    machines = ("/api", "/agent", "/gateway", "/health", "/metrics")

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """No match for a machine's path."""
        first = "/" + scope["path"].lstrip("/").partition("/")[0]
        return (Match.NONE, {}) if first in self.machines else super().matches(scope)


class HashedFiles(StaticFiles):
    """Files whose names change with their content: cached for ever."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file with far-future caching; errors keep their own headers."""
        response = await self._gzipped(path, scope) or await super().get_response(path, scope)
        if response.status_code in {HTTPStatus.OK, HTTPStatus.NOT_MODIFIED} and path != "manifest.json":
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response

    async def _gzipped(self, path: str, scope: Scope) -> Response | None:
        """The compressed copy that the build left beside a file, for those who take it."""
        if "gzip" not in Headers(scope=scope).get("accept-encoding", "") or not self.lookup_path(f"{path}.gz")[1]:
            return None
        response = await super().get_response(f"{path}.gz", scope)
        kind, _ = guess_type(path)
        response.headers["Content-Type"] = kind or "application/octet-stream"
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
        return response


def create_dashboard(
    platform: Platform,
    *,
    secret: bytes,
    backstage: Backstage | None = None,
    cookies: security.CookiePolicy = DEFAULT_COOKIES,
    static: Path = STATIC,
) -> FastAPI:
    """The dashboard. `secret` (≥ 32 random bytes, the same in every process) signs CSRF tokens.

    Without `backstage` only log-in and jobs work: a gallery of templates.
    """
    dashboard = FastAPI(title="Modelyard dashboard", docs_url=None, redoc_url=None, openapi_url=None)
    dashboard.state.platform = platform
    dashboard.state.backstage = backstage
    dashboard.state.cookies = cookies
    dashboard.state.renderer = Renderer(secret, load_manifest(static))
    dashboard.add_middleware(security.SecurityHeaders)
    dashboard.mount("/static", HashedFiles(directory=static))
    for room in ROOMS:
        dashboard.include_router(room)
    dashboard.add_exception_handler(NotLoggedInError, _to_login)
    dashboard.add_exception_handler(DomainError, _domain_error)
    dashboard.add_exception_handler(HTTPException, _http_error)
    for kind in (RequestValidationError, DataError, UnicodeEncodeError):  # the latter two: the database cannot hold it
        dashboard.add_exception_handler(kind, _invalid_request)
    dashboard.add_exception_handler(Exception, _unexpected)
    return dashboard


def mount(
    app: FastAPI,
    platform: Platform,
    *,
    secret: bytes,
    backstage: Backstage | None = None,
    cookies: security.CookiePolicy = DEFAULT_COOKIES,
    static: Path = STATIC,
) -> None:
    """Mount the dashboard at the root of `app`, for every path that is not the machines'."""
    dashboard = create_dashboard(platform, secret=secret, backstage=backstage, cookies=cookies, static=static)
    app.router.routes.append(PagesMount("/", dashboard, name="dashboard"))


def install(app: FastAPI, *, static: Path = STATIC) -> None:
    """Mount the dashboard on the API's application, from what `backend.app` put on `app.state`.

    Needs `settings`, `database`, `operator_database`, `storage`, `security` and `csrf_secret` there, and puts `assets`
    beside them: hashed names by plain ones. Where the scripts and styles were not built, every page answers 503 with
    the command that builds them, and the API works on.
    """
    settings: Settings = app.state.settings
    cookies = security.CookiePolicy(
        session_seconds=settings.security.session_hours * 3600, secure=settings.security.secure_cookies
    )
    state = app.state
    services = Services(state.database, state.storage, state.security)
    backstage = Backstage(state.database, state.storage, state.security, settings, state.operator_database)
    state.assets = {}
    try:
        mount(app, services, secret=state.csrf_secret, backstage=backstage, cookies=cookies, static=static)
        state.assets = load_manifest(static)
    except BundleMissingError as missing:
        log.warning("dashboard_not_built", hint=str(missing))
        text = PlainTextResponse(str(missing), HTTPStatus.SERVICE_UNAVAILABLE)
        app.router.routes.append(PagesMount("/", text, name="dashboard"))


def _to_login(request: Request, _error: Exception) -> Response:
    if "HX-Request" in request.headers or "text/html" not in request.headers.get("Accept", ""):
        return _answer(request, HTTPStatus.UNAUTHORIZED, "not_logged_in", "Log in to go on.")
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/login?next={quote(target)}", HTTPStatus.SEE_OTHER)


def _domain_error(request: Request, error: Exception) -> Response:
    status = getattr(error, "status", HTTPStatus.BAD_REQUEST)
    return _answer(request, status, getattr(error, "code", "error"), str(error))


def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR
    detail = str(error.detail) if isinstance(error, HTTPException) else ""
    if status == HTTPStatus.NOT_FOUND:
        detail = "There is nothing at this address, or it is not yours to see."
    return _answer(request, status, "http_error", detail)


def _invalid_request(request: Request, _error: Exception) -> Response:
    return _answer(
        request, HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", "This address or form has a wrong value."
    )


def _unexpected(request: Request, error: Exception) -> Response:
    log.error("page_failed", path=request.url.path, method=request.method, exc_info=error)
    response = _answer(
        request,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal_error",
        "Something failed on our side. It was recorded; try again.",
    )
    response.headers["Content-Security-Policy"] = security.CONTENT_SECURITY_POLICY
    return response


def _answer(request: Request, status: int, code: str, detail: str) -> Response:
    """An error as what the caller can show: a toast's text, a page, or a problem document."""
    renderer: Renderer = request.app.state.renderer
    title = HTTPStatus(status).phrase
    if "HX-Request" in request.headers:
        message = quote(renderer.sentence(request, detail))
        return Response(status_code=status, headers={"X-Error-Message": message})
    if "text/html" in request.headers.get("Accept", ""):
        context = {"status": status, "title": title, "detail": renderer.sentence(request, detail)}
        inside = _frame(request)
        template = "errors/error.html" if inside is None else "errors/inside.html"
        return renderer.respond(request, template, context | (inside or {}), status_code=status)
    problem = {"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail}
    return JSONResponse(problem, status_code=status, media_type="application/problem+json")


def _frame(request: Request) -> dict[str, Any] | None:
    """What the shell around an error needs; None for strangers, and where the platform cannot be asked."""
    token = request.cookies.get(security.SESSION_COOKIE)
    platform: Platform = request.app.state.platform
    try:
        viewer = platform.identify(token) if token else None
        if viewer is None:
            return None
        section = request.url.path.split("/")[1]
        console = section == "admin" and viewer.operator
        return framed(platform, viewer, section=section if section != "admin" or console else "", console=console)
    except Exception:  # an error page is never the reason for another
        log.exception("error_page_without_shell", path=request.url.path)
        return None
