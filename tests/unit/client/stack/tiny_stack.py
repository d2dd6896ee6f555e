"""A stack of tiny processes in place of the service: `python tiny_stack.py DATA_DIR [OPTION=VALUE]...`.

Each writes `began NAME` and, when asked to end, `ended NAME` into DATA_DIR/events. Options: `stubborn=NAME`
ignores SIGTERM, `broken=NAME` dies at its start, `slow=NAME` never gets on, `full=NAME` recycles itself
at its first start, `errand=STATUS` runs an errand, `port` and `stay`. At SIGUSR1 each recycles itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from client.errors import StackFailed
from client.stack.plan import Plan
from client.stack.processes import Command
from client.stack.up import Stack

_BEGIN = """
import os, signal, socket, sys, time
name, events = sys.argv[1:3]
def say(word):
    with open(events, "a") as file:
        file.write(f"{word} {name}\\n")
def leave(*_):
    say("ended")
    if name not in stubborn:
        os._exit(0)
signal.signal(signal.SIGTERM, leave)
signal.signal(signal.SIGUSR1, lambda *_: os._exit(75))
if name in broken:
    sys.exit(f"{name} is broken")
if name in full and f"recycled {name}" not in open(events).read():
    say("recycled")
    os._exit(75)
say("began")
if name in slow:
    time.sleep(600)
"""
_SLEEP = "\ntime.sleep(600)\n"
_API = """
def ready():
    # As the real one: only workers that have begun, and so know how to end, count.
    return len({line for line in open(events) if line.startswith("began worker-")})
listener = socket.socket(fileno=int(sys.argv[3]))
listener.setblocking(True)
while True:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        body = b'{"status": "ok", "checks": {"database": "ok", "queue": "ok", "workers": %d}}' % ready()
        head = b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n"
        connection.sendall(head % len(body) + body)
"""


class TinyPlan(Plan):
    def migration(self, env: Mapping[str, str]) -> Command:
        return self._python("database", "")

    def api(self, env: Mapping[str, str], listener: int) -> Command:
        return self._python("api", _API, str(listener), fds=(listener,))

    def worker(self, number: int, env: Mapping[str, str]) -> Command:
        return self._python(f"worker-{number}", _SLEEP)

    def _python(self, name: str, code: str, *words: str, fds: tuple[int, ...] = ()) -> Command:
        names = "".join(
            f"{option} = {[OPTIONS.get(option)]}\n" for option in ("stubborn", "broken", "slow", "full")
        )
        events = str(self.data_dir / "events")
        argv = (sys.executable, "-I", "-S", "-c", names + _BEGIN + code, name, events, *words)
        self.logs.mkdir(exist_ok=True)
        return Command(name=name, argv=argv, env=dict(os.environ), log=self.logs / f"{name}.log", fds=fds)


OPTIONS = dict(word.split("=") for word in sys.argv[2:])


def main() -> int:
    plan = TinyPlan(
        data_dir=Path(sys.argv[1]),
        port=int(OPTIONS.get("port", "0")),
        port_may_differ="port" in OPTIONS,
        workers=2,
    )
    console = Console(stderr=True, width=200)
    errand = (lambda url: int(OPTIONS["errand"])) if "errand" in OPTIONS else None
    try:
        return Stack(plan, console).run(errand, stay="stay" in OPTIONS)
    except StackFailed as error:
        console.print(error.tail, str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
