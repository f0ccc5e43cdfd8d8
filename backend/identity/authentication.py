"""Whose request is it? `Authorization: Bearer <API key>`, else the session cookie.

Cross-site request forgery: a cookie travels with requests that other sites start, a bearer key does not. So a
request with only the cookie may change something (any method but GET, HEAD, OPTIONS) if both hold:

- it carries an `X-Requested-With` header with any value (or `X-CSRF-Token`, which our pages send). Another site
  cannot set a header without asking first (CORS preflight), and no route here ever answers yes to that;
- where the browser says where it comes from, it is this site: `Sec-Fetch-Site` is same-origin or none, or, from
  browsers that do not send it, `Origin` names the host that was asked.

The cookie is SameSite=Lax as well. Dashboard forms, which can set no header, are checked by the dashboard's own
signed token before they reach any service.
"""

from urllib.parse import urlsplit

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.requests import Request

from backend.core.auth import Principal
from backend.core.crypto import hash_token
from backend.core.db import Database
from backend.core.errors import CrossSiteRequest, Unauthorized
from backend.identity.repository import CredentialRepository

log = structlog.get_logger(__name__)

SESSION_COOKIE = "modelyard_session"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_OWN_PAGE_HEADERS = ("X-Requested-With", "X-CSRF-Token")
_LONGEST_TOKEN = 512


class Authenticator:
    """`authenticate(request) → Principal`, for `app.state.authenticate`.

    With a session (no tenant yet) the credential is looked up there, and the session sees the tenant's rows from then
    on; without one, in a transaction of its own.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, request: Request, session: Session | None = None) -> Principal:
        """The principal. Raises Unauthorized (401), CrossSiteRequest (403)."""
        if session is not None:
            return self._identify(request, session)
        with self._database.unit_of_work() as own:
            principal = self._identify(request, own)
        self.note_use(request)
        return principal

    def note_use(self, request: Request) -> None:
        """Note the key's last use, at most once a minute: in a transaction of its own, whatever became of the request.

        To be called when the session is closed. A failure is logged: the request has been answered by then.
        """
        token_hash: bytes | None = getattr(request.state, "unnoted_key", None)
        if token_hash is None:
            return
        request.state.unnoted_key = None
        try:
            with self._database.unit_of_work() as session:
                CredentialRepository(session).touch_api_key(token_hash)
        except SQLAlchemyError as error:
            log.warning("key_use_not_noted", error=str(error)[:500])

    def _identify(self, request: Request, session: Session) -> Principal:
        token = bearer_token(request)
        if token is not None:
            principal, is_use_news = find_api_key(session, token)
            request.state.unnoted_key = hash_token(token) if is_use_news else None
            return principal
        cookie = request.cookies.get(SESSION_COOKIE)
        if not cookie:
            raise Unauthorized(
                "this needs an API key (Authorization: Bearer …) or a session", hint="create a key, or log in"
            )
        principal = authenticate_session(session, cookie)
        if request.method not in SAFE_METHODS:
            refuse_cross_site(request)
        return principal


def bearer_token(request: Request) -> str | None:
    """The token of the Authorization header; None without one. Raises Unauthorized for other schemes."""
    header = request.headers.get("Authorization")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > _LONGEST_TOKEN:
        raise Unauthorized("the Authorization header must be 'Bearer <API key>'")
    return token


def authenticate_api_key(session: Session, token: str) -> Principal:
    """Whose API key this is; `session` then sees its tenant. Raises Unauthorized."""
    return find_api_key(session, token)[0]


def find_api_key(session: Session, token: str) -> tuple[Principal, bool]:
    """Whose API key this is, and whether its last use was over a minute ago; `session` then sees its tenant.

    Raises Unauthorized.
    """
    found = CredentialRepository(session).api_key(hash_token(token))
    if found is None:
        raise Unauthorized("this API key is unknown, revoked or expired")
    principal = Principal(
        kind="api_key",
        id=found.key_id,
        name=found.name,
        organization_id=found.organization_id,
        account_id=found.account_id,
        role=found.role,
        scopes=frozenset(found.scopes),
    )
    return principal, found.is_use_news


def authenticate_session(session: Session, token: str) -> Principal:
    """Whose log-in this is; `session` then sees its tenant. Raises Unauthorized."""
    found = CredentialRepository(session).session(hash_token(token))
    if found is None:
        raise Unauthorized("this session is unknown or over", hint="log in again")
    return Principal(
        kind="user",
        id=found.user_id,
        name=found.full_name or found.email,
        organization_id=found.organization_id,
        account_id=found.account_id,
        role=found.role,
        operator=found.is_operator,
    )


def refuse_cross_site(request: Request, *, header_needed: bool = True) -> None:
    """Raise CrossSiteRequest unless our own page, or no browser, sent this. See the module's text."""
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None and site not in {"same-origin", "none"}:
        raise CrossSiteRequest("the browser says that another site started this request")
    if site is None and origin is not None and urlsplit(origin).netloc != request.headers.get("Host", ""):
        raise CrossSiteRequest("the Origin of this request is another site")
    if header_needed and not any(request.headers.get(name) for name in _OWN_PAGE_HEADERS):
        raise CrossSiteRequest(
            "a request with a session cookie that changes something needs an X-Requested-With header",
            hint="add 'X-Requested-With: fetch', or use an API key",
        )
