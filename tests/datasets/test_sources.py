"""Sources of imports: addresses of objects, names of files, and Signature Version 4 against AWS's own example."""

from datetime import UTC, datetime

import pytest

from backend.core.outside import AddressRefused
from backend.datasets.sources import Access, address, check, name_of, shown, signed

pytestmark = pytest.mark.unit


def test_the_signature_is_that_of_the_documentation() -> None:
    # https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, "Example: GET Object"
    access = Access(
        source="s3://examplebucket/test.txt",
        access_key_id="AKIAIOSFODNN7EXAMPLE",
        secret_access_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    )
    found = signed(
        "https://examplebucket.s3.amazonaws.com/test.txt",
        access,
        extra={"Range": "bytes=0-9"},
        now=datetime(2013, 5, 24, tzinfo=UTC),
    )
    assert found["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


def test_without_credentials_nothing_is_signed() -> None:
    assert signed("https://s3.amazonaws.com/a/b", Access(source="s3://a/b"), extra={}, now=datetime.now(UTC)) == {}


@pytest.mark.parametrize(
    ("access", "wanted"),
    [
        (Access(source="s3://bucket/a b/ü.csv"), "https://s3.us-east-1.amazonaws.com/bucket/a%20b/%C3%BC.csv"),
        (Access(source="s3://bucket/a.csv", region="eu-west-1"), "https://s3.eu-west-1.amazonaws.com/bucket/a.csv"),
        (Access(source="s3://b/k", endpoint_url="https://minio.example:9000/"), "https://minio.example:9000/b/k"),
    ],
)
def test_an_object_has_an_address(access: Access, wanted: str) -> None:
    assert address(access) == wanted


@pytest.mark.parametrize(
    "access",
    [
        Access(source="s3://bucket"),
        Access(source="s3:///key"),
        Access(source="s3://buc?ket/key"),
        Access(source="s3://bucket/key", endpoint_url="http://minio.example"),
        Access(source="s3://bucket/key", endpoint_url="https://10.0.0.1"),
        Access(source="s3://bucket/key", endpoint_url="https://user:word@minio.example"),
    ],
)
def test_what_is_no_object_or_no_store_is_refused(access: Access) -> None:
    with pytest.raises(AddressRefused):
        check(access, frozenset())


def test_a_query_is_not_shown() -> None:
    access = Access(source="https://example.org/data/digits%20small.zip?X-Amz-Signature=secret#part")
    assert shown(access) == "https://example.org/data/digits%20small.zip"
    assert name_of(access) == "digits small.zip"
    assert name_of(Access(source="s3://bucket/a/b.csv")) == "b.csv"
