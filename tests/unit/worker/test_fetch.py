"""What a URL names is fetched, from where it may be and within its limits, or refused in plain words."""

from __future__ import annotations

import gzip
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from shared.errors import FileTooLarge, JobTimeout, UrlRefused, UrlUnreachable
from shared.settings import Limits
from tests.sinks import Answer, Sink, reply, sink
from worker.fetch import Fetcher, Kind
from worker.targets import Targets

PICTURE = b"\x89PNG\r\n\x1a\n and so on"
LIMITS = Limits(file_bytes=1000, video_bytes=3000)
WORLD = "93.184.215.14"
DEADLINE_S = 20.0


def targets(
    *, private: bool = True, resolver: Callable[[str, int], list[str]] = lambda _host, _port: ["127.0.0.1"]
) -> Targets:
    return Targets(private=private, resolver=resolver, refusal=UrlRefused)


def fetched(
    url: str,
    kind: Kind = "image",
    *,
    allowed: Targets | None = None,
    seconds: float = DEADLINE_S,
    tls: ssl.SSLContext | None = None,
    check: Callable[[], None] = lambda: None,
) -> bytes:
    """Return what a URL names."""
    fetcher = Fetcher(
        allowed or targets(),
        tls or ssl.create_default_context(),
        LIMITS,
        image_time=timedelta(seconds=seconds),
        film_time=timedelta(seconds=seconds),
    )
    content = bytearray()
    fetcher.fetch(kind, url, content.extend, check)
    return bytes(content)


def raw(answer: bytes) -> Answer:
    """Return what answers with these very bytes."""

    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(answer)

    return write


def to(url: str, status: int = 302) -> Answer:
    return reply(status, Location=url)


def test_what_the_server_has_is_fetched_as_it_is() -> None:
    with sink(reply(200, PICTURE)) as server:
        assert fetched(server.url) == PICTURE


@pytest.mark.parametrize("kind", ["image", "video"])
def test_a_server_is_told_what_is_wanted_and_no_more(kind: Kind) -> None:
    with sink(reply(200, PICTURE)) as server:
        fetched(server.url, kind)

    [(headers, body)] = server.received
    assert body == b""
    assert headers == {
        "host": f"127.0.0.1:{server.port}",
        "accept": f"{kind}/*",
        "accept-encoding": "identity",
        "user-agent": "iconotext",
    }


def test_no_cookie_is_kept() -> None:
    with sink(reply(302, Location="/other", Set_Cookie="who=you"), reply(200, PICTURE)) as server:
        assert fetched(server.url) == PICTURE

    assert all("cookie" not in headers for headers, _ in server.received)


def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with sink() as proxy, sink(reply(200, PICTURE)) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        fetched(server.url)

    assert (len(proxy.received), len(server.received)) == (0, 1)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451, 204, 206, 300, 304])
def test_a_server_that_will_not_do_better_later_is_final(status: int) -> None:
    with sink(reply(status)) as server, pytest.raises(UrlRefused, match=f"the server answers {status}"):
        fetched(server.url)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_server_that_may_do_better_later_is_asked_again(status: int) -> None:
    with sink(reply(status)) as server, pytest.raises(UrlUnreachable, match=f"the server answers {status}"):
        fetched(server.url)


@pytest.mark.parametrize(("kind", "most"), [("image", 1000), ("video", 3000)])
def test_a_file_may_be_as_large_as_its_limit_and_no_larger(kind: Kind, most: int) -> None:
    with sink(reply(200, b"x" * most), reply(200, b"x" * (most + 1))) as server:
        assert len(fetched(server.url, kind)) == most
        with pytest.raises(FileTooLarge, match=f"limit of {most:,} bytes"):
            fetched(server.url, kind)


def test_an_endless_file_is_left_at_its_limit() -> None:
    sent: list[int] = []

    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 65_536)
            sent.append(65_536)

    with sink(flood) as server, pytest.raises(FileTooLarge):
        fetched(server.url)

    # What lies between is in the buffers of two sockets.
    assert sum(sent) < 50 * 2**20


def test_what_a_server_says_of_the_length_counts_for_nothing() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n"
    with sink(raw(chunked)) as server, pytest.raises(FileTooLarge):
        fetched(server.url)


def test_a_file_that_breaks_off_is_no_file() -> None:
    short = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b"x" * 499
    with sink(raw(short)) as server, pytest.raises(UrlUnreachable, match="the connection failed"):
        fetched(server.url)


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "deflate, gzip", "zstd", "x"])
def test_a_bomb_is_not_unpacked(encoding: str) -> None:
    bomb = gzip.compress(bytes(900_000))
    assert len(bomb) < LIMITS.file_bytes

    with (
        sink(reply(200, bomb, Content_Encoding=encoding)) as server,
        pytest.raises(UrlRefused, match="compressed"),
    ):
        fetched(server.url)


