"""The comparison with the peers: what makes it fair, and that a kill is counted truly."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from benchmarks.peers import __main__ as peers
from benchmarks.peers import load, venvs
from benchmarks.peers.dialects import Direct, Ours, Polled, Refused, Ticket, dialect
from benchmarks.peers.holder import cpu_s
from benchmarks.peers.http import Connection
from benchmarks.peers.model import decode
from benchmarks.peers.photos import endless, photos
from benchmarks.peers.running import Loss, Timing
from benchmarks.peers.sides import OURS, PEERS
from benchmarks.report import Effort
from shared.settings import Limits
from worker.media import images
from worker.media.views import View

ROOT = Path(__file__).parents[3]
Handler = Callable[[str, bytes], Awaitable[bytes]]


def answer(value: object, status: int = 200) -> bytes:
    body = json.dumps(value).encode()
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    """Yield the port of a server that answers each request's target and body with the handler's bytes."""

    talks: set[asyncio.Task[None] | None] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(head.lower().partition("content-length:")[2].split("\r\n")[0] or 0)
                said = await handler(head.split(" ")[1], await reader.readexactly(length))
                if not said:
                    break
                writer.write(said)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        # Whoever asked has closed the connection by now, which ends its talk.
        async with asyncio.timeout(20):
            await asyncio.gather(*(task for task in talks if task is not None))


def test_the_peers_preprocessing_is_ours() -> None:
    view = View(width=224, height=224, fit="crop", resample="bicubic", crop_fraction=0.875)
    for photo in photos():
        assert (decode(photo) == np.asarray(images.decode(photo, view, Limits()))).all()


def test_a_large_photo_is_shrunk_while_it_is_decoded_as_ours_is() -> None:
    written = io.BytesIO()
    Image.open(io.BytesIO(photos()[0])).resize((2600, 1800)).save(written, "JPEG")
    view = View(width=224, height=224, fit="crop", resample="bicubic", crop_fraction=0.875)
    ours = np.asarray(images.decode(written.getvalue(), view, Limits()))
    assert (decode(written.getvalue()) == ours).all()


def test_no_picture_is_sent_twice_and_all_copies_show_the_same() -> None:
    count = len(photos())
    sent = list(islice(endless(1), 3 * count)) + list(islice(endless(2), count))
    assert len(set(sent)) == len(sent)
    first, again = (Image.open(io.BytesIO(file)) for file in (sent[0], sent[count]))
    assert first.size == (640, 480)
    assert (np.asarray(first) == np.asarray(again)).all()
    assert all(55_000 < len(file) < 105_000 for file in sent)


def test_the_client_reads_answers_of_either_framing_on_one_connection() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"

    async def handle(target: str, body: bytes) -> bytes:
        return chunked if target == "/chunked" else answer(len(body))

    async def ask() -> list[bytes]:
        async with serving(handle) as port:
            connection = Connection(port)
            answers = [
                await connection.ask("GET", "/chunked"),
                await connection.ask("POST", "/", "X: y\r\n", b"ab", b"c"),
            ]
            connection.close()
            return [said.body for said in answers]

    assert asyncio.run(ask()) == [b"abcde", b"3"]


def test_a_connection_that_breaks_is_an_error_and_the_next_request_opens_another() -> None:
    turns = iter([b"", answer("back")])

    async def handle(target: str, body: bytes) -> bytes:
        return next(turns)

    async def ask() -> bytes:
        async with serving(handle) as port:
            connection = Connection(port)
            with pytest.raises(ConnectionResetError):
                await connection.ask("GET", "/")
            said = await connection.ask("GET", "/")
            connection.close()
            return said.body

    assert asyncio.run(ask()) == b'"back"'


def test_our_dialect_falls_back_to_polling_when_the_wait_was_cut_short() -> None:
    done = {"id": "j", "status": "succeeded", "result": {"image_vectors": ["AAAA"]}}

    async def handle(target: str, body: bytes) -> bytes:
        assert b"photo" in body or target == "/v1/jobs/j?wait=20"
        return answer({"id": "j", "status": "queued", "result": None}, 202) if body else answer(done)

    async def ask() -> str:
        async with serving(handle) as port:
            connection = Connection(port)
            ticket = await Ours().submit(connection, b"photo")
            assert isinstance(ticket, Ticket)
            vector = await Ours().collect(connection, ticket)
            connection.close()
            return vector

    assert asyncio.run(ask()) == "AAAA"


def test_a_failed_job_is_refused_not_waited_for() -> None:
    async def handle(target: str, body: bytes) -> bytes:
        return answer({"id": "j", "status": "failed", "error": {"code": "timeout"}})

    async def ask() -> None:
        async with serving(handle) as port:
            connection = Connection(port)
            try:
                await Ours().collect(connection, Ticket("/v1/jobs/j"))
            finally:
                connection.close()

    with pytest.raises(Refused, match="timeout"):
        asyncio.run(ask())


def plan(port: int, **more: object) -> load.Plan:
    words: dict[str, object] = {"dialect": ("direct", "/"), "mode": "time", "in_flight": 4, **more}
    return load.Plan(port=port, **words)  # type: ignore[arg-type]


def test_the_window_counts_what_was_answered_within_it_and_keeps_so_many_in_flight() -> None:
    now, most = 0, 0

    async def handle(target: str, body: bytes) -> bytes:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        return answer({"vector": "AAAA"})

    async def run() -> dict[str, object]:
        async with serving(handle) as port:
            return await load.timed(plan(port, warm_up_s=0.1, seconds=0.3), Direct("/"))

    done = asyncio.run(run())
    latencies = done["latencies_s"]
    assert isinstance(latencies, list)
    assert most == 4
    assert 4 <= len(latencies) <= 4 * 0.3 / 0.02 + 4
    assert min(latencies) >= 0.02


def test_a_kill_counts_promises_and_which_of_them_were_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    accepted: list[str] = []
    asked: set[int] = set()
    all_asked = threading.Event()
    is_back = False

    async def handle(target: str, body: bytes) -> bytes:
        if target == "/embed":
            accepted.append(str(len(accepted)))
            return answer({"task_id": accepted[-1]}, 202)
        number = int(target.rpartition("/")[2])
        asked.add(number)
        if asked >= {8, 9, 10, 11}:
            all_asked.set()
        # What came in before the first promises that stayed open is done; every other later one is lost.
        done = number < 8 or (is_back and number % 2 == 0)
        return answer({"status": "SUCCESS", "vector": "AAAA"} if done else {"status": "PENDING"})

    class Told:
        def readline(self) -> str:
            nonlocal is_back
            assert all_asked.wait(20)
            is_back = True
            return "\n"

    monkeypatch.setattr(sys, "stdin", Told())

    async def run() -> dict[str, object]:
        async with serving(handle) as port:
            return await load.killed(plan(port, mode="kill", patience_s=0.3), Polled(0.01))

    done = asyncio.run(run())
    assert done == {"in_flight": 4, "promised": 4, "answered": 2, "refused": []}


def test_a_side_that_promises_nothing_loses_all_that_is_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    count, is_killed = 0, asyncio.Event()

    async def handle(target: str, body: bytes) -> bytes:
        nonlocal count
        count += 1
        if count > 8:
            await is_killed.wait()
            return b""
        return answer({"vector": "AAAA"})

    class Told:
        def readline(self) -> str:
            return "\n"

    monkeypatch.setattr(sys, "stdin", Told())

    async def run() -> dict[str, object]:
        async with serving(handle) as port:
            done = await load.killed(plan(port, mode="kill", patience_s=0.3), Direct("/"))
            is_killed.set()
            return done

    assert asyncio.run(run()) == {"in_flight": 4, "promised": 0, "answered": 0, "refused": []}


#: Leaves its session and its parent, as servers' daemons do, says its id, and stays.
DAEMON = """
import subprocess, sys, time
inner = "import os, time; print(os.getpid(), flush=True); time.sleep(300)"
daemon = subprocess.Popen([sys.executable, "-c", inner], stdout=subprocess.PIPE, start_new_session=True)
print(daemon.stdout.readline().decode(), flush=True)
time.sleep({stays_s})
"""


def held(stays_s: int) -> tuple[subprocess.Popen[str], int]:
    """Return a holder and the id of the daemon that its command left running."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.peers.holder",
        sys.executable,
        "-c",
        DAEMON.format(stays_s=stays_s),
    ]
    holder = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert holder.stdout is not None
    return holder, int(holder.stdout.readline())


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("stays_s", [300, 0], ids=["told to", "its command ended"])
def test_a_holder_that_ends_leaves_nothing_behind(stays_s: int) -> None:
    holder, daemon = held(stays_s)
    with holder:
        assert holder.stdin is not None
        if stays_s:
            assert is_running(daemon)
            assert cpu_s([holder.pid]) > 0
            holder.stdin.close()
        assert holder.wait(20) == 0
    assert not is_running(daemon)


