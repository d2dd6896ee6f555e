"""Pictures and films by URL, fetched by the worker: where the operator allows it, and from where."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from client import Job, RequestRefused
from shared.addresses import is_public
from tests.e2e.conftest import Up, end, eventually
from tests.films import film, scene
from tests.sinks import reply, sink


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Return a stack that fetches from this machine too."""
    env = {"ICONOTEXT_URL_INPUTS": "true", "ICONOTEXT_URL_PRIVATE": "true"}
    up = Up(tmp_path_factory.mktemp("urls") / "data", env=env)
    try:
        yield up.wait_until_ready()
    finally:
        end([up])


def name_of_this_machine() -> str:
    """Return a name that leads here, and does not say so."""
    for name in ("ip6-localhost", "localhost.localdomain", socket.gethostname()):
        try:
            found = [str(address[0]) for *_, address in socket.getaddrinfo(name, 80)]
        except OSError:
            continue
        if not any(is_public(ip_address(address)) for address in found):
            return name
    pytest.skip("this machine has no name but localhost")


def error_of(job: Job) -> tuple[str, str]:
    assert job.error is not None
    return job.error.code, job.error.message


def logs(up: Up) -> str:
    return "".join(path.read_text() for path in (up.data_dir / "logs").iterdir())


def test_a_picture_by_url_is_looked_at(inside: Up, photos: dict[str, Path]) -> None:
    with sink(reply(200, photos["red"].read_bytes())) as server, inside.client() as client:
        job = client.run("caption", images=[server.url], timeout=30)

    assert job.succeeded
    assert job.result is not None
    assert "red" in job.result["text"]


def test_a_picture_by_url_from_the_shell(inside: Up, photos: dict[str, Path]) -> None:
    with sink(reply(200, photos["blue"].read_bytes())) as server:
        done = inside.command("submit", "caption", "--image", server.url, "--wait")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "blue" in done.stdout


def test_a_film_by_url_is_watched(inside: Up) -> None:
    content = film([scene(40)] * 30 + [scene(200)] * 30)
    with sink(reply(200, content)) as server, inside.client() as client:
        job = client.run("video", videos=[server.url], timeout=60)

    assert job.succeeded
    assert job.result is not None
    assert [shot["start_s"] for shot in job.result["shots"]] == [0.0, 1.2]


def test_a_server_that_fails_once_is_asked_again(inside: Up, photos: dict[str, Path]) -> None:
    answers = reply(503), reply(200, photos["red"].read_bytes())
    with sink(*answers) as server, inside.client() as client:
        job = client.run("caption", images=[server.url], timeout=30)

    assert (job.succeeded, job.attempt) == (True, 2)


def test_a_url_that_is_not_there_fails_its_job_under_its_code(inside: Up) -> None:
    with sink(reply(404)) as server, inside.client() as client:
        job = client.run("caption", images=[server.url], timeout=30)

    words = f"http://127.0.0.1:{server.port}/...: the server answers 404"
    assert (error_of(job), job.attempt) == (("url_refused", words), 1)


def test_no_log_shows_what_a_url_asks_for(inside: Up) -> None:
    with sink(reply(404), reply(503)) as server, inside.client() as client:
        assert not client.run("caption", images=[server.url], timeout=30).succeeded
        job = client.submit("caption", images=[server.url])
        eventually(lambda: str(server.port) in logs(inside))
        client.cancel(job.id)

    assert "s3cret" not in logs(inside)


def test_nothing_is_fetched_from_inside_where_that_is_not_allowed(start: Callable[..., Up]) -> None:
    """The port is one that may be called: only where the name leads is wrong."""
    name = name_of_this_machine()
    with sink() as server:
        ports = {"ICONOTEXT_URL_INPUTS": "true", "ICONOTEXT_URL_PORTS": str(server.port)}
        with start(**ports).wait_until_ready().client() as client:
            with pytest.raises(RequestRefused) as at_the_door:
                client.submit("caption", images=[server.url])
            job = client.run("caption", images=[f"http://{name}:{server.port}/a.png"], timeout=30)

    assert at_the_door.value.code == "url_refused"
    code, message = error_of(job)
    assert (code, "not of the public internet" in message) == ("url_refused", True)
    assert server.received == []


def test_urls_are_off_unless_the_operator_turns_them_on(up: Up) -> None:
    with up.client() as client, pytest.raises(RequestRefused, match="off here") as refused:
        client.submit("caption", images=["https://photos.example/a.png"])

    assert refused.value.code == "url_refused"
