"""What a job made becomes files inside the folder that was named, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from client import Client, Job, RequestRefused
from client.saving import safe_name
from tests.unit.client.fake_service import FakeService


def job_with(*artifacts: tuple[str, str], job_id: str = "job_1") -> Job:
    made: list[dict[str, Any]] = [
        {"name": name, "media_type": media_type, "href": f"/v1/jobs/job_1/artifacts/{number}"}
        for number, (name, media_type) in enumerate(artifacts)
    ]
    return Job.model_validate(
        {"id": job_id, "task": "t", "status": "succeeded", "version": 2, "artifacts": made}
    )


def answers(service: FakeService, count: int) -> None:
    service.script = [httpx.Response(200, content=b"content %d" % number) for number in range(count)]


def test_a_job_is_saved_with_its_artifacts(client: Client, service: FakeService, tmp_path: Path) -> None:
    answers(service, 2)
    saved = client.save(
        job_with(("heatmap", "image/png"), ("report.html", "text/html")), tmp_path / "a" / "b"
    )

    assert [path.name for path in saved] == ["job_1.json", "heatmap.png", "report.html"]
    assert [path.read_bytes() for path in saved[1:]] == [b"content 0", b"content 1"]
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == sorted(
        path.name for path in saved
    )


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("../heat.png", "heat.png"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\heat.png", "heat.png"),
        ("a/../..", "artifact"),
        ("..", "artifact"),
        ("", "artifact"),
        (".bashrc", "bashrc"),
        ("C:heat.png", "C_heat.png"),
        ("a\0b\n.png", "a_b_.png"),
        ("x" * 400 + ".png", "x" * 50 + ".png"),
        ("😀" * 400, "😀" * 50),
        ("ok name.png", "ok name.png"),
    ],
)
def test_no_name_leads_out_of_the_folder(name: str, file: str) -> None:
    assert safe_name(name) == file


def test_artifacts_of_one_name_are_all_saved(client: Client, service: FakeService, tmp_path: Path) -> None:
    answers(service, 4)
    names = [
        ("a.png", "image/png"),
        ("x/A.png", "image/png"),
        ("a", "image/png"),
        ("job_1.json", "text/plain"),
    ]

    saved = client.save(job_with(*names), tmp_path)

    assert [path.name for path in saved[1:]] == ["a.png", "A-2.png", "a-3.png", "job_1-2.json"]
    assert len({path.read_bytes() for path in saved}) == 5


def test_a_hostile_id_stays_inside_too(client: Client, tmp_path: Path) -> None:
    [saved] = client.save(job_with(job_id="../../evil"), tmp_path / "out")
    assert saved == tmp_path / "out" / "evil.json"


def test_a_link_in_the_way_is_replaced_not_followed(
    client: Client, service: FakeService, tmp_path: Path
) -> None:
    answers(service, 1)
    precious = tmp_path / "precious"
    precious.write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").symlink_to(precious)

    client.save(job_with(("a.png", "image/png")), out)

    assert precious.read_text() == "mine"
    assert (out / "a.png").read_bytes() == b"content 0"


def test_what_cannot_be_fetched_leaves_no_file(client: Client, service: FakeService, tmp_path: Path) -> None:
    service.script = [httpx.Response(404, json={"code": "not_found", "detail": "gone"})]
    with pytest.raises(RequestRefused, match="gone"):
        client.save(job_with(("a.png", "image/png")), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["job_1.json"]


def test_a_folder_that_cannot_be_written_to_is_refused(client: Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(RequestRefused, match="cannot write to") as refused:
        client.save(job_with(), tmp_path / "file")
    assert refused.value.code == "unwritable"


@pytest.mark.parametrize(
    "href", ["@evil.example/x", "https://evil.example/x", "//evil.example/x", "http://service.evil/x"]
)
def test_the_key_goes_nowhere_but_to_the_service(client: Client, service: FakeService, href: str) -> None:
    with pytest.raises(RequestRefused, match="no link of http://service"):
        client.download(href)
    assert service.requests == []


def test_a_whole_url_of_the_service_is_followed(client: Client, service: FakeService) -> None:
    service.script = [httpx.Response(200, content=b"png")]
    assert client.download("http://service/v1/jobs/job_1/artifacts/a?x=1") == b"png"
    assert service.requests[0].url.query == b"x=1"
