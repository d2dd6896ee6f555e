"""Nothing is sent into a private network, whatever name leads there."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from shared.errors import UrlRefused, WebhookRefused
from worker.targets import Resolver, Targets, resolve

WORLD = "93.184.215.14"
WORLD_6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
PRIVATE = [
    "0.0.0.0",  # noqa: S104  # nobody binds here
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.8",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.7",
    "224.0.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:93.184.215.14",
    "64:ff9b::7f00:1",
    "100::1",
    "2001::7f00:1",
    "2001:db8::1",
    "2002:7f00:1::",
    "fc00::1",
    "fe80::1",
    "ff02::1",
]


def targets(*addresses: str, private: bool = False) -> Targets:
    """Return the decision where every name has these addresses."""
    return Targets(private=private, resolver=lambda _host, _port: list(addresses))


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_that_leads_inside_is_refused(address: str) -> None:
    with pytest.raises(WebhookRefused, match=r"hooks\.example"):
        targets(address).find("https://hooks.example/x")


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_that_also_leads_inside_is_refused(address: str) -> None:
    with pytest.raises(WebhookRefused):
        targets(WORLD, address).find("https://hooks.example/x")


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_inside_is_refused_unresolved(address: str) -> None:
    host = f"[{address}]" if ":" in address else address

    with pytest.raises(WebhookRefused):
        targets(WORLD).find(f"http://{host}/")


@pytest.mark.parametrize("host", ["127.1", "0x7f.1", "2130706433", "017700000001", "127.0.0.1."])
def test_another_spelling_of_an_address_inside_is_refused(host: str) -> None:
    with pytest.raises(WebhookRefused):
        targets(WORLD).find(f"http://{host}/")


def test_what_is_decided_on_is_what_is_connected_to() -> None:
    target = targets(WORLD, WORLD_6).find("https://hooks.example/x")

    assert target.addresses == [WORLD, WORLD_6]
    assert (target.endpoint.scheme, target.endpoint.host, target.endpoint.port) == (
        "https",
        "hooks.example",
        443,
    )


@pytest.mark.parametrize(("url", "port"), [("http://a.example", 80), ("https://a.example:8443/x", 8443)])
def test_the_port_is_the_url_s_own_or_its_scheme_s(url: str, port: int) -> None:
    assert targets(WORLD).find(url).endpoint.port == port


@pytest.mark.parametrize("address", PRIVATE)
def test_inside_is_allowed_where_the_operator_says_so(address: str) -> None:
    assert targets(address, private=True).find("http://hooks.example/").addresses == [address]


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "gopher://hooks.example/", "https://a:b@hooks.example/", "//hooks.example/"]
)
def test_only_plain_web_addresses_are_targets(url: str) -> None:
    for private in (False, True):
        with pytest.raises(WebhookRefused):
            targets(WORLD, private=private).find(url)


def test_a_name_is_resolved_to_all_its_addresses_once(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [(2, 1, 6, "", (WORLD, 1)), (10, 1, 6, "", (WORLD_6, 1, 0, 0)), (2, 1, 6, "", (WORLD, 1))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)

    assert resolve("hooks.example", 1) == [WORLD, WORLD_6]


@pytest.mark.parametrize("host", ["hooks.example", "127.0.0.1", "localhost"])
def test_what_is_refused_is_refused_by_the_name_that_was_chosen(host: str) -> None:
    guard = Targets(private=False, resolver=lambda _host, _port: ["10.0.0.1"], refusal=UrlRefused)

    with pytest.raises(UrlRefused):
        guard.find(f"http://{host}/")


@pytest.fixture
def ending() -> Iterator[threading.Event]:
    """Return what a resolver that never answers waits for: the test's end."""
    event = threading.Event()
    yield event
    event.set()


def test_a_name_that_nobody_answers_for_is_given_up_in_time(ending: threading.Event) -> None:
    def silence(_host: str, _port: int) -> list[str]:
        ending.wait()
        return []

    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"no answer within 0\.1 s"):
        Resolver(timedelta(seconds=0.1), silence)("hooks.example", 80)

    assert time.monotonic() - began < 5


def test_names_that_nobody_answers_for_do_not_pile_up(ending: threading.Event) -> None:
    asked = threading.Semaphore(0)

    def silence(_host: str, _port: int) -> list[str]:
        asked.release()
        ending.wait()
        return []

    resolver = Resolver(timedelta(milliseconds=1), silence)
    for _ in range(200):
        with pytest.raises(TimeoutError):
            resolver("hooks.example", 80)

    assert sum(asked.acquire(blocking=False) for _ in range(200)) == 64


def test_a_resolver_tells_what_it_was_told() -> None:
    def none(host: str, _port: int) -> list[str]:
        raise socket.gaierror(-2, f"{host} is not known")

    resolver = Resolver(timedelta(seconds=20), lambda _host, _port: [WORLD])

    assert {tuple(resolver("hooks.example", 80)) for _ in range(100)} == {(WORLD,)}
    with pytest.raises(socket.gaierror, match=r"hooks\.example is not known"):
        Resolver(timedelta(seconds=20), none)("hooks.example", 80)
