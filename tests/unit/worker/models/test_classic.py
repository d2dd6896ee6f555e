"""A checkpoint that lacks something is refused: an untrained layer answers, and nobody would know."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from shared.errors import BadConfiguration, ModelFailed, ModelUnavailable
from tests.parity import tiny_classic as tiny
from worker.models import bert, gpt2_captioner, torchvision_cnn
from worker.models.capabilities import ModelCard
from worker.models.placing import dtype_of
from worker.models.runtimes.network import Place
from worker.models.sources import Source

CARD = ModelCard(id="tiny", revision="1", grade="test", licence="none", device="cpu", dtype="")


def source(folder: Path, **given: Any) -> Source:
    place = Place(device="cpu", threads=1, cache_dir=folder)
    return Source(
        **{
            "capability": "",
            "card": CARD,
            "weights": None,
            "folder": folder,
            "over": {},
            "place": place,
            **given,
        }
    )


def without(folder: Path, name: str) -> Path:
    """Take a tensor out of a checkpoint."""
    tensors = load_file(folder / "model.safetensors")
    del tensors[name]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("build", "backend", "name"),
    [
        (tiny.tiny_bert, bert, "bert.encoder.layer.1.output.dense.weight"),
        (tiny.tiny_vgg16, torchvision_cnn, "classifier.6.weight"),
        (tiny.tiny_vgg16, torchvision_cnn, "features.7.bias"),
        (tiny.tiny_resnet18, torchvision_cnn, "fc.bias"),
    ],
)
def test_a_missing_weight_is_not_drawn_at_random(tmp_path: Path, build: Any, backend: Any, name: str) -> None:
    backend.load(source(build(tmp_path)))
    with pytest.raises(ModelUnavailable, match=tmp_path.name):
        backend.load(source(without(tmp_path, name)))


@pytest.mark.parametrize("backend", [bert, torchvision_cnn])
def test_an_empty_folder_is_unavailable(tmp_path: Path, backend: Any) -> None:
    with pytest.raises(ModelUnavailable):
        backend.load(source(tmp_path, options={"architecture": "vgg16"}))


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    tiny.tiny_resnet18(tmp_path)
    with pytest.raises(BadConfiguration, match="13 convolutions"):
        torchvision_cnn.load(source(tmp_path, options={"architecture": "vgg16"}))
    with pytest.raises(BadConfiguration, match="vgg16, resnet18"):
        torchvision_cnn.load(source(tmp_path, options={"architecture": "alexnet"}))


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    tiny.tiny_bert(tmp_path)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelUnavailable):
        bert.load(source(tmp_path))


def test_the_weights_as_timm_publishes_them_are_the_same_model(tmp_path: Path) -> None:
    tiny.tiny_vgg16(tmp_path)
    picture = [np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)]
    (expected,) = torchvision_cnn.load(source(tmp_path)).encode_images(picture)
    state = load_file(tmp_path / "model.safetensors")
    for ours, theirs, side in (("0", "pre_logits.fc1", 7), ("3", "pre_logits.fc2", 1), ("6", "head.fc", 0)):
        weight, bias = (state.pop(f"classifier.{ours}.{kind}") for kind in ("weight", "bias"))
        state[f"{theirs}.weight"] = weight.unflatten(1, (-1, side, side)) if side else weight
        state[f"{theirs}.bias"] = bias
    save_file(state, tmp_path / "model.safetensors")
    (found,) = torchvision_cnn.load(source(tmp_path)).encode_images(picture)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)


def test_classes_other_than_imagenets_need_their_names(tmp_path: Path) -> None:
    tiny.tiny_vgg16(tmp_path)
    config = {"architecture": "vgg16", "labels": [f"bird {number}" for number in range(1000)]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert torchvision_cnn.load(source(tmp_path)).vocabulary[7] == "bird 7"
    with pytest.raises(BadConfiguration, match="1000 classes"):
        torchvision_cnn.load(source(tmp_path, options={"labels": ["bird", "fish"]}))


def test_half_precision_is_the_gpus_and_the_manifests_choice(tmp_path: Path) -> None:
    on_gpu = dataclasses.replace(CARD, device="cuda:0")
    assert dtype_of(source(tmp_path)) == torch.float32
    assert dtype_of(source(tmp_path, card=on_gpu)) == torch.bfloat16
    assert dtype_of(source(tmp_path, card=on_gpu), on_gpu=torch.float32) == torch.float32
    assert dtype_of(source(tmp_path, card=on_gpu, dtype="float16")) == torch.float16


def test_half_precision_stays_close_and_says_so(tmp_path: Path) -> None:
    tiny.tiny_bert(tmp_path)
    whole, half = (bert.load(source(tmp_path, dtype=dtype)) for dtype in (None, "bfloat16"))
    assert (whole.card.dtype, half.card.dtype) == ("float32", "bfloat16")
    (one,), (other,) = (encoder.encode_texts(["a tiger cat on a bench"]) for encoder in (whole, half))
    assert other.dtype == np.float32
    assert one @ other > 0.999


@pytest.mark.parametrize("text", ["a" * 1_000_000, " " * 1_000_000, "a " * 500_000])
@pytest.mark.timeout(20)
def test_a_huge_text_takes_no_time(tmp_path: Path, text: str) -> None:
    encoder = bert.load(source(tiny.tiny_bert(tmp_path)))
    assert len(encoder.prepare("encode_texts", [text])[0]) <= 64


def test_weights_that_are_no_numbers_answer_nothing(tmp_path: Path) -> None:
    texts = bert.load(source(tiny.tiny_bert(tmp_path / "bert")))
    texts._network.encoder.layer[0].output.dense.bias.fill_(float("nan"))
    with pytest.raises(ModelFailed, match="not finite"):
        texts.encode_texts(["a cat"])
    images = torchvision_cnn.load(source(tiny.tiny_vgg16(tmp_path / "vgg16")))
    images._network.last.bias.fill_(float("nan"))
    with pytest.raises(ModelFailed, match="not finite"):
        images.encode_images([np.zeros((224, 224, 3), np.uint8)])


def test_a_writer_without_an_image_encoder_is_a_wrong_pairing(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="over an ImageEncoder"):
        gpt2_captioner.load(source(tmp_path))


def test_encoders_warm_up_and_of_nothing_comes_nothing(tmp_path: Path) -> None:
    texts = bert.load(source(tiny.tiny_bert(tmp_path / "bert")))
    images = torchvision_cnn.load(source(tiny.tiny_vgg16(tmp_path / "vgg16")))
    texts.warm_up()
    images.warm_up()
    assert texts.encode_texts([]) == images.encode_images([]) == images.encode_regions([]) == []
    assert texts.dim == 32
    assert images.dim == 256
