"""Repositories of the hub: taken from the local cache, pulled when somebody asks, refused in clear words."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import save
from structlog.testing import capture_logs

from shared.errors import ModelUnavailable
from shared.manifests import Entry, Manifest
from worker.models.hub import cached_snapshot, pull, unreachable
from worker.models.pulling import pull_missing

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = save({"weight": np.ones(3, dtype=np.float32)})
FILES = {
    "config.json": b"{}",
    "model.safetensors": WEIGHTS,
    "tokenizer/vocab.txt": b"a",
    "half/model.fp16.safetensors": WEIGHTS,
    "pytorch_model.bin": b"a pickle",
    "modeling.py": b"code",
}


@dataclass
class Hub:
    """A hub with one repository, on loopback."""

    #: The status of every answer about the repository, with the hub's own word for what is wrong.
    refusal: tuple[int, str] | None = None
    served: list[str] = field(default_factory=list)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body."""
        if not path.strip("/"):
            return 200, {}, b""
        if self.refusal is not None:
            return self.refusal[0], {"X-Error-Code": self.refusal[1]}, b"{}"
        if path.startswith(f"/api/models/a/b/tree/{COMMIT}"):
            files = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}  # noqa: S324  # git's
                for name, content in FILES.items()
            ]
            return 200, {"Content-Type": "application/json"}, json.dumps(files).encode()
        name = path.removeprefix(f"/a/b/resolve/{COMMIT}/")
        if name not in FILES:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        self.served.append(name)
        etag = hashlib.sha256(FILES[name]).hexdigest()
        return 200, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, FILES[name]


def ask(endpoint: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client know this hub alone."""
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Return a hub that the client asks, with an empty cache."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = hub.answer(self.path.partition("?")[0])
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        ask(f"http://127.0.0.1:{server.server_port}", tmp_path / "cache", monkeypatch)
        yield hub
        server.shutdown()


def entry(**fields: Any) -> Entry:
    """Return an entry for the repository."""
    known = {"backend": "fake", "id": "a/b", "architecture": "x", "licence": "MIT", "grade": "test"}
    return Entry.model_validate({**known, "hub": "a/b", "revision": COMMIT, **fields})


def manifest(**entries: Entry) -> Manifest:
    return Manifest(name="own", summary="x", models=entries)


def test_nothing_is_downloaded_unless_somebody_asks(hub: Hub) -> None:
    with pytest.raises(ModelUnavailable, match=r"a/b at commit 0123456789ab .* `iconotext models pull`"):
        cached_snapshot(entry())

    assert hub.served == []


def test_what_was_pulled_is_found_without_the_hub(hub: Hub) -> None:
    folder = pull(entry())
    hub.refusal = (500, "")

    assert cached_snapshot(entry()) == folder
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_neither_code_nor_pickles_nor_what_is_left_out_are_downloaded(hub: Hub) -> None:
    folder = pull(entry(leave_out=["*.fp16.safetensors"]))

    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {"config.json", "model.safetensors", "tokenizer/vocab.txt"}
    assert set(hub.served) == found


def test_a_download_that_broke_off_is_not_whole(hub: Hub) -> None:
    folder = pull(entry())
    (folder / "model.safetensors").resolve().unlink()

    with pytest.raises(ModelUnavailable, match=r"`iconotext models pull`"):
        cached_snapshot(entry(leave_out=["half/*"]))


def test_a_file_that_the_manifest_names_must_be_there(hub: Hub) -> None:
    pull(entry())

    with pytest.raises(ModelUnavailable, match=r"lacks other\.safetensors; `iconotext models pull`"):
        cached_snapshot(entry(files={"other.safetensors": "0" * 64}))


@pytest.mark.parametrize(
    ("refusal", "advice"),
    [
        ((401, "GatedRepo"), r"is gated: accept its terms .* HF_TOKEN"),
        ((404, "RepoNotFound"), r"the hub has no a/b, or it is private: HF_TOKEN"),
        ((404, "RevisionNotFound"), rf"a/b has no commit {COMMIT}; correct the manifest"),
        ((403, ""), r"cannot be pulled: .*; try again, set HF_ENDPOINT"),
    ],
)
def test_a_hub_that_refuses_is_explained(hub: Hub, refusal: tuple[int, str], advice: str) -> None:
    hub.refusal = refusal

    with pytest.raises(ModelUnavailable, match=advice):
        pull(entry())


def test_a_hub_that_answers_is_reachable(hub: Hub) -> None:
    assert unreachable() is None


def test_a_hub_out_of_reach_is_asked_once_for_all_models(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ask("http://127.0.0.1:9", tmp_path, monkeypatch)

    with capture_logs() as logs:
        failures = pull_missing(manifest(A=entry(), B=entry()))

    assert list(failures) == ["A", "B"]
    assert "the hub at http://127.0.0.1:9 cannot be reached: " in failures["A"]
    assert "set HF_ENDPOINT to a mirror, or name a folder in a manifest of your own" in failures["A"]
    assert [log["event"] for log in logs] == ["cannot pull"]


def test_offline_the_hub_is_not_asked_at_all(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    assert "HF_HUB_OFFLINE forbids" in str(unreachable())


def test_only_what_is_missing_in_the_own_pools_is_pulled(hub: Hub) -> None:
    pull(entry(leave_out=["half/*"]))
    hub.served.clear()
    here, elsewhere = entry(leave_out=["half/*"]), entry(pool="gpu", revision="f" * 40)

    assert pull_missing(manifest(A=here, B=elsewhere), pools=["default"]) == {}
    assert hub.served == []


def test_one_that_cannot_be_had_keeps_no_other_from_being_pulled(hub: Hub) -> None:
    with capture_logs():
        failures = pull_missing(manifest(A=entry(hub="not/here"), B=entry()))

    assert list(failures) == ["A"]
    assert cached_snapshot(entry()).is_dir()
