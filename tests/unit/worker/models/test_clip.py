"""The CLIP backend computes what plain transformers calls compute, alone and in a batch."""

from __future__ import annotations

import copy
import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPImageProcessor, CLIPModel

from shared.errors import BadConfiguration, ModelFailed, ModelUnavailable
from worker.engine.items import bucket, is_padded
from worker.models import clip, clip_seeded
from worker.models.capabilities import CAPABILITIES, ImageEncoder, JointEncoder, ModelCard, TextEncoder
from worker.models.clip import Clip
from worker.models.runtimes.network import Place
from worker.models.sources import Source

TINY: dict[str, Any] = {
    "text": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 6000,
    },
    "vision": {
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 64,
        "patch_size": 16,
    },
    "projection_dim": 24,
}
TEXTS = [
    "a photo of a cat",
    "x",
    "",
    "a cup of coffee on a wooden table, seen from above " * 20,
    "Ein Kätzchen schläft, 猫が寝ている, 🐈",
    "A Photo Of A Cat",
    "word " * 5000,
    "tiger shark, hammerhead and a great white shark",
]
TOLERANCE = 1e-4
CARD = ModelCard(id="tiny", revision="1", grade="test", licence="none", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return clip_seeded.tokenizer()


@pytest.fixture(scope="module")
def config(tokenizer: Any) -> Any:
    return clip_seeded.vit_b_32(tokenizer, **TINY)


@pytest.fixture(scope="module")
def encoder(config: Any, tokenizer: Any) -> Clip:
    return clip.from_config(config, tokenizer, "cpu", torch.float32, seed=7)


@pytest.fixture(scope="module")
def plain(encoder: Clip, config: Any) -> CLIPModel:
    """The same weights, called as the model's documentation says, with the attention written out."""
    model = CLIPModel._from_config(copy.deepcopy(config), attn_implementation="eager").eval()
    model.load_state_dict(encoder._network.state_dict())
    return model


def source(cache: Path = Path(), **given: Any) -> Source:
    place = Place(device="cpu", threads=1, cache_dir=cache)
    return Source(
        **{"capability": "ImageEncoder", "card": CARD, "weights": None, "over": {}, "place": place, **given}
    )


def pictures(count: int) -> list[Any]:
    random = np.random.default_rng(5)
    return [random.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(count)]


def pixel_values(images: list[Any]) -> torch.Tensor:
    processor = CLIPImageProcessor(do_resize=False, do_center_crop=False)
    values: torch.Tensor = processor(images=images, return_tensors="pt")["pixel_values"]
    return values


@torch.inference_mode()
def text_features(plain: CLIPModel, tokenizer: Any, texts: list[str]) -> torch.Tensor:
    tokens = tokenizer(texts, padding=True, truncation=True, max_length=77, return_tensors="pt")
    return torch.nn.functional.normalize(plain.get_text_features(**tokens).pooler_output, dim=-1)


def test_it_serves_every_capability_of_a_joint_encoder(encoder: Clip) -> None:
    for kind in (TextEncoder, ImageEncoder, JointEncoder):
        assert isinstance(encoder, kind)
        assert kind in CAPABILITIES.values()


def test_texts_agree_with_plain_transformers_alone_and_in_a_batch(
    encoder: Clip, plain: CLIPModel, tokenizer: Any
) -> None:
    expected = text_features(plain, tokenizer, TEXTS)
    np.testing.assert_allclose(np.stack(encoder.embed_texts(TEXTS)), expected, atol=TOLERANCE)
    alone = [encoder.encode_texts([text])[0] for text in TEXTS]
    np.testing.assert_allclose(np.stack(alone), expected, atol=TOLERANCE)


def test_pictures_agree_with_plain_transformers_alone_and_in_a_batch(encoder: Clip, plain: CLIPModel) -> None:
    images = pictures(8)
    with torch.inference_mode():
        expected = plain.get_image_features(pixel_values=pixel_values(images)).pooler_output
    together = encoder.encode_images(images)
    np.testing.assert_allclose(np.stack([one.pooled for one in together]), expected, atol=TOLERANCE)
    alone = [encoder.encode_images([image])[0].pooled for image in images]
    np.testing.assert_allclose(np.stack(alone), expected, atol=TOLERANCE)


def test_probabilities_are_those_of_plain_zero_shot_classification(
    encoder: Clip, plain: CLIPModel, tokenizer: Any
) -> None:
    texts = [f"a photo of a {label}" for label in encoder.vocabulary]
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    images = pictures(3)
    with torch.inference_mode():
        logits = plain(pixel_values=pixel_values(images), **tokens).logits_per_image
    found = np.stack([one.probabilities for one in encoder.encode_images(images)])
    np.testing.assert_allclose(found, logits.softmax(dim=-1), atol=TOLERANCE)
    assert found.shape == (3, 1000)


def test_regions_are_the_projected_patch_tokens(encoder: Clip, plain: CLIPModel) -> None:
    images = pictures(2)
    with torch.inference_mode():
        states = plain.vision_model(pixel_values=pixel_values(images)).last_hidden_state
        expected = plain.visual_projection(plain.vision_model.post_layernorm(states[:, 1:]))
    found = encoder.encode_regions(images)
    for one, cells in zip(found, expected, strict=True):
        assert one.grid.shape == (4, 4, 24)
        np.testing.assert_allclose(one.grid.reshape(16, 24), cells, atol=TOLERANCE)
        np.testing.assert_allclose(one.probabilities.sum(axis=-1), 1, atol=TOLERANCE)


def test_the_joint_space_holds_texts_pictures_cells_and_labels(encoder: Clip) -> None:
    whole = encoder.project_images(encoder.encode_images(pictures(2)))
    cells = encoder.project_regions(encoder.encode_regions(pictures(2)))
    for vectors in (*whole, *cells, *encoder.embed_texts(TEXTS), encoder.vocabulary_vectors):
        assert vectors.dtype == np.float32
        assert vectors.shape[-1] == encoder.dim == 24
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, atol=TOLERANCE)
    assert encoder.vocabulary_vectors.shape == (1000, 24)


