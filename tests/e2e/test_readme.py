"""README's curl lines, run as they stand, in order: they answer as README shows.

Keys and quotas are made by its own `iconotext keys` and `iconotext tenants` lines. Put in place are only the
service's address, those of the two servers that a reader would have, and what the lines before answered
where README shortens an id.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Up, end
from tests.sinks import sink

ROOT = Path(__file__).parents[2]
#: What a page leaves out: in a text, in an object, in a list.
LEFT_OUT = "…"
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_RUN = re.compile(r"curl |iconotext (keys|tenants) ")
_SHORT_ID = re.compile(rf"\b(job|wh|msg|ik)_\w*{LEFT_OUT}")
_ID = re.compile(r"\b(?:job|wh|msg)_[0-9a-f]{32}\b")
_KEY = re.compile(r"\bik_[0-9a-f]{16}_[\w-]{43}\b")
#: `curl --config` may name what the line itself does not: where the answer's heads go, and how long to wait.
_CURLRC = 'dump-header = "{heads}"\nmax-time = 60\nnoproxy = "*"\n'
_ENV = {
    "ICONOTEXT_PROFILE": "starter",
    # Nothing is measured at the start: what README shows holds with any runtime.
    "ICONOTEXT_RUNTIME": "eager",
    "ICONOTEXT_WEBHOOKS": "true",
    "ICONOTEXT_WEBHOOK_PRIVATE": "true",
    "ICONOTEXT_URL_INPUTS": "true",
    "ICONOTEXT_URL_PRIVATE": "true",
}


#: Real models take their time on two busy cores, and the first test waits for all lines.
_START_S = 240.0
pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One command, and what README shows below it."""

    command: str
    shown: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """What became of one."""

    command: str
    exit_status: int
    #: Of the last answer; 0: it is no request.
    http_status: int
    output: str


def lines_of(markdown: str) -> list[Line]:
    """Return the commands that are to be run, in order."""
    found = []
    for block in _BLOCK.findall(markdown):
        for entry in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            # A backslash at its end goes on with a line.
            command = re.match(r"(?:.*\\\n)*.*", entry)
            assert command is not None
            if _RUN.match(command[0]):
                found.append(Line(command=command[0], shown=entry[command.end() :].strip()))
    return found


LINES = lines_of((ROOT / "README.md").read_text())


