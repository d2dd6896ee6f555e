"""CLIP, SigLIP and ViT answer as plain transformers on the same weights, alone and in a batch of eight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoModelForImageClassification, AutoTokenizer

from tests.parity.tiny_encoders import LABELS, SIDE, tiny_clip, tiny_siglip, tiny_vit
from tests.parity.tiny_weights import noisy
from worker.models import clip, siglip, vit
from worker.models.capabilities import ImageEncoder, JointEncoder, ModelCard, TextEncoder
from worker.models.clip import Clip
from worker.models.conse import LinearClassifier
from worker.models.runtimes.network import Place
from worker.models.siglip import Siglip
from worker.models.sources import Source
from worker.models.vit import Vit

TOLERANCE = 1e-4
CARD = ModelCard(id="tiny", revision="1", grade="test", licence="none", device="cpu", dtype="")
TEXTS = [
    "a photo of a cat",
    "x",
    "",
    "a cup of coffee on a wooden table, seen from above " * 20,
    "Ein Kätzchen schläft, 猫が寝ている, 🐈",
    "A Photo Of A Cat",
    "bell \x07 null \x00 escape \x1b[31m",
    "tiger shark, hammerhead and a great white shark",
]
PICTURES = noisy(SIDE, 8)
LOCAL: dict[str, Any] = {"local_files_only": True}


def source(folder: Path, capability: str = "ImageEncoder") -> Source:
    place = Place(device="cpu", threads=1, cache_dir=folder)
    return Source(capability=capability, card=CARD, weights=None, folder=folder, over={}, place=place)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    tiny_clip(folder)
    return folder


@pytest.fixture(scope="module")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("siglip")
    tiny_siglip(folder)
    return folder


@pytest.fixture(scope="module")
def vit_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vit")
    tiny_vit(folder)
    return folder


@pytest.fixture(scope="module")
def served_clip(clip_folder: Path) -> Clip:
    return clip.load(source(clip_folder))


@pytest.fixture(scope="module")
def served_siglip(siglip_folder: Path) -> Siglip:
    return siglip.load(source(siglip_folder))


@pytest.fixture(scope="module")
def served_vit(vit_folder: Path) -> Vit:
    return vit.load(source(vit_folder))


def plain(folder: Path, kind: Any = AutoModel) -> Any:
    """Return the network with its attention written out."""
    return kind.from_pretrained(folder, attn_implementation="eager", **LOCAL).eval()


def pixel_values(folder: Path) -> torch.Tensor:
    processor = AutoImageProcessor.from_pretrained(folder, **LOCAL)
    values: torch.Tensor = processor(images=[Image.fromarray(one) for one in PICTURES], return_tensors="pt")
    return values["pixel_values"]


def assert_same(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.stack(found), np.asarray(expected), atol=TOLERANCE)


@torch.inference_mode()
def test_clip_reads_texts_as_transformers_does(served_clip: Clip, clip_folder: Path) -> None:
    tokens = AutoTokenizer.from_pretrained(clip_folder, **LOCAL)(
        TEXTS, padding=True, truncation=True, max_length=77, return_tensors="pt"
    )
    features = plain(clip_folder).get_text_features(**tokens).pooler_output
    expected = torch.nn.functional.normalize(features, dim=-1)
    assert_same(served_clip.encode_texts(TEXTS), expected)
    assert_same([served_clip.embed_texts([text])[0] for text in TEXTS], expected)


@torch.inference_mode()
def test_clip_sees_pictures_as_transformers_does(served_clip: Clip, clip_folder: Path) -> None:
    network, tokenizer = plain(clip_folder), AutoTokenizer.from_pretrained(clip_folder, **LOCAL)
    labels = tokenizer(
        [f"a photo of a {one}" for one in served_clip.vocabulary], padding=True, return_tensors="pt"
    )
    seen = network(pixel_values=pixel_values(clip_folder), **labels)
    together = served_clip.encode_images(PICTURES)
    alone = [served_clip.encode_images([picture])[0] for picture in PICTURES]
    for answers in (together, alone):
        assert_same(served_clip.project_images(answers), seen.image_embeds)
        assert_same([one.probabilities for one in answers], seen.logits_per_image.softmax(dim=-1))


@torch.inference_mode()
def test_clips_cells_are_its_projected_patches(served_clip: Clip, clip_folder: Path) -> None:
    network = plain(clip_folder)
    states = network.vision_model(pixel_values=pixel_values(clip_folder)).last_hidden_state[:, 1:]
    expected = network.visual_projection(network.vision_model.post_layernorm(states))
    assert_same([one.grid.reshape(16, -1) for one in served_clip.encode_regions(PICTURES)], expected)


@torch.inference_mode()
def test_siglip_reads_texts_as_transformers_does(served_siglip: Siglip, siglip_folder: Path) -> None:
    tokens = AutoTokenizer.from_pretrained(siglip_folder, **LOCAL)(
        TEXTS, padding="max_length", truncation=True, max_length=64, return_tensors="pt"
    )
    features = plain(siglip_folder).get_text_features(input_ids=tokens["input_ids"]).pooler_output
    expected = torch.nn.functional.normalize(features, dim=-1)
    assert_same(served_siglip.encode_texts(TEXTS), expected)
    assert_same([served_siglip.embed_texts([text])[0] for text in TEXTS], expected)


@torch.inference_mode()
def test_siglip_sees_pictures_as_transformers_does(served_siglip: Siglip, siglip_folder: Path) -> None:
    network, tokenizer = plain(siglip_folder), AutoTokenizer.from_pretrained(siglip_folder, **LOCAL)
    labels = [f"this is a photo of {one}." for one in served_siglip.vocabulary]
    tokens = tokenizer(labels, padding="max_length", truncation=True, max_length=64, return_tensors="pt")
    seen = network(pixel_values=pixel_values(siglip_folder), input_ids=tokens["input_ids"])
    together = served_siglip.encode_images(PICTURES)
    alone = [served_siglip.encode_images([picture])[0] for picture in PICTURES]
    for answers in (together, alone):
        assert_same(served_siglip.project_images(answers), seen.image_embeds)
        assert_same([one.probabilities for one in answers], seen.logits_per_image.softmax(dim=-1))


@torch.inference_mode()
def test_siglips_cell_is_a_picture_that_is_that_patch_all_over(
    served_siglip: Siglip, siglip_folder: Path
) -> None:
    """The pooling head over copies of one patch token answers as over that token alone."""
    vision = plain(siglip_folder).vision_model
    states = vision(pixel_values=pixel_values(siglip_folder)).last_hidden_state
    found = served_siglip.encode_regions(PICTURES)
    for cell in range(16):
        expected = vision.head(states[:, cell : cell + 1].expand(-1, 16, -1))
        assert_same([one.grid.reshape(16, -1)[cell] for one in found], expected)


@torch.inference_mode()
def test_vit_classifies_as_transformers_does(served_vit: Vit, vit_folder: Path) -> None:
    network = plain(vit_folder, AutoModelForImageClassification)
    seen = network(pixel_values=pixel_values(vit_folder), output_hidden_states=True)
    together = served_vit.encode_images(PICTURES)
    alone = [served_vit.encode_images([picture])[0] for picture in PICTURES]
    for answers in (together, alone):
        assert_same([one.probabilities for one in answers], seen.logits.softmax(dim=-1))
    logits = np.stack([one.pooled for one in together]) @ served_vit.class_weights().T
    assert_same(logits + network.classifier.bias.numpy(), seen.logits)
    assert served_vit.vocabulary == LABELS


@torch.inference_mode()
def test_vits_cells_are_its_patches_through_the_classifier(served_vit: Vit, vit_folder: Path) -> None:
    network = plain(vit_folder, AutoModelForImageClassification)
    states = network.vit(pixel_values=pixel_values(vit_folder)).last_hidden_state[:, 1:]
    found = served_vit.encode_regions(PICTURES)
    assert_same([one.grid.reshape(16, -1) for one in found], states)
    expected = network.classifier(states).softmax(dim=-1)
    assert_same([one.probabilities.reshape(16, -1) for one in found], expected)


@pytest.mark.parametrize("name", ["served_clip", "served_siglip"])
def test_one_object_serves_three_capabilities(name: str, request: pytest.FixtureRequest) -> None:
    encoder = request.getfixturevalue(name)
    for kind in (TextEncoder, ImageEncoder, JointEncoder):
        assert isinstance(encoder, kind)


def test_a_joint_space_can_be_fitted_on_vit(served_vit: Vit) -> None:
    assert isinstance(served_vit, LinearClassifier)
    assert served_vit.class_weights().shape == (12, 32)


@pytest.mark.parametrize("name", ["served_clip", "served_siglip", "served_vit"])
def test_pictures_tell_apart(name: str, request: pytest.FixtureRequest) -> None:
    """Else the comparisons above would hold of a network that sees nothing."""
    answers = request.getfixturevalue(name).encode_images(PICTURES)
    pooled = np.stack([one.pooled for one in answers])
    gaps = np.abs(pooled[:, None] - pooled[None]).max(axis=-1)
    assert gaps[~np.eye(8, dtype=bool)].min() > 10 * TOLERANCE