def test_what_says_that_it_is_not_encoded_is_taken() -> None:
    with sink(reply(200, PICTURE, Content_Encoding="identity")) as server:
        assert fetched(server.url) == PICTURE


def flood_of_headers(server: Sink) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not server.ending.is_set():
            handler.wfile.write(b"X-More: and more\r\n" * 1000)

    return answer


def endless_beginnings(server: Sink) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        while not server.ending.wait(0.001):
            handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10)

    return answer


def drip_of_headers(server: Sink) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        while not server.ending.wait(0.02):
            handler.wfile.write(b"H")

    return answer


def drip_of_content(server: Sink) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not server.ending.wait(0.02):
            handler.wfile.write(b"x")

    return answer


@pytest.mark.parametrize(
    "make",
    [lambda server: server.hang, drip_of_headers, drip_of_content, endless_beginnings, flood_of_headers],
    ids=["silent", "dripping headers", "dripping content", "endless beginnings", "flood of headers"],
)
def test_a_fetch_ends_in_time_whatever_the_server_does(make: Callable[[Sink], Answer]) -> None:
    with sink() as server:
        server.answers.append(make(server))
        began = time.monotonic()
        with pytest.raises(UrlUnreachable):
            fetched(server.url, seconds=0.5)
        spent = time.monotonic() - began

    assert spent < 5


def test_all_redirects_share_one_time() -> None:
    def late(handler: BaseHTTPRequestHandler) -> None:
        server.ending.wait(0.3)
        to("/again")(handler)

    with sink(*[late] * 6) as server, pytest.raises(UrlUnreachable, match="did not come in time"):
        fetched(server.url, seconds=0.7)


def test_a_job_that_must_not_go_on_ends_its_fetch() -> None:
    arrived, over = threading.Event(), threading.Event()

    def check() -> None:
        if over.is_set():
            raise JobTimeout("the job took longer than it may")

    def hang(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"x")
        arrived.set()
        server.ending.wait()

    def stop() -> None:
        assert arrived.wait(DEADLINE_S)
        over.set()

    with sink(hang) as server:
        stopper = threading.Thread(target=stop)
        stopper.start()
        with pytest.raises(JobTimeout):
            fetched(server.url, check=check)
        stopper.join()
        assert not server.ending.is_set()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(status: int) -> None:
    with sink(reply(200, PICTURE)) as there, sink(to(there.url, status)) as server:
        assert fetched(server.url) == PICTURE


def test_a_redirect_may_be_relative_to_where_it_stands() -> None:
    with sink(to("../b.png?x=1#part"), reply(200, PICTURE)) as server:
        assert fetched(server.url) == PICTURE


