"""Where webhooks arrive: it refuses some at first, and remembers all."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections import Counter, defaultdict

#: Of those that arrive for the first time, one in so many is refused once.
_REFUSED = 20


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: whoever was killed in the middle of a try, another comes in its place."""


class Sink:
    """A server on loopback."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: How often each event arrived and was taken, by its id.
        self.taken: Counter[str] = Counter()
        #: Each body that came under an id.
        self.bodies: defaultdict[str, set[str]] = defaultdict(set)
        #: (job, generation) of each event taken, and its type.
        self.told: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(sink.take(self.headers["webhook-id"], body))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its base's
                """Say nothing."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/events"
        self._thread = threading.Thread(target=self._server.serve_forever, name="sink", daemon=True)
        self._thread.start()

    def take(self, message_id: str, body: bytes) -> int:
        """Note an event, and return the status that it is answered with."""
        with self._lock:
            is_new = message_id not in self.bodies
            self.bodies[message_id].add(hashlib.sha256(body).hexdigest())
            if is_new and len(self.bodies) % _REFUSED == 0:
                return 503
            self.taken[message_id] += 1
            event = json.loads(body)
            self.told[event["data"]["id"], event["data"]["generation"]].add(event["type"])
            return 204

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5.0)
