"""The commands that work on the service's database say so when they cannot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from client.errors import RequestRefused, StackFailed
from client.store import opened_store


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICONOTEXT_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("ICONOTEXT_DATABASE_URL", raising=False)


def test_an_empty_database_is_brought_up_to_date_and_opened(tmp_path: Path) -> None:
    with opened_store() as store:
        assert store.keys() == []
    assert list(tmp_path.glob("*.db"))


def test_what_does_not_exist_is_a_refusal() -> None:
    from shared.keys import KeyId

    with pytest.raises(RequestRefused, match="there is no key") as refused, opened_store() as store:
        store.revoke_key(KeyId("0" * 16))
    assert refused.value.code


@pytest.mark.parametrize("url", ["sqlite:///{}/file/jobs.db", "postgresql+psycopg://u:s3cret@127.0.0.1:9/x"])
def test_a_database_out_of_reach_is_said_without_its_password(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ICONOTEXT_DATABASE_URL", url.format(tmp_path))

    with pytest.raises(StackFailed) as failed, opened_store():
        pass

    assert str(failed.value)
    assert "s3cret" not in str(failed.value)


def test_a_setting_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICONOTEXT_LEASE", "soon")
    with pytest.raises(StackFailed, match="ICONOTEXT_LEASE"), opened_store():
        pass


def test_without_the_service_it_says_what_to_install() -> None:
    block = "import sys; sys.modules.update(dict.fromkeys(('shared', 'sqlalchemy'))); "
    call = "sys.argv[1:] = ['keys', 'list']; from client.cli import main; main()"

    done = subprocess.run(
        [sys.executable, "-c", block + call], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 1
    assert "pip install 'iconotext[all]'" in done.stderr
    assert "Traceback" not in done.stderr
