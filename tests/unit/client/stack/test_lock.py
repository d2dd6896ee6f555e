"""One stack per data folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from client.errors import StackFailed
from client.stack.lock import DataDirLock


def test_a_second_stack_is_refused_and_told_who_has_the_folder(tmp_path: Path) -> None:
    lock = DataDirLock(tmp_path)
    with pytest.raises(StackFailed, match=rf"in use by process {os.getpid()}; .* another --data-dir"):
        DataDirLock(tmp_path, patience_s=60)
    lock.close()


def test_a_folder_is_free_after_its_stack(tmp_path: Path) -> None:
    DataDirLock(tmp_path).close()
    DataDirLock(tmp_path).close()


def test_the_rest_of_a_dead_stack_is_told_apart(tmp_path: Path) -> None:
    with (tmp_path / "up.lock").open("w") as inherited:
        fcntl.flock(inherited, fcntl.LOCK_EX)
        with pytest.raises(StackFailed, match="a former stack that is still stopping"):
            DataDirLock(tmp_path)

    DataDirLock(tmp_path).close()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackFailed, match="give another --data-dir"):
        DataDirLock(tmp_path / "file" / "data")
