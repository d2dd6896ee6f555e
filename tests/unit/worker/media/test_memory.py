"""Memory that two processes share, one of which may be hostile."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

import pytest

from worker.media.memory import Memory, new_descriptor

CAPACITY = 16 * 2**20


@pytest.fixture
def descriptor() -> Iterator[int]:
    made = new_descriptor(CAPACITY)
    yield made
    os.close(made)


@pytest.fixture
def sides(descriptor: int) -> Iterator[tuple[Memory, Memory]]:
    one, other = Memory(descriptor, CAPACITY), Memory(descriptor, CAPACITY)
    yield one, other
    one.close()
    other.close()


def test_what_one_side_lays_down_the_other_takes(sides: tuple[Memory, Memory]) -> None:
    sides[0].put(b"a file")
    assert sides[1].take(6) == b"a file"
    sides[1].put(b"pixels!")
    taken = bytearray(7)
    sides[0].take_into(memoryview(taken))
    assert taken == b"pixels!"


@pytest.mark.parametrize("size", [0, CAPACITY - mmap.PAGESIZE, CAPACITY + mmap.PAGESIZE])
def test_nobody_can_change_its_size(descriptor: int, size: int) -> None:
    """Cut short by a hostile child, it would end the parent with SIGBUS."""
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, size)


def test_it_takes_room_only_when_it_is_used(descriptor: int) -> None:
    assert os.fstat(descriptor).st_blocks == 0


def test_what_an_unusual_picture_used_is_given_back(descriptor: int, sides: tuple[Memory, Memory]) -> None:
    sides[0].put(b"x" * CAPACITY)
    assert os.fstat(descriptor).st_blocks * 512 == CAPACITY
    sides[0].trim(CAPACITY)
    assert os.fstat(descriptor).st_blocks * 512 == CAPACITY // 4
    sides[0].put(b"y" * CAPACITY)
    assert sides[1].take(CAPACITY) == b"y" * CAPACITY


def test_a_usual_picture_keeps_its_room(descriptor: int, sides: tuple[Memory, Memory]) -> None:
    sides[0].put(b"x" * 2**20)
    sides[0].trim(2**20)
    assert os.fstat(descriptor).st_blocks * 512 == 2**20


def test_a_size_that_it_has_not_is_refused(descriptor: int) -> None:
    with pytest.raises((OSError, ValueError)):
        Memory(descriptor, CAPACITY + 1)
