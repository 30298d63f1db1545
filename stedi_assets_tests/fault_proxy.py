"""A proxy before S3 or Glue that sees every request and can spoil it.

::

    proxy.when(lambda method, path, headers: method == "PUT", slow_down(), times=2)

answers the first two PUT requests with SlowDown. An action is any function of an `Exchange`, so
a test may as well delete an object, or kill the server, as a certain request passes.
"""

import http.client
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, cast
from urllib.parse import urlsplit

BLOCK = 1 << 20
OF_THE_CONNECTION = {"connection", "keep-alive", "transfer-encoding"}


@dataclass
class Exchange:
    """A request on its way to the server.

    Attributes:
        method: GET, PUT and so on.
        path: Path and query as they were sent, percent-encoded.
        headers: Of the request; their names are found in any case.
        status: Of the answer; None where there was none.
        answer: What the proxy answers instead of asking the server.
        cut: How many bytes of the answer's body arrive before the connection drops.
        dropped: Whether the connection drops before an answer.
        lost: Whether it drops after the server did what it was asked for.
    """

    method: str
    path: str
    headers: Message
    status: int | None = None
    answer: "Answer | None" = None
    cut: int | None = None
    dropped: bool = False
    lost: bool = False


@dataclass(frozen=True)
class Answer:
    """An answer the proxy gives by itself."""

    status: int
    body: bytes
    content_type: str


Match = Callable[[str, str, Message], bool]
Action = Callable[[Exchange], object]


def respond(status: int, body: bytes, content_type: str = "application/xml") -> Action:
    """Answer without asking the server."""

    def answer(exchange: Exchange) -> None:
        exchange.answer = Answer(status, body, content_type)

    return answer


def slow_down() -> Action:
    """Answer as S3 does where requests come too fast."""
    return respond(503, _s3_error("SlowDown", "Please reduce your request rate."))


def access_denied() -> Action:
    """Answer as S3 does where a policy does not allow the request."""
    return respond(403, _s3_error("AccessDenied", "Access Denied"))


def throttled() -> Action:
    """Answer as Glue does where requests come too fast."""
    body = b'{"__type":"ThrottlingException","message":"Rate exceeded"}'
    return respond(400, body, "application/x-amz-json-1.1")


def delay(seconds: float) -> Action:
    """Let the request wait before it goes on."""
    return lambda _: time.sleep(seconds)


def drop() -> Action:
    """Close the connection without an answer."""

    def drop_it(exchange: Exchange) -> None:
        exchange.dropped = True

    return drop_it


def lose_answer() -> Action:
    """Let the server do what it is asked for, and close the connection without its answer."""

    def lose(exchange: Exchange) -> None:
        exchange.lost = True

    return lose


def cut_after(size: int) -> Action:
    """Close the connection after so many bytes of the answer's body."""

    def cut(exchange: Exchange) -> None:
        exchange.cut = size

    return cut


@dataclass
class _Rule:
    match: Match
    action: Action
    times: int | None
    skip: int

    def applies(self, exchange: Exchange) -> bool:
        if self.times == 0 or not self.match(exchange.method, exchange.path, exchange.headers):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


