"""Where imports read from: an https address, or an object of a store that speaks S3. Pure but for `opened`.

Requests to S3 are signed with AWS Signature Version 4
(https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html); without credentials they are not.
"""

import hashlib
import hmac
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from urllib.parse import quote, unquote, urlsplit

import msgspec

from backend.core import outside

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
DEFAULT_REGION = "us-east-1"


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Everything it takes to read a source; kept encrypted."""

    source: str
    endpoint_url: str | None = None
    region: str | None = None
    authorization: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None
    session_token: str | None = None

    @property
    def is_s3(self) -> bool:
        """Whether it is an object of a bucket."""
        return self.source.startswith("s3://")


def address(access: Access) -> str:
    """The address to ask. Raises AddressRefused."""
    if not access.is_s3:
        return access.source
    bucket, _, key = access.source.removeprefix("s3://").partition("/")
    if not bucket or not key or not bucket.replace("-", "").replace(".", "").replace("_", "").isalnum():
        raise outside.AddressRefused("an object is written s3://bucket/key")
    region = access.region or DEFAULT_REGION
    base = access.endpoint_url or f"https://s3.{region}.amazonaws.com"
    return f"{base.rstrip('/')}/{bucket}/{quote(key, safe='/~')}"


def check(access: Access, allowed_hosts: Collection[str]) -> None:
    """Whether it may be read, as far as its text says. Raises AddressRefused."""
    outside.check_url(address(access), allowed_hosts)


def shown(access: Access) -> str:
    """The source as everybody may see it: a query may be a credential."""
    return access.source if access.is_s3 else urlsplit(access.source)._replace(query="", fragment="").geturl()


def name_of(access: Access) -> str:
    """The last part of its path, which may be empty."""
    path = access.source if access.is_s3 else unquote(urlsplit(access.source).path)
    return path.rpartition("/")[2]


def opened(
    access: Access,
    *,
    offset: int,
    entity_tag: str | None,
    allowed_hosts: Collection[str],
    timeout_seconds: float,
) -> AbstractContextManager[outside.Answer]:
    """The source from `offset` bytes on, if it is still what `entity_tag` says. Raises AddressRefused, NotReached."""
    url = address(access)
    headers = {"User-Agent": "modelyard-import", "Accept": "*/*", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    if access.is_s3:
        headers |= signed(
            url, access, extra={key: headers[key] for key in ("Range",) if key in headers}, now=datetime.now(UTC)
        )
    else:
        if offset and entity_tag:
            headers["If-Range"] = entity_tag
        if access.authorization:
            headers["Authorization"] = access.authorization
    return outside.get(url, headers=headers, allowed_hosts=allowed_hosts, timeout_seconds=timeout_seconds)


def signed(url: str, access: Access, *, extra: Mapping[str, str], now: datetime) -> dict[str, str]:
    """Headers that sign a GET of an object; none without credentials. `extra`: other headers to sign."""
    if access.access_key_id is None or access.secret_access_key is None:
        return {}
    parts = urlsplit(url)
    moment, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    added = {"x-amz-content-sha256": EMPTY_SHA256, "x-amz-date": moment}
    if access.session_token:
        added["x-amz-security-token"] = access.session_token
    all_of_them = {"host": parts.netloc, **{name.lower(): value.strip() for name, value in extra.items()}, **added}
    names = ";".join(sorted(all_of_them))
    canonical = "\n".join([
        "GET",
        parts.path,
        parts.query,
        *(f"{name}:{all_of_them[name]}" for name in sorted(all_of_them)),
        "",
        names,
        EMPTY_SHA256,
    ])  # fmt: skip
    scope = f"{day}/{access.region or DEFAULT_REGION}/s3/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{access.secret_access_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    credential = f"Credential={access.access_key_id}/{scope}"
    added["Authorization"] = f"AWS4-HMAC-SHA256 {credential},SignedHeaders={names},Signature={signature}"
    return added
