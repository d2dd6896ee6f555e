"""How much more fits on the disks that are this machine's."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.blobs import BlobStore
from shared.database import Database
from shared.errors import BlobsUnavailable, StoreUnavailable


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list that fills with the folders that the disk was asked about; 42 bytes are free."""
    asked: list[Path] = []

    class Usage:
        free = 42

    def usage(path: Path) -> Usage:
        assert path.is_dir()
        asked.append(path)
        return Usage()

    monkeypatch.setattr(shutil, "disk_usage", usage)
    return asked


def test_a_local_store_tells_what_is_free_where_its_first_file_will_be(
    tmp_path: Path, disk: list[Path]
) -> None:
    root = tmp_path / "blobs" / "here"
    store = BlobStore(root.as_uri())

    assert store.free_bytes() == 42
    store.put(b"a")
    assert store.free_bytes() == 42
    assert disk == [tmp_path, root]


def test_sqlite_tells_what_is_free_beside_its_file(tmp_path: Path, disk: list[Path]) -> None:
    database = Database(f"sqlite:///{tmp_path / 'data' / 'jobs.db'}")

    assert database.free_bytes() == 42
    assert disk == [tmp_path / "data"]
    database.close()


def test_what_is_elsewhere_is_not_asked(disk: list[Path]) -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/none")

    assert BlobStore("memory://blobs").free_bytes() is None
    assert database.free_bytes() is None
    assert disk == []
    database.close()


def test_a_disk_that_does_not_answer_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(shutil, "disk_usage", fail)
    database = Database(f"sqlite:///{tmp_path / 'jobs.db'}")
    asks: list[tuple[Callable[[], int | None], type[Exception]]] = [
        (BlobStore(tmp_path.as_uri()).free_bytes, BlobsUnavailable),
        (database.free_bytes, StoreUnavailable),
    ]

    for ask, kind in asks:
        with pytest.raises(kind, match="Stale file handle"):
            ask()
    database.close()