@pytest.mark.parametrize(
    "operation", ["encode_texts", "embed_texts", "encode_images", "encode_regions", "project_images"]
)
def test_of_nothing_comes_nothing(encoder: Clip, operation: str) -> None:
    assert list(getattr(encoder, operation)([])) == []


def test_texts_may_be_prepared_in_other_threads(encoder: Clip) -> None:
    expected = np.stack(encoder.embed_texts(TEXTS))
    with ThreadPoolExecutor(8) as threads:
        prepared = list(threads.map(lambda _: encoder.prepare("embed_texts", TEXTS), range(50)))
    for items in prepared:
        assert len(items) == len(TEXTS)
        assert all(is_padded(item) for item in items)
        assert len({bucket(item) for item in items}) == 1
    np.testing.assert_array_equal(np.stack(encoder.embed_texts(prepared[-1])), expected)


def test_pictures_need_no_preparation(encoder: Clip) -> None:
    images = pictures(2)
    assert encoder.prepare("encode_images", images) is images


@pytest.mark.parametrize("text", ["a" * 1_000_000, " " * 1_000_000, "a " * 500_000])
@pytest.mark.timeout(20)
def test_a_huge_text_takes_no_time(encoder: Clip, text: str) -> None:
    assert len(encoder.prepare("embed_texts", [text])[0]) <= 77


def test_the_same_seed_gives_the_same_weights(encoder: Clip, config: Any, tokenizer: Any) -> None:
    again, other = (clip.from_config(config, tokenizer, "cpu", seed=seed) for seed in (7, 8))
    assert np.array_equal(again.embed_texts(["a cat"]), encoder.embed_texts(["a cat"]))
    assert not np.allclose(other.embed_texts(["a cat"]), encoder.embed_texts(["a cat"]))


