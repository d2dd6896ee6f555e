"""What a checkpoint's folder must hold, and what is refused; how its pictures were prepared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageClassification, CLIPImageProcessor, ViTImageProcessor

from shared.errors import BadConfiguration, ModelUnavailable
from tests.parity.tiny_encoders import tiny_siglip, tiny_vit
from tests.parity.tiny_weights import noisy
from worker.media.views import View
from worker.models import checkpoints, placing
from worker.models.capabilities import ModelCard
from worker.models.preprocessing import pixel_values, preprocessing, preprocessing_of
from worker.models.runtimes.network import Place
from worker.models.sources import Source

CARD = ModelCard(id="tiny", revision="1", grade="test", licence="none", device="cpu", dtype="")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vit")
    tiny_vit(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy that may be broken."""
    return Path(shutil.copytree(saved, tmp_path / "vit"))


def source(**given: Any) -> Source:
    place = Place(device="cpu", threads=1, cache_dir=Path())
    settled = {"capability": "ImageEncoder", "card": CARD, "weights": None, "over": {}, "place": place}
    return Source(**{**settled, **given})


def loaded(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    return checkpoints.network(folder, AutoModelForImageClassification, dtype, "cpu")


def test_a_network_comes_ready_to_answer(saved: Path) -> None:
    network = loaded(saved)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert network.config._attn_implementation == "sdpa"


def test_weights_are_rounded_and_torchs_own_precision_stays(saved: Path) -> None:
    network = loaded(saved, torch.bfloat16)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.bfloat16}
    assert torch.get_default_dtype() == torch.float32
    exact = load_file(saved / "model.safetensors")["classifier.weight"]
    torch.testing.assert_close(network.classifier.weight, exact.to(torch.bfloat16))


def test_what_is_no_weight_is_not_rounded() -> None:
    network = torch.nn.Linear(2, 2)
    network.register_buffer("frequencies", torch.tensor([1.001]), persistent=False)
    network.register_buffer("mean", torch.tensor([1.001]))
    placing.rounded(network, torch.bfloat16)
    assert network.frequencies.dtype == torch.float32
    assert network.mean.dtype == network.weight.dtype == torch.bfloat16


def test_pickled_weights_are_never_loaded(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(ModelUnavailable, match=r"no \.safetensors.*may hold code"):
        loaded(folder)


def test_a_weight_too_few_is_refused(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    del state["classifier.bias"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelUnavailable, match=r"1 are missing .*classifier\.bias"):
        loaded(folder)


def test_a_weight_of_another_shape_is_refused(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    state["classifier.bias"] = torch.zeros(5)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelUnavailable, match=r"another shape, classifier\.bias"):
        loaded(folder)


def test_broken_weights_are_refused(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelUnavailable, match="weights of the checkpoint in vit cannot be read"):
        loaded(folder)


@pytest.mark.parametrize("content", [None, "{", '{"model_type": "no such thing"}'])
def test_a_config_that_says_nothing_is_refused(folder: Path, content: str | None) -> None:
    (folder / "config.json").unlink()
    if content is not None:
        (folder / "config.json").write_text(content)
    with pytest.raises(ModelUnavailable, match=r"config\.json of the checkpoint in vit cannot be read"):
        checkpoints.config(folder)


def test_code_of_a_checkpoint_is_not_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text("raise SystemExit('was run')")
    with pytest.raises(ModelUnavailable, match="trust_remote_code"):
        checkpoints.config(folder)


def test_a_checkpoint_of_another_kind_is_refused(saved: Path) -> None:
    assert checkpoints.config(saved, "vit", "deit").model_type == "vit"
    with pytest.raises(ModelUnavailable, match="of kind 'vit'; this backend runs clip, siglip"):
        checkpoints.config(saved, "clip", "siglip")


def test_a_folder_without_a_tokenizer_is_refused(saved: Path) -> None:
    with pytest.raises(ModelUnavailable, match="tokenizer"):
        checkpoints.tokenizer(saved)


def test_a_tokenizer_comes_from_the_folder(tmp_path: Path) -> None:
    tiny_siglip(tmp_path)
    assert checkpoints.tokenizer(tmp_path)("ab").input_ids[-1] == 1


def test_the_folder_is_the_manifests_or_that_of_its_weights(tmp_path: Path) -> None:
    assert checkpoints.folder_of(source(folder=tmp_path)) == tmp_path
    assert checkpoints.folder_of(source(weights=tmp_path / "model.safetensors")) == tmp_path
    with pytest.raises(BadConfiguration, match=r"must be model\.safetensors"):
        checkpoints.folder_of(source(weights=tmp_path / "other.safetensors"))
    with pytest.raises(BadConfiguration, match="names no folder"):
        checkpoints.folder_of(source())


def test_what_a_file_says_is_read_where_there_is_one(folder: Path) -> None:
    assert checkpoints.said(folder, "config.json")["model_type"] == "vit"
    assert checkpoints.said(folder, "generation_config.json") == {}
    (folder / "broken.json").write_text("{")
    with pytest.raises(ModelUnavailable, match=r"broken\.json"):
        checkpoints.said(folder, "broken.json")


def test_precision_is_the_devices_unless_the_manifest_names_one() -> None:
    assert placing.placement("cuda:0") == torch.bfloat16
    assert placing.dtype_of(source()) == torch.float32
    assert placing.dtype_of(source(dtype="float16")) == torch.float16
    assert placing.card_at(CARD, torch.bfloat16).dtype == "bfloat16"


@pytest.mark.parametrize(
    ("kind", "said", "view"),
    [
        # As CLIP's first checkpoints have it.
        (
            "clip",
            {"feature_extractor_type": "CLIPFeatureExtractor", "size": 256, "crop_size": 224},
            View(width=224, height=224, crop_fraction=0.875),
        ),
        (
            "clip",
            {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}},
            View(width=224, height=224),
        ),
        ("clip", {"size": {"shortest_edge": 96}, "do_center_crop": False}, View(width=96, height=96)),
        ("vit", {"size": 64}, View(width=64, height=64, fit="stretch", resample="bilinear")),
        (
            "siglip",
            {"size": {"height": 48, "width": 64}, "resample": 3},
            View(width=64, height=48, fit="stretch"),
        ),
        (
            "detr",
            {"feature_extractor_type": "DetrFeatureExtractor", "size": 800, "max_size": 1333},
            View(width=1333, height=1333, fit="inside", resample="bilinear"),
        ),
        # Lanczos, which no view has.
        ("idefics3", {"size": {"longest_edge": 1456}}, View(width=1456, height=1456, fit="inside")),
    ],
)
def test_every_form_of_size_becomes_a_view(
    tmp_path: Path, kind: str, said: dict[str, Any], view: View
) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    assert preprocessing(tmp_path).view == view


def test_a_folder_that_says_nothing_of_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="preprocessor_config"):
        preprocessing(tmp_path)


@pytest.mark.parametrize(
    "processor",
    [
        CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32),
        ViTImageProcessor(size={"height": 32, "width": 32}, do_normalize=False),
        ViTImageProcessor(size={"height": 32, "width": 32}, do_rescale=False, image_mean=[100.0] * 3),
        ViTImageProcessor(size={"height": 32, "width": 32}, rescale_factor=1 / 127.5),
    ],
)
def test_pixel_values_are_those_of_the_checkpoints_own_processor(processor: Any) -> None:
    pictures = noisy(32, 3)
    found = pixel_values(pictures, preprocessing_of(processor), torch.device("cpu"), torch.float32)
    expected = processor(images=pictures, return_tensors="pt")["pixel_values"]
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)
