from __future__ import annotations

import base64
import multiprocessing
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from shared.errors import BadConfiguration
from shared.settings import SharedSettings
from shared.signing import Signer, signer_of

MASTER = "m" * 32


def _settings(folder: Path, secret: str = "") -> SharedSettings:
    return SharedSettings.model_validate({"data_dir": folder, "secret": secret})


def test_a_secret_is_one_of_standard_webhooks() -> None:
    secret = Signer(b"master").secret("wh_1", 1)

    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert Webhook(secret).sign("msg_1", datetime(2026, 1, 1, tzinfo=UTC), "{}").startswith("v1,")


def test_each_endpoint_rotation_and_service_has_its_own() -> None:
    secrets = {
        Signer(master).secret(name, rotation)
        for master in (b"one", b"two")
        for name in ("wh_1", "wh_2", "tenant:acme")
        for rotation in (1, 2, 12)
    }

    assert len(secrets) == 18
    assert Signer(b"one").secret("wh_1", 1) in secrets


def test_the_secret_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"

    first = signer_of(_settings(folder)).secret("wh_1", 1)

    assert signer_of(_settings(folder)).secret("wh_1", 1) == first
    assert signer_of(_settings(tmp_path / "other")).secret("wh_1", 1) != first
    assert stat.S_IMODE((folder / "secret").stat().st_mode) == 0o600
    assert len((folder / "secret").read_text()) >= 32
    assert [file.name for file in folder.iterdir()] == ["secret"]


def _first(folder: str) -> str:
    return signer_of(_settings(Path(folder))).secret("wh_1", 1)


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert len(set(pool.map(_first, [str(tmp_path)] * 16))) == 1


def test_a_given_secret_goes_before_the_file(tmp_path: Path) -> None:
    given = signer_of(_settings(tmp_path, MASTER)).secret("wh_1", 1)

    assert given == Signer(MASTER.encode()).secret("wh_1", 1)
    assert not (tmp_path / "secret").exists()


def test_a_short_secret_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="ICONOTEXT_SECRET has fewer than 32"):
        signer_of(_settings(tmp_path, "short"))


def test_a_folder_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(BadConfiguration, match="set ICONOTEXT_SECRET"):
        signer_of(_settings(tmp_path / "file"))


def test_a_secret_is_not_shown(tmp_path: Path) -> None:
    assert MASTER not in repr(_settings(tmp_path, MASTER))