def test_half_precision_stays_close_and_says_so(config: Any, tokenizer: Any, encoder: Clip) -> None:
    half = clip.from_config(config, tokenizer, "cpu", torch.bfloat16, seed=7)
    assert (half.card.dtype, encoder.card.dtype) == ("bfloat16", "float32")
    found, expected = (np.stack(one.embed_texts(TEXTS)) for one in (half, encoder))
    assert found.dtype == np.float32
    assert (found * expected).sum(axis=-1).min() > 0.999


def test_weights_that_are_no_numbers_answer_nothing(config: Any, tokenizer: Any) -> None:
    broken = clip.from_config(config, tokenizer, "cpu", seed=7)
    broken._network.visual_projection.weight.fill_(float("nan"))
    with pytest.raises(ModelFailed, match="not finite"):
        broken.encode_images(pictures(1))


def test_attention_is_sdpa_and_nothing_is_trained(encoder: Clip) -> None:
    network = encoder._network
    assert network.vision_model.config._attn_implementation == "sdpa"
    assert network.text_model.config._attn_implementation == "sdpa"
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_it_warms_up_and_leaves_batch_sizes_on_a_cpu_to_the_engine(encoder: Clip) -> None:
    encoder.warm_up()
    assert encoder.batch_limits == {}


def checkpoint(folder: Path, encoder: Clip, config: Any, tokenizer: Any) -> Source:
    """A folder as transformers saves one."""
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 80}, crop_size=64, image_mean=[0.5] * 3).save_pretrained(folder)
    state = {name: tensor.contiguous() for name, tensor in encoder._network.state_dict().items()}
    # As checkpoints of older versions have it.
    state["text_model.embeddings.position_ids"] = torch.arange(77).expand(1, -1).contiguous()
    save_file(state, folder / "model.safetensors")
    return source(folder, weights=folder / "model.safetensors")


def test_a_saved_checkpoint_is_loaded_as_it_was_saved(
    tmp_path: Path, encoder: Clip, config: Any, tokenizer: Any
) -> None:
    found = clip.load(checkpoint(tmp_path, encoder, config, tokenizer))
    assert found.card == CARD
    np.testing.assert_allclose(found.embed_texts(TEXTS), encoder.embed_texts(TEXTS), atol=1e-6)
    assert (found.view.width, found.view.crop_fraction) == (64, 0.8)
    assert (found.region_view.fit, found.region_view.crop_fraction) == ("stretch", 1.0)
    grey = [np.full((64, 64, 3), 128, np.uint8)]
    assert not np.allclose(found.encode_images(grey)[0].pooled, encoder.encode_images(grey)[0].pooled)


def test_a_checkpoint_of_a_folder_is_loaded_as_that_of_its_weights(
    tmp_path: Path, encoder: Clip, config: Any, tokenizer: Any
) -> None:
    checkpoint(tmp_path, encoder, config, tokenizer)
    found = clip.load(source(folder=tmp_path, dtype="bfloat16"))
    assert found.card.dtype == "bfloat16"
    cosines = (np.stack(found.embed_texts(TEXTS)) * np.stack(encoder.embed_texts(TEXTS))).sum(axis=-1)
    assert cosines.min() > 0.999


def test_a_checkpoint_with_a_weight_too_few_is_refused(
    tmp_path: Path, encoder: Clip, config: Any, tokenizer: Any
) -> None:
    saved = checkpoint(tmp_path, encoder, config, tokenizer)
    state = {"logit_scale": torch.tensor(1.0)}
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ModelUnavailable, match="missing"):
        clip.load(saved)


@pytest.mark.parametrize("backend", [clip, clip_seeded])
def test_capabilities_over_one_another_share_one_set_of_weights(backend: Any, encoder: Clip) -> None:
    over = source(capability="JointEncoder", over={"ImageEncoder": encoder})
    assert backend.load(over) is encoder


def test_random_weights_never_pass_for_real_ones() -> None:
    card = dataclasses.replace(CARD, grade="full")
    with pytest.raises(BadConfiguration, match="must be test"):
        clip_seeded.load(source(card=card, options=TINY))


def test_a_manifest_may_give_a_seeded_one_other_sizes() -> None:
    found = clip_seeded.load(source(options=TINY))
    assert (found.dim, found.card.id) == (24, "tiny")
