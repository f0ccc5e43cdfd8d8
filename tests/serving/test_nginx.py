"""A real nginx before the gateway, with the configuration that the documentation shows: TLS, kept connections."""

import concurrent.futures
import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.serving.plane import ROOT, infer_body, until, usage
from tests.serving.raw import get
from tests.serving.test_proxies import EXPECTED, Two, handed

pytestmark = pytest.mark.integration
PAGE = ROOT / "docs" / "how-to" / "proxy.md"
FRAME = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
{load}
events {{ worker_connections 512; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  {http}
}}
"""


def shown(name: str) -> str:
    """The block of the documentation that begins with `# name`."""
    blocks = re.findall(r"```nginx\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(next(block for block in blocks if block.startswith(f"# {name}\n")))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Nginx:
    """An nginx of our own in a folder, with a certificate made for it."""

    def __init__(self, folder: Path, gateway_port: int) -> None:
        folder.mkdir()
        self.folder = folder
        self.port = free_port()
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"),
                *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
            ],
            check=True,
            capture_output=True,
        )
        text = shown("http").replace("127.0.0.1:8701", f"127.0.0.1:{gateway_port}")
        text = text.replace("listen 443", f"listen 127.0.0.1:{self.port}").replace("listen [::]:443 ssl;", "")
        text = re.sub(r"/etc/ssl/\S+\.(pem|key);", lambda found: str(folder / _file(found[0])) + ";", text)
        config = folder / "nginx.conf"
        config.write_text(FRAME.format(folder=folder, load="", http=text))
        self._process = subprocess.Popen(
            [shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(config), "-e", str(folder / "error.log")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._answers, 10)

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self.folder / "error.log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def connect(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self.folder / "cert.pem"))
        return http.client.HTTPSConnection("localhost", self.port, timeout=10, context=context)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)


def _file(shown_path: str) -> str:
    return "key.pem" if "key" in shown_path else "cert.pem"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    made = Two(tmp_path_factory.mktemp("two"))
    try:
        made.wait()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def nginx(two: Two, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    if shutil.which("nginx") is None and not Path("/usr/sbin/nginx").exists():
        pytest.skip("needs nginx (apt-get install nginx-light)")
    made = Nginx(tmp_path_factory.mktemp("nginx") / "n", two.port)
    try:
        yield made
    finally:
        made.close()


def ask(connection: http.client.HTTPSConnection, token: str, value: float, path: str = "digits") -> tuple[int, bytes]:
    body = json.dumps(infer_body([[value, 0.0, 0.0, 0.0]]))
    connection.request("POST", f"/v2/models/{path}/infer", body, {"Authorization": f"Bearer {token}"})
    reply = connection.getresponse()
    return reply.status, reply.read()


def test_two_organizations_behind_one_nginx(two: Two, nginx: Nginx) -> None:
    before = sum(line.calls for replica in two.replicas for line in usage(replica.folder))

    def call(number: int) -> int:
        connection, good = nginx.connect(), 0
        for turn in range(25):
            token = ("secret-a", "secret-b")[(number + turn) % 2]
            value = float(100 * number + turn)
            status, body = ask(connection, token, value)
            good += status == 200 and json.loads(body)["outputs"][0]["data"][0] == value * EXPECTED[token]
        connection.close()
        return good

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(call, range(6))) == 150
    assert sum(line.calls for replica in two.replicas for line in usage(replica.folder)) - before == 150
    for replica in two.replicas:
        assert handed(replica) == 0


def test_nginx_keeps_its_connections_to_the_gateway(two: Two, nginx: Nginx) -> None:
    def upstream() -> set[int]:
        found = psutil.Process(two.gateway.pid).net_connections("tcp")
        return {each.raddr.port for each in found if each.raddr and each.laddr.port == two.port}

    connection = nginx.connect()
    assert ask(connection, "secret-a", 1.0)[0] == 200
    kept = upstream()
    assert kept
    for turn in range(20):
        assert ask(connection, ("secret-a", "secret-b")[turn % 2], 1.0)[0] == 200
        assert ask(connection, "wrong", 1.0)[0] == 401
        assert ask(connection, "secret-a", 1.0, "unknown")[0] == 404
    assert upstream() <= kept
    connection.close()


def test_what_clients_do_passes_through_nginx(nginx: Nginx) -> None:
    connection = nginx.connect()
    rows = json.dumps(infer_body([[float(row), 0, 0, 0] for row in range(20_000)])).encode()
    pieces = (rows[at : at + 10_000] for at in range(0, len(rows), 10_000))
    key = {"Authorization": "Bearer secret-a"}
    connection.request(
        "POST", "/v2/models/digits/infer", pieces, {**key, "Transfer-Encoding": "chunked"}, encode_chunked=True
    )
    reply = connection.getresponse()
    assert json.loads(reply.read())["outputs"][0]["data"][-1] == 19_999.0
    for method, status in (("HEAD", 200), ("GET", 200), ("OPTIONS", 204), ("DELETE", 405)):
        connection.request(method, "/v2/models/digits", headers=key)
        reply = connection.getresponse()
        assert reply.status == status
        assert bool(reply.read()) == (method in {"GET", "DELETE"})
    connection.request("POST", "/v2/models/digits/infer", bytes(1 << 21), key)
    assert connection.getresponse().status == 413
    connection.close()


def test_the_gateway_learns_the_client_from_nginx(two: Two, nginx: Nginx) -> None:
    connection = nginx.connect()
    assert ask(connection, "wrong", 1.0)[0] == 401
    headers = {"Authorization": "Bearer wrong", "X-Forwarded-For": "203.0.113.77"}
    connection.request("GET", "/v2/models/digits", headers=headers)
    assert connection.getresponse().status == 401
    connection.close()
    until(lambda: '"requests without a valid key"' in two.gateway.output, 15)
    time.sleep(0.1)
    assert "203.0.113.77" not in two.gateway.output  # nginx says who speaks, the client cannot


def test_a_request_that_is_none_gets_no_further(nginx: Nginx) -> None:
    context = ssl.create_default_context(cafile=str(nginx.folder / "cert.pem"))
    both = get("/v2/models/digits/infer", method="POST", extra="Content-Length: 3\r\nTransfer-Encoding: chunked\r\n")
    for sent in (both + b"0\r\n\r\nGET /v2 HTTP/1.1\r\n\r\n", b"GET /v2 HTTP/1.1\r\n\r\n", b"GET /v2 HTTP/9.9\r\n\r\n"):
        with (
            socket.create_connection(("127.0.0.1", nginx.port), 5) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as raw,
        ):
            raw.sendall(sent)
            received = b""
            while data := raw.recv(4096):
                received += data
            assert received.split(b" ")[1][:1] in {b"4", b"5"}
