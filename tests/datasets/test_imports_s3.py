"""Imports from a store that speaks S3: moto's server, which checks signatures as AWS does."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from backend.datasets import fetching
from tests.datasets.files import archive, digits
from tests.datasets.http_source import HOST
from tests.datasets.importer import Importer
from worker.context import ControlContext

boto3 = pytest.importorskip("boto3", reason="moto is not installed")
pytest.importorskip("moto", reason="moto is not installed")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # botocore's own, of datetime
]
BUCKET = "lake"
OPEN_ACTIONS = 5
"""What `store` does before moto begins to check who asks."""


class Killed(BaseException):
    """What a worker that is killed does not survive."""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def store() -> Iterator[dict[str, Any]]:
    """The server's address, and the credentials of a user who may read its bucket."""
    port = _free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)],
        env=os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": str(OPEN_ACTIONS)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port)
        yield _filled(f"http://{HOST}:{port}")
    finally:
        server.terminate()
        server.wait(10)


def _wait_for(port: int) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("moto's server did not come up")


def _filled(url: str) -> dict[str, Any]:
    root = {
        "endpoint_url": url,
        "region_name": "us-east-1",
        "aws_access_key_id": "root",
        "aws_secret_access_key": "root",
    }
    s3, iam = boto3.client("s3", **root), boto3.client("iam", **root)
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="raw/some digits.zip", Body=archive(digits()))
    iam.create_user(UserName="reader")
    allowed = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=policy)
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    credentials = {"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}
    return {"endpoint_url": url, "credentials": credentials}


@pytest.fixture
def importer(
    client: TestClient, dataset: dict[str, Any], context: ControlContext, monkeypatch: pytest.MonkeyPatch
) -> Importer:
    monkeypatch.setattr(fetching, "PART_BYTES", 1024)
    return Importer(client, dataset["id"], context)


def test_an_object_is_fetched_with_a_signature(importer: Importer, store: dict[str, Any]) -> None:
    row = importer.start(f"s3://{BUCKET}/raw/some digits.zip", **store)
    assert (row["source"], row["file_name"]) == (f"s3://{BUCKET}/raw/some digits.zip", "some digits.zip")
    done = importer.work(row)
    assert (done["status"], done["file_count"]) == ("completed", 30), done


def test_an_object_goes_on_where_it_was(importer: Importer, store: dict[str, Any]) -> None:
    row = importer.start(f"s3://{BUCKET}/raw/some digits.zip", **store)
    calls = 0
    kept = fetching._keep_part  # noqa: SLF001 - a crash between two parts

    def crash(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise Killed
        kept(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetching, "_keep_part", crash)
        with pytest.raises(Killed):
            importer.work(row)
    assert importer.read(row)["received_bytes"] == 2048
    importer.expire(row)
    assert importer.work(row)["status"] == "completed"


def test_an_absent_object_is_said(importer: Importer, store: dict[str, Any]) -> None:
    done = importer.work(importer.start(f"s3://{BUCKET}/raw/none.zip", **store))
    assert (done["status"], done["status_reason"]) == ("failed", "the source refused: it answered 404")


def test_a_wrong_secret_is_refused(importer: Importer, store: dict[str, Any]) -> None:
    wrong = store["credentials"] | {"secret_access_key": "wrong"}
    row = importer.start(f"s3://{BUCKET}/raw/some digits.zip", **store | {"credentials": wrong})
    done = importer.work(row)
    assert (done["status"], done["status_reason"]) == ("failed", "the source refused: it answered 403")
    assert "wrong" not in json.dumps(done)
