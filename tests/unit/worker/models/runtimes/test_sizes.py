"""The batch size that is taken is the smallest that pays."""

from __future__ import annotations

import torch

from worker.models.runtimes.sizes import best_size, best_sizes


def test_the_best_batch_size_is_the_smallest_that_is_nearly_fastest() -> None:
    seconds = {16: 16 / 100, 32: 32 / 180, 64: 64 / 196, 128: 128 / 200}

    def measured(size: int) -> float:
        if size > 128:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return seconds[size]

    assert best_size(measured) == 64


def test_where_not_even_the_smallest_size_fits_batches_are_single() -> None:
    def refused(_size: int) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    assert best_size(refused) == 1


def test_each_method_is_measured_with_copies_of_its_item() -> None:
    class Model:
        def __init__(self) -> None:
            self.largest: dict[str, list[str]] = {}

        def read(self, texts: list[str]) -> None:
            self.largest["read"] = texts

        def look(self, pictures: list[str]) -> None:
            if len(pictures) > 32:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            self.largest["look"] = pictures

    model = Model()
    found = best_sizes(model, {"read": "a text", "look": "a picture"})
    assert model.largest == {"read": ["a text"] * 256, "look": ["a picture"] * 32}
    assert set(found) == {"read", "look"}
    assert found["look"] <= 32
