"""A server that is told of jobs' ends, or has pictures, and answers as a test wants it to."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: Answers a request: `reply(204)`, or what else it likes to do with the connection.
Answer = Callable[[BaseHTTPRequestHandler], None]


def reply(status: int, body: bytes = b"", **headers: str) -> Answer:
    """Return what answers with a status."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@dataclass
class Sink:
    """What a server was sent, and what it will answer next; at last 204, again and again."""

    port: int
    answers: list[Answer]
    #: Of each request its headers, in lower case, and its body.
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    #: Set when the server ends: whoever hangs on purpose hangs on this.
    ending: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=s3cret"

    def hang(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer nothing, for as long as the test takes."""
        self.ending.wait()


@contextmanager
def sink(*answers: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Sink]:
    """Run a server on this machine that gives these answers, one after the other; `tls` encrypts them."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            with lock:
                made.received.append(({name.lower(): text for name, text in self.headers.items()}, body))
                answer = made.answers.pop(0) if made.answers else reply(204)
            try:
                answer(self)
            except OSError:
                self.close_connection = True

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        made = Sink(server.server_port, list(answers))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield made
        finally:
            made.ending.set()
            server.shutdown()
            thread.join()
