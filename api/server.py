"""How gunicorn serves the API: a thread is given to a request, never to a connection.

gunicorn's own thread worker reads a request's head in the thread that will answer it, for as long as that
takes. Here the head is collected by the one thread that looks after all quiet connections, and a request gets
a thread when its head is there. So callers that say nothing, or little by little, cost a connection each, and
no more. A body is read in the request's thread, and must keep coming.
"""

from __future__ import annotations

import errno
import resource
import selectors
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from socket import MSG_DONTWAIT, socket
from typing import Any

from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

from api.connections import TooSlow
from api.settings import ApiSettings
from shared.settings import read

#: Of a head that is collected; gunicorn refuses longer ones by limits of its own.
_LONGEST_HEAD = 64 * 1024
_END_OF_HEAD = b"\r\n\r\n"
#: The share of all connections beyond which those that have said nothing for longest make room.
_CROWDED = 0.9
_TOO_SLOW = (
    b"HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    % (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_TIMEOUT.phrase.encode())
)  # fmt: skip


class PacedSocket(socket):
    """A caller's connection: what has come of the next head, and how long its body may take."""

    _ahead = b""
    #: What was collected is part of a head, the rest of which a thread waits for.
    _is_long = False
    _began: float | None = None
    _got = 0
    _pace: ApiSettings

    @classmethod
    def of(cls, accepted: socket, pace: ApiSettings) -> PacedSocket:
        """Return a connection that was just accepted, under another class."""
        paced = cls(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        paced._pace = pace
        return paced

    @property
    def has_begun(self) -> bool:
        """Return whether something of the next request is here."""
        return bool(self._ahead)

    def collect(self) -> bool:
        """Take what has come, without waiting; return whether a thread is to go on with it.

        Raises:
            OSError: the connection is broken.
        """
        with suppress(BlockingIOError):
            # One may be here already, which came behind the request before.
            while not self._has_enough():
                came = super().recv(_LONGEST_HEAD - len(self._ahead), MSG_DONTWAIT)
                if not came:
                    raise ConnectionResetError(errno.ECONNRESET, "the caller has hung up")
                if not self._ahead:
                    self._began, self._got = time.monotonic(), 0
                self._ahead += came
        self._is_long = _END_OF_HEAD not in self._ahead
        return self._has_enough()

    def _has_enough(self) -> bool:
        return _END_OF_HEAD in self._ahead or len(self._ahead) >= _LONGEST_HEAD

    def setblocking(self, flag: bool) -> None:
        """Let nothing block for ever."""
        self.settimeout(self._pace.api_stall_timeout.total_seconds() if flag else 0.0)

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return what has come of a request, as soon as there is something.

        Raises:
            TooSlow: it comes too slowly.
        """
        if self._ahead:
            came, self._ahead = self._ahead[:size], self._ahead[size:]
        else:
            self.settimeout(self._patience())
            try:
                came = super().recv(size, flags)
            except TimeoutError as error:
                raise TooSlow(errno.ECONNRESET, "the rest of the request did not come in time") from error
        self._got += len(came)
        return came

    def _patience(self) -> float:
        """Return for how long the next bytes may be waited for.

        Raises:
            TooSlow: not at all.
        """
        now = time.monotonic()
        if self._began is None:
            self._began, self._got = now, 0
        # Bytes buy time for a body; a head of many long lines has as much as any other.
        bought_s = 0.0 if self._is_long else self._got / self._pace.api_body_rate
        allowed_s = self._pace.api_head_timeout.total_seconds() + bought_s
        left_s = min(self._began + allowed_s - now, self._pace.api_stall_timeout.total_seconds())
        if left_s <= 0:
            raise TooSlow(errno.ECONNRESET, "the request comes too slowly")
        return left_s

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of this; what is received from now on belongs to another request.

        Raises:
            BrokenPipeError: nobody takes it.
        """
        self._began = None
        self.settimeout(self._pace.api_stall_timeout.total_seconds())
        try:
            super().sendall(data, flags)
        except TimeoutError as error:
            raise BrokenPipeError(errno.EPIPE, "nobody takes the answer") from error


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn ships no types
    """The thread worker, whose threads wait for no head."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        #: Connections whose next head is awaited, those that wait longest first, and until when.
        self._quiet: dict[TConn, float] = {}

    def init_process(self) -> None:
        """Make room for as many descriptors as connections are allowed."""
        self._pace = read(ApiSettings)
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        super().init_process()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to stop: whoever waits for a job is answered at once, and asks again elsewhere."""
        is_first = self.alive
        super().handle_exit(sig, frame)
        if is_first:
            self.method_queue.defer(self._wake_all)

    def accept(self, listener: Any) -> None:
        """Take a connection, and await its first head."""
        try:
            accepted, client = listener.accept()
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK}:
                raise
            return
        self.nr_conns += 1
        if self.nr_conns > self.worker_connections * _CROWDED and self._quiet:
            self._hang_up(next(iter(self._quiet)))
        self._await(TConn(self.cfg, PacedSocket.of(accepted, self._pace), client, listener.getsockname()))

    def finish_request(self, conn: Any, fs: Any) -> None:
        """Await the next head, where the caller may send one."""
        try:
            goes_on = fs.result() if not fs.cancelled() else False
        except Exception:  # noqa: BLE001  # gunicorn has told of it
            goes_on = False
        if not goes_on:
            self.nr_conns -= 1
            conn.close(graceful=True)
        elif conn.parser.unreader.buf.getvalue():
            # Reading a body to its end may have read on into the next request.
            self.enqueue_req(conn)
        else:
            self._await(conn)

    def murder_keepalived(self, force: bool = False) -> None:
        """Close connections whose time is up; all of them by force."""
        now = time.monotonic()
        linger = now + STOP_KEEPALIVE_LINGER
        if not self.alive:
            self._quiet = {conn: min(until, linger) for conn, until in self._quiet.items()}
        for conn, until in list(self._quiet.items()):
            if force or until <= now:
                if conn.sock.has_begun:
                    with suppress(OSError):
                        conn.sock.send(_TOO_SLOW)
                self._hang_up(conn)

    def _await(self, conn: Any) -> None:
        self._quiet[conn] = time.monotonic() + self.cfg.keepalive
        conn.sock.setblocking(False)
        if self._collect(conn):
            if conn.sock.has_begun:
                self._expect_rest(conn)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_readable, conn))

    def _on_readable(self, conn: Any, _: Any) -> None:
        had_begun = conn.sock.has_begun
        if not self._collect(conn):
            self.poller.unregister(conn.sock)
        elif not had_begun and conn.sock.has_begun:
            self._expect_rest(conn)

    def _expect_rest(self, conn: Any) -> None:
        """Wait for the rest of a head, and no longer than anybody needs."""
        # To the end: it is no longer one of those that have said nothing for longest.
        del self._quiet[conn]
        self._quiet[conn] = time.monotonic() + self._pace.api_head_timeout.total_seconds()

    def _collect(self, conn: Any) -> bool:
        """Take what has come; return whether to go on waiting, or else give the request a thread."""
        try:
            if not conn.sock.collect():
                return True
        except OSError:
            self._forget(conn)
            return False
        del self._quiet[conn]
        conn.data_ready = True
        self.enqueue_req(conn)
        return False

    def _hang_up(self, conn: Any) -> None:
        with suppress(OSError, KeyError, ValueError):
            self.poller.unregister(conn.sock)
        self._forget(conn)

    def _forget(self, conn: Any) -> None:
        self._quiet.pop(conn, None)
        self.nr_conns -= 1
        conn.close()

    def _wake_all(self) -> None:
        extensions: dict[str, Any] = getattr(self.wsgi, "extensions", {})
        if (house := extensions.get("iconotext")) is not None:
            wake: Callable[[], None] = house.watcher.close
            wake()