def test_five_redirects_are_followed_and_no_more() -> None:
    with sink(*[to("/next")] * 5, reply(200, PICTURE)) as server:
        assert fetched(server.url) == PICTURE
    with sink(*[to("/next")] * 9) as server, pytest.raises(UrlRefused, match="more than 5 redirects"):
        fetched(server.url)

    assert len(server.received) == 6


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://inside.example/",
        "http://localhost/",
        "http://0x7f000001/",
        "http://hooks.example:22/",
        "http://user:word@hooks.example/",
        "http://hooks.example\\@inside.example/",
        "//inside.example/",
        "file:///etc/passwd",
        "gopher://hooks.example/",
        "data:image/png;base64,AAAA",
        "http://[",
        "http://h\xf6oks.example/",
    ],
)
def test_a_redirect_is_checked_as_the_url_itself_is(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names are told; the one address of the world stands for the server of this test."""
    asked: list[str] = []

    def resolver(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["10.0.0.1"] if host == "inside.example" else [WORLD]

    allowed = targets(private=False, resolver=resolver)
    with (
        sink(to(location)) as server,
        world_at(server, monkeypatch) as connected,
        pytest.raises(UrlRefused),
    ):
        fetched("http://hooks.example/a.png", allowed=allowed)

    assert (asked[0], connected) == ("hooks.example", [WORLD])
    assert len(server.received) == 1


@contextmanager
def world_at(server: Sink, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Let connections to `WORLD` end at a server of this machine; yield the addresses that were asked for."""
    connected: list[str] = []
    connect = socket.create_connection

    def aside(address: tuple[str, int], *options: object, **more: object) -> socket.socket:
        connected.append(address[0])
        assert address[0] == WORLD, "no test leaves this machine"
        return connect(("127.0.0.1", server.port), *options, **more)  # type: ignore[arg-type]  # as given

    with monkeypatch.context() as patch:
        patch.setattr(socket, "create_connection", aside)
        yield connected


def test_a_name_is_asked_for_once_and_its_checked_address_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second answer would lead inside: DNS rebinding."""
    answers = [[WORLD], ["127.0.0.1"]]
    allowed = targets(private=False, resolver=lambda _host, _port: answers.pop(0))

    with sink(reply(200, PICTURE)) as server, world_at(server, monkeypatch) as connected:
        assert fetched("http://hooks.example/a.png", allowed=allowed) == PICTURE

    assert (connected, len(answers)) == ([WORLD], 1)
    assert server.received[0][0]["host"] == "hooks.example"


def test_a_redirect_s_name_is_asked_for_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [[WORLD], ["127.0.0.1"]]
    allowed = targets(private=False, resolver=lambda _host, _port: answers.pop(0))

    with (
        sink(to("/b.png")) as server,
        world_at(server, monkeypatch),
        pytest.raises(UrlRefused, match="not of the public internet"),
    ):
        fetched("http://hooks.example/a.png", allowed=allowed)

    assert len(server.received) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/a.png", "http://hooks.example:8080/a.png"])
def test_nothing_is_fetched_from_inside(url: str) -> None:
    with sink(reply(200, PICTURE)) as server, pytest.raises(UrlRefused):
        fetched(url.format(port=server.port), allowed=targets(private=False))

    assert server.received == []


def test_a_redirect_to_nowhere_is_final() -> None:
    with sink(reply(302)) as server, pytest.raises(UrlRefused, match="does not say where"):
        fetched(server.url)


def test_a_dead_server_may_be_back_later() -> None:
    with sink() as server:
        url = server.url
    with pytest.raises(UrlUnreachable, match="the connection failed"):
        fetched(url)


def test_a_name_without_address_may_have_one_later() -> None:
    def resolver(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(UrlUnreachable, match="address cannot be found: Name or service not known"):
        fetched("http://hooks.invalid/", allowed=targets(resolver=resolver))


def test_what_is_no_http_may_be_later() -> None:
    with sink(raw(b"SSH-2.0-OpenSSH_9.9\r\n")) as server, pytest.raises(UrlUnreachable):
        fetched(server.url)


@pytest.mark.parametrize(
    "answer",
    [
        reply(404),
        reply(503),
        reply(200, b"x" * 1001),
        to("http://[/"),
        reply(200, b"x", Content_Encoding="br"),
    ],
    ids=["404", "503", "too large", "bad redirect", "compressed"],
)
def test_no_message_shows_more_than_whose_server_it_is(answer: Answer) -> None:
    with sink(answer) as server, pytest.raises((UrlRefused, UrlUnreachable, FileTooLarge)) as caught:
        fetched(server.url)

    assert caught.value.message.startswith(f"http://127.0.0.1:{server.port}/...: ")
    assert "s3cret" not in caught.value.message
    assert "hook" not in caught.value.message


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a key and a certificate for `hooks.example`, which nobody has signed."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the command openssl")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subject = ["-subj", "/CN=hooks.example", "-addext", "subjectAltName=DNS:hooks.example"]
    made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(path)]
    done = subprocess.run(
        [openssl, "req", "-x509", *made, *subject, "-days", "2"], check=True, capture_output=True
    )
    with path.open("ab") as both:
        both.write(done.stdout)
    return path


@contextmanager
def secure(certificate: Path, *answers: Answer) -> Iterator[Sink]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with sink(*answers, tls=context) as server:
        yield server


def test_a_server_is_known_by_its_certificate(certificate: Path) -> None:
    trusting = ssl.create_default_context(cafile=certificate)
    with secure(certificate, reply(200, PICTURE)) as server:
        assert fetched(f"https://hooks.example:{server.port}/", tls=trusting) == PICTURE
        with pytest.raises(UrlUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
            fetched(f"https://other.example:{server.port}/", tls=trusting)
        with pytest.raises(UrlUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
            fetched(f"https://hooks.example:{server.port}/")

    assert len(server.received) == 1


def test_nobody_is_led_away_from_https(certificate: Path) -> None:
    trusting = ssl.create_default_context(cafile=certificate)
    with (
        sink(reply(200, PICTURE)) as plain,
        secure(certificate, to(plain.url)) as server,
        pytest.raises(UrlRefused, match="away from https"),
    ):
        fetched(f"https://hooks.example:{server.port}/", tls=trusting)

    assert (len(plain.received), len(server.received)) == (0, 1)