class FaultProxy:
    """Passes requests on to a server, byte for byte, save where a rule says otherwise.

    Host stays as it was sent, so signatures stay valid. Where the server does not answer, the
    connection drops.
    """

    def __init__(self, server: str) -> None:
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []
        self._exchanges: list[Exchange] = []
        self._listener = _Listener(self, server)

    @property
    def endpoint(self) -> str:
        """The address to use instead of the server's."""
        return f"http://127.0.0.1:{self._listener.server_port}"

    @property
    def requests(self) -> list[Exchange]:
        """The requests so far, those without an answer too, as they were answered."""
        with self._lock:
            return list(self._exchanges)

    def when(
        self, match: Match, action: Action, *, times: int | None = None, skip: int = 0
    ) -> None:
        """Act on requests.

        Rules act in the order they were given, up to the first that answers, drops or loses.

        Args:
            match: Decides on method, path with query, and headers.
            action: What to do.
            times: For how many requests; None for all.
            skip: How many matching requests pass before.
        """
        with self._lock:
            self._rules.append(_Rule(match, action, times, skip))

    def clear(self) -> None:
        """Forget rules and requests."""
        with self._lock:
            self._rules.clear()
            self._exchanges.clear()

    def start(self) -> None:
        """Pass requests on; returns at once."""
        threading.Thread(target=self._listener.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Accept no more connections."""
        self._listener.shutdown()
        self._listener.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def apply(self, exchange: Exchange) -> None:
        """Act on a request as the rules say."""
        with self._lock:
            rules = list(self._rules)
        for rule in rules:
            with self._lock:
                applies = rule.applies(exchange)
            if applies:
                rule.action(exchange)
            if exchange.dropped or exchange.lost or exchange.answer:
                return

    def record(self, exchange: Exchange) -> None:
        """Keep a request; called before its answer is sent, so that a test finds it."""
        with self._lock:
            self._exchanges.append(exchange)


class _Listener(ThreadingHTTPServer):
    request_queue_size = 128  # one more than that waits a second for its connection
    daemon_threads = True

    def __init__(self, proxy: FaultProxy, server: str) -> None:
        self.proxy = proxy
        self.upstream = urlsplit(server).netloc
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client, with one to the server for it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        listener = cast("_Listener", self.server)
        self._proxy = listener.proxy
        self._upstream = http.client.HTTPConnection(listener.upstream)

    def finish(self) -> None:
        self._upstream.close()
        super().finish()

    def log_message(self, *_: object) -> None:
        """Keep quiet: the proxy has the requests."""

    def _serve(self) -> None:
        exchange = Exchange(self.command, self.path, self.headers)
        self._proxy.apply(exchange)
        try:
            if exchange.dropped:
                self._abandon(exchange)
            elif exchange.answer:
                self._answer(exchange, exchange.answer)
            else:
                self._forward(exchange)
        except (OSError, http.client.HTTPException):
            self.close_connection = True
            self._upstream.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

    def _abandon(self, exchange: Exchange) -> None:
        self.close_connection = True
        self._proxy.record(exchange)

    def _answer(self, exchange: Exchange, answer: Answer) -> None:
        for _ in self._request_body():
            pass  # the next request on this connection starts behind it
        exchange.status = answer.status
        self._proxy.record(exchange)
        self.send_response_only(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(iter([answer.body]), exchange, chunked=False)

    def _forward(self, exchange: Exchange) -> None:
        try:
            self._send_upstream()
            response = self._upstream.getresponse()
        except (OSError, http.client.HTTPException):
            self._abandon(exchange)
            self._upstream.close()
            return
        if exchange.lost:
            self._abandon(exchange)
            self._upstream.close()
            return
        exchange.status = response.status
        self._proxy.record(exchange)
        self._send_head(response)
        if self.command == "HEAD":
            response.close()
        else:
            self._send_body(_blocks(response), exchange, chunked=response.chunked)
        if response.length:  # the server ended before its answer did
            self.close_connection = True

    def _send_upstream(self) -> None:
        if self._upstream.sock and select.select([self._upstream.sock], [], [], 0)[0]:
            self._upstream.close()  # the server closed it meanwhile; opens anew by itself
        self._upstream.putrequest(
            self.command, self.path, skip_host=True, skip_accept_encoding=True
        )
        for name, value in self.headers.items():
            self._upstream.putheader(name, value)
        self._upstream.endheaders()
        for block in self._request_body():
            try:
                self._upstream.send(block)
            except OSError:  # refused on its head alone: the answer may be there already
                self.close_connection = True
                return

    def _request_body(self) -> Iterator[bytes]:
        """The body as it was sent, its chunk headers included."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            yield from self._received(int(self.headers.get("Content-Length", 0)))
            return
        size = -1
        while size:
            line = self.rfile.readline()
            yield line
            size = int(line.split(b";")[0], 16)
            if size:
                yield from self._received(size + len(b"\r\n"))
        while line not in (b"\r\n", b""):
            line = self.rfile.readline()
            yield line

    def _received(self, size: int) -> Iterator[bytes]:
        while size:
            block = self.rfile.read(min(BLOCK, size))
            if not block:
                raise ConnectionError
            size -= len(block)
            yield block

    def _send_head(self, response: http.client.HTTPResponse) -> None:
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in OF_THE_CONNECTION:
                self.send_header(name, value)
        if response.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif response.length is None:
            self.send_header("Connection", "close")  # its end is the end of the connection
        self.end_headers()

    def _send_body(self, blocks: Iterator[bytes], exchange: Exchange, *, chunked: bool) -> None:
        left = exchange.cut
        for whole in blocks:
            block = whole[:left]
            if block:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
            if left is not None:
                left -= len(block)
            if left == 0:
                raise ConnectionAbortedError
        if chunked:
            self.wfile.write(b"0\r\n\r\n")


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while block := response.read(BLOCK):
        yield block


def _s3_error(code: str, message: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
