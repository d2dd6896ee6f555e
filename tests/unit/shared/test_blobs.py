"""The blob store keeps content under its own hash, whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import pytest

from shared.blobs import BlobStore
from shared.errors import BlobsUnavailable, FileTooLarge, NotFound
from shared.jobs import FileId

CONTENT = b"a picture" * 1000
NAME = FileId(hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture(params=["file", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path.as_uri() if request.param == "file" else f"memory://{tmp_path.name}")


def files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_content_comes_back_under_its_sha256(blobs: BlobStore) -> None:
    assert blobs.put(CONTENT) == NAME
    assert blobs.read(NAME) == CONTENT
    assert blobs.size(NAME) == len(CONTENT)
    assert blobs.exists(NAME)


def test_a_stream_comes_back_under_the_same_id_as_its_bytes(blobs: BlobStore) -> None:
    assert blobs.put_stream(io.BytesIO(CONTENT), limit=len(CONTENT)) == (NAME, len(CONTENT))
    with blobs.open(NAME) as reader:
        reader.seek(2)
        assert reader.read(7) == b"picture"


def test_many_contents_come_back_under_their_ids_in_order(blobs: BlobStore) -> None:
    contents = [b"%d" % number for number in range(200)]
    blobs.put(contents[7])

    files = blobs.put_many([*contents, contents[3]])

    assert [blobs.read(file) for file in files] == [*contents, contents[3]]
    assert files[-1] == files[3]
    assert blobs.put_many([]) == []


def test_new_content_and_its_name_are_on_the_disk_on_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    blobs = BlobStore(tmp_path.as_uri())
    monkeypatch.setattr(os, "fsync", record)

    blobs.put(CONTENT)

    # The bytes, before they get their name; the folder that got the name; the folder that got the folder.
    assert Path(synced[0]).parent == tmp_path / "incoming"
    assert synced[1:] == [str(tmp_path / NAME[:2]), str(tmp_path)]
    synced.clear()
    blobs.put(CONTENT)
    assert synced == []


def test_what_the_first_release_stored_is_still_found(blobs: BlobStore) -> None:
    blobs.put(CONTENT)
    former = blobs._former_path(NAME)
    blobs._fs.makedirs(former.rpartition("/")[0], exist_ok=True)
    blobs._fs.mv(blobs._path(NAME), former)

    assert blobs.exists(NAME)
    assert blobs.read(NAME) == CONTENT
    assert blobs.size(NAME) == len(CONTENT)
    with blobs.open(NAME) as reader:
        assert reader.read() == CONTENT
    assert list(blobs.names(NAME[:2])) == [NAME]
    blobs.keep([NAME])
    assert blobs.discard(NAME, unused_since=blobs.clock())
    assert not blobs.exists(NAME)


def test_equal_content_is_stored_once(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path.as_uri())
    blobs.put(CONTENT)
    blobs.put(CONTENT)
    blobs.put_stream(io.BytesIO(CONTENT), limit=10**6)
    assert len(files_under(tmp_path)) == 1


def test_a_stream_over_the_limit_leaves_nothing_behind(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path.as_uri())
    with pytest.raises(FileTooLarge, match="8,999 bytes"):
        blobs.put_stream(io.BytesIO(CONTENT), limit=len(CONTENT) - 1)
    assert files_under(tmp_path) == []


def test_a_source_that_breaks_leaves_nothing_behind(tmp_path: Path) -> None:
    class Breaking(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 0:
                raise ConnectionResetError("the caller hung up")
            return super().read(10)

    with pytest.raises(BlobsUnavailable):
        BlobStore(tmp_path.as_uri()).put_stream(Breaking(CONTENT), limit=10**6)
    assert files_under(tmp_path) == []


def test_what_is_not_there_is_not_found(blobs: BlobStore) -> None:
    absent = FileId("0" * 64)
    assert not blobs.exists(absent)
    for look in (blobs.read, blobs.open, blobs.size):
        with pytest.raises(NotFound):
            look(absent)


def test_a_folder_that_cannot_be_written_is_reported_as_unavailable(tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"a file where the folder should be")
    blobs = BlobStore((tmp_path / "taken").as_uri())
    with pytest.raises(BlobsUnavailable):
        blobs.put(CONTENT)
    with pytest.raises(BlobsUnavailable):
        blobs.ping()
