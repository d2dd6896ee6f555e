"""`iconotext keys` and `iconotext tenants` on a database of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from client.cli import app

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("ICONOTEXT_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("ICONOTEXT_DATABASE_URL", raising=False)
    return lambda *words: CliRunner().invoke(app, words)


def test_a_key_is_printed_once_and_alone(run: Run, tmp_path: Path) -> None:
    made = run("keys", "create", "ci", "--tenant", "acme", "--days", "30")

    token = made.stdout.strip()
    assert made.exit_code == 0
    assert token.startswith("ik_")
    assert "\n" not in token
    assert "not shown again" in made.stderr
    listed = run("keys", "list", "--json")
    assert token not in listed.stdout
    assert token.encode() not in b"".join(file.read_bytes() for file in tmp_path.iterdir())
    [key] = json.loads(listed.stdout)
    assert (key["id"], key["tenant"], key["name"], key["state"]) == (token[3:19], "acme", "ci", "good")
    assert key["scopes"] == ["read", "submit"]
    assert key["expires_at"] > key["created_at"]


def test_json_holds_the_new_key(run: Run) -> None:
    made = json.loads(run("keys", "create", "ci", "--json", "--scopes", "read, admin").stdout)

    assert made["key"].startswith(f"ik_{made['id']}_")
    assert made["scopes"] == ["admin", "read"]


@pytest.mark.parametrize("whole", [True, False])
def test_a_key_is_revoked_by_its_id_or_by_itself(run: Run, *, whole: bool) -> None:
    token = run("keys", "create", "ci", "--quiet").stdout.strip()

    gone = run("keys", "revoke", token if whole else token[3:19])

    assert gone.exit_code == 0
    assert "is revoked" in gone.stdout
    assert json.loads(run("keys", "list", "--json").stdout)[0]["state"] == "revoked"


def test_quiet_prints_ids_or_nothing(run: Run) -> None:
    token = run("keys", "create", "ci", "--quiet").stdout.strip()

    assert run("tenants", "set", "acme", "--queued-jobs", "5", "--quiet").stdout == ""
    assert run("tenants", "list", "--quiet").stdout == "acme\n"
    assert run("keys", "list", "--quiet").stdout == f"{token[3:19]}\n"
    assert run("keys", "revoke", token, "--quiet").stdout == ""


def test_keys_are_listed_of_one_tenant(run: Run) -> None:
    run("keys", "create", "one", "--tenant", "acme")
    run("keys", "create", "two", "--tenant", "other")

    assert [key["name"] for key in json.loads(run("keys", "list", "--tenant", "acme", "--json").stdout)] == [
        "one"
    ]
    assert all(name in run("keys", "list").stdout for name in ("one", "two", "acme", "other"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("keys", "create", "ci", "--scopes", "root"), "submit, read, admin"),
        (("keys", "create", "ci", "--scopes", ""), "submit, read, admin"),
        (("keys", "create", "ci", "--tenant", "A B"), "a tenant is named by"),
        (("keys", "revoke", "0" * 16), "there is no key"),
        (("tenants", "set", "A B"), "a tenant is named by"),
    ],
)
def test_what_cannot_be_is_refused(run: Run, words: tuple[str, ...], says: str) -> None:
    refused = run(*words)

    assert refused.exit_code == 2
    assert says in refused.stderr


def test_quotas_are_set_whole_and_listed(run: Run) -> None:
    run("tenants", "set", "acme", "--jobs-per-minute", "600", "--stored-bytes", "1000000000")
    run("tenants", "set", "acme", "--jobs-per-minute", "700")

    [listed] = json.loads(run("tenants", "list", "--json").stdout)

    assert listed == {
        "tenant": "acme",
        "requests_per_minute": None,
        "jobs_per_minute": 700,
        "queued_jobs": None,
        "stored_bytes": None,
    }
    assert "700" in run("tenants", "list").stdout
