"""Our heat is that of the authors' method, written out plainly over transformers' own networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from shared.errors import BadConfiguration
from tests.parity.tiny_encoders import SIDE, tiny_clip, tiny_siglip
from tests.parity.tiny_weights import noisy
from worker.models import attention_explainer, clip, siglip
from worker.models.attention_explainer import AttentionExplainer
from worker.models.capabilities import Explainer, ExplanationRequest, ModelCard, Pixels
from worker.models.fake import FakeJointEncoder, Pace
from worker.models.runtimes.network import Place
from worker.models.sources import Source
from worker.models.towers import Towers

CLOSE = 1e-4
CARD = ModelCard(id="tiny", revision="1", grade="test", licence="none", device="cpu", dtype="")
PICTURES = noisy(SIDE, 3)
TEXTS = ["a cat on a red chair", "x", "two boats " * 60]
REQUESTS = [ExplanationRequest(image, text) for image, text in zip(PICTURES, TEXTS, strict=True)]
KINDS: dict[str, tuple[Callable[[Path], None], Callable[[Source], Towers]]] = {
    "clip": (tiny_clip, clip.load),
    "siglip": (tiny_siglip, siglip.load),
}


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explainer") / str(request.param)
    KINDS[folder.name][0](folder)
    return folder


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Towers:
    return KINDS[folder.name][1](source("JointEncoder", folder))


@pytest.fixture(scope="module")
def explainer(folder: Path, encoder: Towers) -> AttentionExplainer:
    return attention_explainer.load(source("Explainer", folder, JointEncoder=encoder))


def source(capability: str, folder: Path, **over: Any) -> Source:
    place = Place(device="cpu", threads=1, cache_dir=folder)
    return Source(capability=capability, card=CARD, weights=None, folder=folder, over=over, place=place)


def by_the_book(folder: Path, image: Pixels, text: str) -> tuple[float, NDArray[Any]]:
    """Return the cosine, and the relevance of each patch, from 0 to 1."""
    network: Any = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    pixels = AutoImageProcessor.from_pretrained(folder)(images=image, return_tensors="pt").pixel_values
    padding = "max_length" if folder.name == "siglip" else True
    length = network.config.text_config.max_position_embeddings
    ids = AutoTokenizer.from_pretrained(folder)(
        text, padding=padding, max_length=length, truncation=True, return_tensors="pt"
    ).input_ids
    said = network.get_text_features(input_ids=ids).pooler_output
    seen = network.vision_model(pixel_values=pixels, output_attentions=True)
    if folder.name == "siglip":
        shown, pooling = pooled_head_by_head(network.vision_model.head, seen.last_hidden_state)
        torch.testing.assert_close(shown, seen.pooler_output)
    else:
        shown, pooling = network.visual_projection(seen.pooler_output), []
    cosine = torch.nn.functional.cosine_similarity(shown, said)[0]
    logit = cosine * network.logit_scale.exp()
    tokens = seen.last_hidden_state.shape[1]
    relevance = torch.eye(tokens)
    for attention in seen.attentions:
        (gradient,) = torch.autograd.grad(logit, attention, retain_graph=True)
        relevance += (gradient * attention)[0].clamp(min=0).mean(dim=0) @ relevance
    if pooling:
        gradients = torch.autograd.grad(logit, pooling)
        counted = [(gradient * part).clamp(min=0) for gradient, part in zip(gradients, pooling, strict=True)]
        patches = (torch.stack(counted).mean(dim=0) @ relevance)[0]
    else:
        patches = relevance[0, 1:]
    patches = (patches - patches.min()) / (patches.max() - patches.min())
    side = SIDE // network.config.vision_config.patch_size
    return cosine.item(), patches.detach().numpy().reshape(side, side)


def pooled_head_by_head(head: Any, tokens: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return what SigLIP's pooling head returns, and the attention of each of its heads, (1, tokens)."""
    attention = head.attention
    size = attention.head_dim
    projected = [
        given[0] @ weight.T + bias
        for given, weight, bias in zip(
            (head.probe, tokens, tokens),
            attention.in_proj_weight.chunk(3),
            attention.in_proj_bias.chunk(3),
            strict=True,
        )
    ]
    shares, parts = [], []
    for first in range(0, attention.num_heads * size, size):
        query, key, value = (one[:, first : first + size] for one in projected)
        shares.append((query @ key.T / size**0.5).softmax(dim=-1))
        parts.append(shares[-1] @ value)
    mixed = attention.out_proj(torch.cat(parts, dim=-1))
    return mixed + head.mlp(head.layernorm(mixed)), shares