class Reader:
    """Somebody who types what README says."""

    def __init__(self, home: Path, up: Up, addresses: dict[str, str]) -> None:
        self._heads = home / "heads"
        (home / ".curlrc").write_text(_CURLRC.format(heads=self._heads))
        bin_folder = str(Path(sys.executable).parent)
        self._env = up.env | {"HOME": str(home), "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
        self._addresses = addresses
        #: By prefix, the last one answered.
        self._ids: dict[str, str] = {}

    def run(self, line: Line) -> Ran:
        """Run a command in a shell, in the top folder."""
        self._heads.unlink(missing_ok=True)
        command = self._in_place(line.command)
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=ROOT,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        self._learn(done.stdout)
        told = self._heads.read_text() if self._heads.exists() else ""
        heads = re.findall(r"^HTTP/\S+ (\d+)", told, re.MULTILINE)
        return Ran(
            command=command,
            exit_status=done.returncode,
            http_status=int(heads[-1]) if heads else 0,
            output=done.stdout + done.stderr,
        )

    def _in_place(self, command: str) -> str:
        for written, real in self._addresses.items():
            command = command.replace(written, real)
        return _SHORT_ID.sub(lambda short: self._ids.get(short[1], short[0]), command)

    def _learn(self, output: str) -> None:
        for found in _ID.findall(output)[:1]:
            self._ids[found.partition("_")[0]] = found
        for key in _KEY.findall(output):
            self._env["ICONOTEXT_KEY"] = key


@contextmanager
def _photos() -> Iterator[str]:
    """Serve the demo's photographs; yield where."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    handler = functools.partial(Quiet, directory=str(ROOT / "client" / "demo" / "photos"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[Ran]]:
    """Return what became of all lines."""
    if shutil.which("curl") is None:
        if os.environ.get("CI"):
            pytest.fail("there is no curl")
        pytest.skip("there is no curl")
    home = tmp_path_factory.mktemp("readme")
    up = Up(home / "data", env={**_ENV, "ICONOTEXT_DATA_DIR": str(home / "data")})
    try:
        up.wait_until_ready(_START_S)
        with sink() as told, _photos() as pictures:
            addresses = {
                "http://127.0.0.1:8000": up.url,
                "https://you.example": f"http://127.0.0.1:{told.port}",
                "https://pictures.example": pictures,
            }
            reader = Reader(home, up, addresses)
            yield [reader.run(line) for line in LINES]
    finally:
        end([up])


def compare(shown: str, got: str) -> None:
    """Fail where an output is not as it is shown; numbers may differ, and what is left out may be anything.

    An HTTP head is compared line by line, a body by its shape; what is neither must hold the shown lines, in
    order.
    """
    # Each reader gets ids of its own.
    shown = _SHORT_ID.sub(rf"\1_{LEFT_OUT}", shown)
    if shown.startswith("HTTP/"):
        head, _, shown = shown.partition("\n\n")
        got_head, _, got = got.replace("\r", "").partition("\n\n")
        _compare_lines(head, got_head)
    if shown.startswith(("{", "[")):
        _compare_values(_parsed(shown), json.loads(got), "")
    else:
        _compare_lines(shown, got)


def _compare_lines(shown: str, got: str) -> None:
    rest = got
    for line in shown.splitlines():
        pattern = re.escape(line.strip()).replace(re.escape(LEFT_OUT), ".*")
        found = re.search(rf"^\s*{pattern}\s*$", rest, re.MULTILINE | re.IGNORECASE)
        assert found is not None, f"{line!r} is not in {rest!r}"
        rest = rest[found.end() :]


def _parsed(shown: str) -> Any:
    """Return the JSON that is shown, where something left out is a member named, or called, so."""
    written, open_brackets, is_text = [], [], False
    for before, letter in zip(" " + shown, shown, strict=False):
        if letter == '"' and before != "\\":
            is_text = not is_text
        elif not is_text and letter in "{[":
            open_brackets.append(letter)
        elif not is_text and letter in "}]":
            open_brackets.pop()
        if letter != LEFT_OUT or is_text:
            written.append(letter)
        elif open_brackets[-1] == "{" and "".join(written).rstrip()[-1] != ":":
            written.append(f'"{LEFT_OUT}": 0')
        else:
            written.append(f'"{LEFT_OUT}"')
    return json.loads("".join(written))


def _compare_values(shown: Any, got: Any, where: str) -> None:
    match shown, got:
        case str(), _ if LEFT_OUT in shown:
            pattern = re.escape(shown).replace(re.escape(LEFT_OUT), ".*")
            assert shown == LEFT_OUT or re.fullmatch(pattern, got, re.DOTALL), f"{where}: {got!r}"
        case dict(), dict():
            missing = shown.keys() - got.keys() - {LEFT_OUT}
            assert not missing, f"{where}: no {missing} in {got}"
            assert LEFT_OUT in shown or shown.keys() == got.keys(), f"{where}: more than is shown: {got}"
            for name in shown.keys() - {LEFT_OUT}:
                _compare_values(shown[name], got[name], f"{where}/{name}")
        case list(), list():
            is_whole = LEFT_OUT not in shown
            assert len(shown) == len(got) if is_whole else len(shown) - 1 <= len(got), f"{where}: {got}"
            for place, one in enumerate(shown[: None if is_whole else shown.index(LEFT_OUT)]):
                _compare_values(one, got[place], f"{where}/{place}")
        case int() | float(), int() | float() if not (isinstance(shown, bool) or isinstance(got, bool)):
            pass
        case _:
            assert type(shown) is type(got), f"{where}: {got!r}"
            assert shown == got, f"{where}: {got!r}"


def test_readme_shows_how_to_call() -> None:
    assert sum(line.command.startswith("curl ") for line in LINES) >= 8


@pytest.mark.parametrize("place", range(len(LINES)), ids=lambda place: LINES[place].command[:70])
def test_a_line_answers_as_readme_shows(place: int, ran: Sequence[Ran]) -> None:
    line, done = LINES[place], ran[place]

    assert LEFT_OUT not in done.command, f"nothing above it answered what it needs: {done.command}"
    assert done.exit_status == 0, done.output
    if line.command.startswith("curl "):
        assert 200 <= done.http_status < 300 or f'"status":{done.http_status}' in line.shown, done.output
    compare(line.shown, done.output)


@pytest.mark.parametrize(
    ("shown", "got"),
    [
        ('{"status":"queued",…}', '{"status": "failed", "id": "job_1"}'),
        ('{"status":"queued"}', '{"status": "queued", "id": "job_1"}'),
        ('{"status":"queued","id":"job_…"}', '{"status": "queued"}'),
        ('{"id":"job_…"}', '{"id": "file_1"}'),
        ('{"scores":[[0.1,0.2]]}', '{"scores": [[0.1]]}'),
        ('{"scores":[0.1,…]}', '{"scores": ["a", 1]}'),
        ('{"done":true}', '{"done": 1}'),
        ('{"error":null}', '{"error": {}}'),
        ("HTTP/1.1 200 OK\nETag: …\n\n{}", "HTTP/1.1 200 OK\r\nServer: a\r\n\r\n{}"),
        ("HTTP/1.1 200 OK\n\n{}", "HTTP/1.1 202 Accepted\r\n\r\n{}"),
        ("id: …\nevent: job", "event: job\nid: 1\n"),
    ],
)
def test_an_answer_that_is_not_as_shown_is_caught(shown: str, got: str) -> None:
    with pytest.raises(AssertionError):
        compare(shown, got)


@pytest.mark.parametrize(
    ("shown", "got"),
    [
        ('{"a":"b",…,\n "c":{"d":[[0.1,…]],…}}', '{"a": "b", "x": 1, "c": {"d": [[0.3, 0.4]]}}'),
        ('{"id":"job_…","m":[{"n":"o",…},…]}', '{"id": "job_1", "m": [{"n": "o"}, {}]}'),
        (
            "HTTP/1.1 200 OK\nRateLimit: r=…;t=…\n\n{…}",
            'HTTP/1.1 200 OK\r\nratelimit: r=6;t=0\r\n\r\n{"a": 1}',
        ),
        ("id: …\nevent: job\ndata: {…}", 'retry: 1\n\nid: 4\nevent: job\ndata: {"a": 1}\n\n'),
        ("", "anything"),
    ],
)
def test_an_answer_that_is_as_shown_is_let_through(shown: str, got: str) -> None:
    compare(shown, got)


def test_a_line_that_goes_on_is_one_command() -> None:
    [line] = lines_of("```console\n$ ls\n$ curl -s a \\\n    -d b\n{…}\n\n$ pwd\n```\n")

    assert line == Line(command="curl -s a \\\n    -d b", shown="{…}")