def timing(latencies_s: list[float]) -> Timing:
    return Timing(latencies_s=latencies_s, seconds=1.0, cpu_s=1.0, load_cpu_s=0.1, refused=[])


def test_the_report_holds_us_to_every_peer_and_names_those_that_did_not_run() -> None:
    ours = peers.Found(OURS, Loss(in_flight=64, promised=60, answered=60), [timing([0.2] * 10)])
    slower = peers.Found(PEERS[0], Loss(in_flight=64, promised=64, answered=56), [timing([0.9] * 5)])
    faster = peers.Found(PEERS[1], Loss(in_flight=64, promised=0, answered=0), [timing([0.1] * 20)])
    report = peers.report_on(
        ours, [slower, faster], ["not compared: Ray Serve is not installed"], Effort(rounds=1)
    )
    holds = {name: bar.holds for name, bar in report.bars.items()}
    assert holds == {
        "peers that ran": False,
        f"items per second over {PEERS[0].title}": True,
        f"items per second over {PEERS[1].title}": False,
        "peers with a longer p99 latency": False,
        "accepted jobs lost in a kill": True,
    }
    assert report.figures[f"ratio, iconotext over {PEERS[0].title}"].median == pytest.approx(2.0)
    words = "\n".join(report.notes)
    assert "lost 8" in words
    assert "LitServe (the server and all its processes) lost 64" in words
    assert "Ray Serve is not installed" in words


def test_vectors_of_another_model_are_noticed() -> None:
    def coded(*values: float) -> str:
        return base64.b64encode(np.array(values, "<f4").tobytes()).decode()

    same, other = [coded(1, 0), coded(0, 1)], [coded(1, 0), coded(0.6, 0.8)]
    assert peers._likeness(same, same) == pytest.approx(1.0)
    assert peers._likeness(same, other) == pytest.approx(0.8)


def test_every_side_is_installed_from_pins_with_the_runtime_of_all_others() -> None:
    assert {side.venv for side in PEERS} == set(venvs.names())
    for package in ("onnxruntime", "numpy", "pillow"):
        assert len({venvs.pinned(name, package) for name in venvs.names()}) == 1
    for side in (OURS, *PEERS):
        dialect(*side.dialect)