def test_a_batch_has_the_scores_and_the_heat_of_the_plain_method(
    folder: Path, explainer: AttentionExplainer
) -> None:
    answers = explainer.explain(REQUESTS)

    for request, answer in zip(REQUESTS, answers, strict=True):
        score, heat = by_the_book(folder, request.image, request.text)
        assert answer.score == pytest.approx(score, abs=CLOSE)
        np.testing.assert_allclose(answer.heat, heat, atol=CLOSE)
        assert answer.heat.dtype == np.float32
        assert (answer.heat.min(), answer.heat.max()) == (0, 1)


def test_a_pair_is_explained_alone_as_in_a_batch(explainer: AttentionExplainer) -> None:
    for request, together in zip(REQUESTS, explainer.explain(REQUESTS), strict=True):
        (alone,) = explainer.explain([request])
        assert alone.score == pytest.approx(together.score, abs=CLOSE)
        np.testing.assert_allclose(alone.heat, together.heat, atol=CLOSE)
        assert [word for word, _ in alone.tokens] == [word for word, _ in together.tokens]
        weights = [[weight for _, weight in one.tokens] for one in (alone, together)]
        np.testing.assert_allclose(*weights, atol=CLOSE)


def test_another_text_is_elsewhere_in_the_same_picture(explainer: AttentionExplainer) -> None:
    requests = [ExplanationRequest(PICTURES[0], text) for text in ("a cat", "the sea at night")]

    cat, sea = explainer.explain(requests)

    assert np.abs(cat.heat - sea.heat).max() > 0.05


def test_a_word_weighs_what_the_score_loses_without_it(explainer: AttentionExplainer) -> None:
    text = "a cat on a red chair"
    (whole,) = explainer.explain([ExplanationRequest(PICTURES[0], text)])
    (without,) = explainer.explain([ExplanationRequest(PICTURES[0], "a cat on a chair")])

    assert [word for word, _ in whole.tokens] == text.split()
    assert whole.tokens[4][1] == pytest.approx(whole.score - without.score, abs=CLOSE)
    assert len({round(weight, 5) for _, weight in whole.tokens}) > 1


def test_words_beyond_what_the_encoder_reads_weigh_nothing(explainer: AttentionExplainer) -> None:
    (answer,) = explainer.explain([ExplanationRequest(PICTURES[0], "word " * 300)])

    assert len(answer.tokens) == 300
    assert all(weight == 0 for _, weight in answer.tokens[100:])


def test_the_encoder_below_keeps_its_fast_kernel_and_learns_nothing(
    encoder: Towers, explainer: AttentionExplainer
) -> None:
    before = encoder.encode_images(PICTURES)
    explainer.explain(REQUESTS)

    for first, second in zip(before, encoder.encode_images(PICTURES), strict=True):
        np.testing.assert_array_equal(first.pooled, second.pooled)
    assert encoder.network.config.vision_config._attn_implementation == "sdpa"
    assert not any(parameter.requires_grad for parameter in encoder.network.parameters())


def test_the_weights_are_held_once(encoder: Towers, explainer: AttentionExplainer) -> None:
    theirs = {one.data_ptr() for one in encoder.network.parameters()}

    assert {one.data_ptr() for one in explainer._vision.parameters()} <= theirs


def test_its_view_is_the_whole_picture(explainer: AttentionExplainer) -> None:
    assert isinstance(explainer, Explainer)
    assert explainer.view.fit == "stretch"
    assert explainer.explain([]) == []
    explainer.warm_up()


def test_an_encoder_without_gradients_is_a_wrong_pairing(tmp_path: Path) -> None:
    blind = FakeJointEncoder(CARD, Pace())

    with pytest.raises(BadConfiguration, match="CLIP or a SigLIP"):
        attention_explainer.load(source("Explainer", tmp_path, JointEncoder=blind))
