"""The classic profile computes what plain transformers and torchvision calls compute on the same weights.

Each alone, and inside a mixed batch of eight.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torchvision.models import ResNet18_Weights, VGG16_Weights
from torchvision.transforms.functional import normalize
from transformers import AutoTokenizer, BertModel, GPT2LMHeadModel

from shared.schemas.base import ImageRef
from tests.direct import DirectWork, png
from tests.parity import tiny_classic as tiny
from worker.engine import BatchLimits, Engine, Ticket
from worker.models import bert, fusion_head, gatys, gpt2_captioner, torchvision_cnn
from worker.models.capabilities import (
    Captioner,
    CaptionRequest,
    FusionClassifier,
    FusionRequest,
    ImageEncoder,
    ModelCard,
    Pixels,
    StyleRequest,
    TextEncoder,
)
from worker.models.networks.torchvision_cnn import Vgg16
from worker.models.runtimes.network import Place
from worker.models.sources import Source

TOLERANCE = 1e-4
CARD = ModelCard(id="tiny", revision="1", grade="test", licence="none", device="cpu", dtype="")
TEXTS = [
    "a tiger cat",
    "x",
    "",
    "an espresso on a wooden table, seen from above, beside a goldfish and an umbrella",
    "Ein Kätzchen schläft, 猫が寝ている, 🐈",
    "A Tiger Cat",
    "word " * 500,
    "great white shark, hammerhead and a tiger shark",
]
OPERATIONS: list[Any] = [
    TextEncoder.encode_texts,
    ImageEncoder.encode_images,
    Captioner.caption,
    FusionClassifier.classify_pairs,
]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from a second thread, and wait for it where cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every checkpoint of the profile, by its name."""
    root = tmp_path_factory.mktemp("classic")
    tiny.tiny_bert(root / "bert")
    tiny.tiny_gpt2(root / "gpt2")
    tiny.tiny_vgg16(root / "vgg16")
    tiny.tiny_resnet18(root / "resnet18")
    tiny.tiny_fusion_head(root / "head")
    return root


def source(folder: Path, name: str, **given: Any) -> Source:
    place = Place(device="cpu", threads=1, cache_dir=folder / "cache")
    return Source(
        **{
            "capability": "",
            "card": CARD,
            "weights": None,
            "folder": folder / name,
            "over": {},
            "place": place,
            **given,
        }
    )


def photographs(count: int, side: int) -> list[Pixels]:
    """Return smooth pictures, each different."""
    random = np.random.default_rng(side)
    small = random.integers(0, 256, (count, 6, 6, 3), np.uint8)
    return [np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC)) for one in small]


def values(images: list[Pixels]) -> torch.Tensor:
    """Return pictures as torchvision's own transforms leave them, once they are cropped."""
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return normalize(pixels, MEAN, STD)


# --- texts


@pytest.fixture(scope="module")
def texts(folder: Path) -> bert.Bert:
    return bert.load(source(folder, "bert"))


@torch.inference_mode()
def plain_vectors(folder: Path, given: list[str]) -> list[np.ndarray[Any, Any]]:
    """Return each text's vector, computed alone, with the attention written out."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "bert")
    network = BertModel.from_pretrained(
        folder / "bert", add_pooling_layer=False, attn_implementation="eager", dtype=torch.float32
    ).eval()
    vectors = []
    for text in given:
        tokens = tokenizer(text, truncation=True, max_length=64, return_tensors="pt")
        states = network(tokens["input_ids"], tokens["attention_mask"]).last_hidden_state[0]
        mean = states.mean(dim=0)
        vectors.append((mean / mean.norm()).numpy())
    return vectors


def test_bert_agrees_with_transformers_alone_and_in_a_batch(folder: Path, texts: bert.Bert) -> None:
    expected = plain_vectors(folder, TEXTS)
    assert isinstance(texts, TextEncoder)
    np.testing.assert_allclose(texts.encode_texts(TEXTS), expected, atol=TOLERANCE)
    np.testing.assert_allclose([texts.encode_texts([text])[0] for text in TEXTS], expected, atol=TOLERANCE)
    prepared = texts.prepare("encode_texts", TEXTS)
    assert max(map(len, prepared)) == 64
    np.testing.assert_allclose(texts.encode_texts(prepared), expected, atol=TOLERANCE)


# --- pictures


@pytest.fixture(scope="module", params=["vgg16", "resnet18"])
def architecture(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def images(folder: Path, architecture: str) -> torchvision_cnn.TorchvisionCnn:
    return torchvision_cnn.load(source(folder, architecture))


@pytest.fixture(scope="module")
def plain_network(architecture: str) -> Any:
    return {"vgg16": tiny.vgg16, "resnet18": tiny.resnet18}[architecture]()


@torch.inference_mode()
def plain_features(network: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what goes into the last layer, and the probabilities, of torchvision's own forward pass."""
    last = network.classifier[-1] if hasattr(network, "classifier") else network.fc
    seen: list[torch.Tensor] = []
    hook = last.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    probabilities = network(pixels).softmax(dim=-1)
    hook.remove()
    return seen[0], probabilities


def test_a_cnn_agrees_with_torchvision_alone_and_in_a_batch(
    images: torchvision_cnn.TorchvisionCnn, plain_network: Any
) -> None:
    given = photographs(8, 224)
    pooled, probabilities = plain_features(plain_network, values(given))
    together = images.encode_images(given)
    alone = [images.encode_images([image])[0] for image in given]
    assert isinstance(images, ImageEncoder)
    assert pooled.std(dim=0).mean() > 0.01
    for found in (together, alone):
        np.testing.assert_allclose([one.pooled for one in found], pooled, atol=TOLERANCE)
        np.testing.assert_allclose([one.probabilities for one in found], probabilities, atol=TOLERANCE)


def test_a_picture_is_prepared_as_torchvision_does(
    images: torchvision_cnn.TorchvisionCnn, plain_network: Any, architecture: str
) -> None:
    weights = {"vgg16": VGG16_Weights.IMAGENET1K_V1, "resnet18": ResNet18_Weights.IMAGENET1K_V1}
    picture = photographs(1, 256)[0]
    _, expected = plain_features(
        plain_network, weights[architecture].transforms()(Image.fromarray(picture))[None]
    )
    work = DirectWork({}, {"photo": png(picture)})
    shown = work.images([ImageRef(part="photo")], images.view)
    np.testing.assert_allclose(images.encode_images(shown)[0].probabilities, expected[0], atol=TOLERANCE)


@torch.inference_mode()
def test_each_cell_is_classified_as_a_picture_is(
    folder: Path, images: torchvision_cnn.TorchvisionCnn, plain_network: Any, architecture: str
) -> None:
    given = photographs(2, 448)
    found = images.encode_regions(given)
    alone = images.encode_regions(given[1:])[0]
    assert found[0].grid.shape == (14, 14, images.dim)
    np.testing.assert_allclose(alone.probabilities, found[1].probabilities, atol=TOLERANCE)
    if architecture == "resnet18":
        pooled, _ = plain_features(plain_network, values(given))
        np.testing.assert_allclose([one.grid.mean(axis=(0, 1)) for one in found], pooled, atol=TOLERANCE)
        cell = plain_network.fc(torch.from_numpy(found[0].grid[3, 9])).softmax(dim=-1)
    else:
        # A window that lies within the picture is what the fully connected layers take of a whole one.
        window = plain_network.features(values(given))[0, :, 0:7, 6:13]
        cell = plain_network.classifier(window.flatten()).softmax(dim=-1)
    np.testing.assert_allclose(found[0].probabilities[3, 9], cell, atol=TOLERANCE)


def test_class_weights_are_the_last_layers(
    images: torchvision_cnn.TorchvisionCnn, plain_network: Any
) -> None:
    last = plain_network.classifier[-1] if hasattr(plain_network, "classifier") else plain_network.fc
    np.testing.assert_array_equal(images.class_weights(), last.weight.detach())
    assert images.class_weights().shape == (len(images.vocabulary), images.dim)


# --- captions


@pytest.fixture(scope="module", params=["fitted", "trained"])
def writer(request: pytest.FixtureRequest, folder: Path) -> gpt2_captioner.Gpt2Captioner:
    """GPT-2 over VGG16, with each kind of prefix."""
    if request.param == "fitted":
        checkpoint = folder / "gpt2"
    else:
        checkpoint = tiny.tiny_gpt2(folder / "gpt2-trained")
        tiny.tiny_prefix(checkpoint)
    over = {"ImageEncoder": torchvision_cnn.load(source(folder, "vgg16"))}
    return gpt2_captioner.load(source(folder, checkpoint.name, over=over))


def requests() -> list[CaptionRequest]:
    prompts = [None, "a", "in the picture there is a very small", "", None, "Kätzchen 🐈", "x " * 300, "two"]
    limits = [12, 1, 40, 7, 256, 20, 10, 30]
    pictures = photographs(8, 224)
    return [CaptionRequest(*one) for one in zip(pictures, prompts, limits, strict=True)]


@torch.inference_mode()
def plain_caption(writer: gpt2_captioner.Gpt2Captioner, folder: Path, request: CaptionRequest) -> str:
    """Return what `generate` writes after the same prefix and beginning, greedily."""
    network = GPT2LMHeadModel.from_pretrained(folder / "gpt2", attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "gpt2")
    prefix = writer._prefix.project(writer._images.encode_images([request.image]))[0]
    positions = network.config.n_positions - len(prefix)
    new = min(request.max_tokens, positions // 2)
    beginning = "a photo of" if request.prompt is None else request.prompt.rstrip()
    ids = torch.tensor(tokenizer(beginning)["input_ids"][-(positions - new) :], dtype=torch.long)
    inputs = torch.cat([prefix, network.transformer.wte(ids)])[None]
    ends = [tokenizer.eos_token_id, *tokenizer.convert_tokens_to_ids([".", "Ċ"])]
    written = network.generate(
        inputs_embeds=inputs,
        attention_mask=torch.ones(inputs.shape[:2], dtype=torch.long),
        max_new_tokens=new,
        do_sample=False,
        eos_token_id=ends,
        pad_token_id=tokenizer.eos_token_id,
    )
    line = tokenizer.decode(written[0], skip_special_tokens=True).partition("\n")[0]
    whole = line.rstrip("\N{REPLACEMENT CHARACTER}")
    return beginning + "".join(filter(str.isprintable, whole)).rstrip()


def test_gpt2_writes_what_generate_writes_alone_and_in_a_batch(
    folder: Path, writer: gpt2_captioner.Gpt2Captioner
) -> None:
    given = requests()
    expected = [plain_caption(writer, folder, one) for one in given]
    assert [one.text for one in writer.caption(given)] == expected
    assert [writer.caption([one])[0].text for one in given] == expected
    assert [one.text for one in writer.caption(writer.prepare("caption", given))] == expected
    assert len(set(expected)) == len(expected)


# --- style


@pytest.fixture(scope="module")
def stylizer(folder: Path) -> gatys.Gatys:
    return gatys.load(source(folder, "vgg16"))


def style_requests() -> list[StyleRequest]:
    pictures, styles = photographs(8, 41), photographs(8, 33)
    strengths = [1.0, 0.5, 0.1, 0.0, 1.0, 0.3, 0.8, 0.9]
    return [
        StyleRequest(image=image, style=None, style_image=style, strength=strength, steps=3)
        for image, style, strength in zip(pictures, styles, strengths, strict=True)
    ]


def plain_responses(network: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return one picture's conv4_2 and its five Gram matrices, of torchvision's layers called one by one."""
    maps = normalize(pixels[None], MEAN, STD)
    content, grams = maps, []
    for place, layer in enumerate(network.features[:25]):
        if isinstance(layer, torch.nn.MaxPool2d):
            maps = torch.nn.AvgPool2d(2, ceil_mode=True)(maps)
        elif isinstance(layer, torch.nn.Conv2d):
            maps = torch.relu(layer(maps))
        if place == 19:
            content = maps
        if place in (0, 5, 10, 17, 24):
            _, _, height, width = maps.shape
            grams.append(torch.einsum("nihw,njhw->nij", maps, maps) / (height * width))
    return content, grams


def plain_style(network: Any, request: StyleRequest) -> torch.Tensor:
    """Return the picture after each step of torch's own Adam, (steps, 3, H, W)."""

    def share(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return ((found - wanted) ** 2).sum() / (wanted**2).sum()

    def pixels_of(image: Pixels | None) -> torch.Tensor:
        assert image is not None
        return torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255

    shown = pixels_of(request.image).requires_grad_()
    content = plain_responses(network, shown)[0].detach()
    style = [one.detach() for one in plain_responses(network, pixels_of(request.style_image))[1]]
    adam = torch.optim.Adam([shown], lr=gatys._RATE, eps=gatys._EPSILON)
    steps = []
    for _ in range(request.steps or 0):
        found, grams = plain_responses(network, shown)
        layers = [share(one, wanted) for one, wanted in zip(grams, style, strict=True)]
        down, across = shown.diff(dim=1).square().sum(), shown.diff(dim=2).square().sum()
        rough = (down + across) / (shown.shape[1] * shown.shape[2])
        loss = share(found, content) + request.strength * (
            gatys._STYLE * sum(layers) / 5 + gatys._VARIATION * rough
        )
        adam.zero_grad()
        (loss * shown.shape[1] * shown.shape[2]).backward()
        adam.step()
        with torch.no_grad():
            shown.clamp_(0, 1)
        steps.append(shown.detach().clone())
    return torch.stack(steps)


def test_each_step_of_a_style_is_a_step_of_adam_alone_and_in_a_batch(stylizer: gatys.Gatys) -> None:
    given = style_requests()
    expected = torch.stack([plain_style(tiny.vgg16(), one) for one in given], dim=1)
    together = stylizer.begin(given)
    alone = stylizer.begin(given)
    for step in expected:
        together = stylizer.advance(together)
        alone = [stylizer.advance([one])[0] for one in alone]
        for canvases in (together, alone):
            np.testing.assert_allclose([one.pixels for one in canvases], step, atol=TOLERANCE)
    assert (expected[-1] - expected[0]).abs().amax(dim=(1, 2, 3))[[0, 1, 2, 4, 5, 6, 7]].min() > 0.01


# --- both


@torch.inference_mode()
def test_the_fusion_head_agrees_with_the_plain_module_alone_and_in_a_batch(folder: Path) -> None:
    over = {
        "TextEncoder": bert.load(source(folder, "bert")),
        "ImageEncoder": torchvision_cnn.load(source(folder, "vgg16")),
    }
    classifier = fusion_head.load(source(folder, "head", over=over))
    given = [FusionRequest(*one) for one in zip(photographs(8, 448), TEXTS, strict=True)]
    state = load_file(folder / "head" / "model.safetensors")
    network = tiny.vgg16()
    expected = [
        plain_fusion(state, text, network, image)
        for (image, _), text in zip(given, plain_vectors(folder, TEXTS), strict=True)
    ]
    assert classifier.vocabulary == list(tiny.LABELS)
    np.testing.assert_allclose(classifier.classify_pairs(given), expected, atol=TOLERANCE)
    alone = [classifier.classify_pairs(classifier.prepare("classify_pairs", [one]))[0] for one in given]
    np.testing.assert_allclose(alone, expected, atol=TOLERANCE)
    assert np.std(expected, axis=0).mean() > 0.01


def plain_fusion(state: Any, text: Any, network: Any, image: Pixels) -> np.ndarray[Any, Any]:
    """Return the head's answer for one pair, written out."""

    def layer(name: str, given: torch.Tensor) -> torch.Tensor:
        return given @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    maps = torch.nn.ReplicationPad2d(3)(network.features(values([image])))
    windows = torch.nn.functional.unfold(maps, kernel_size=7)[0].T
    cells = network.classifier[:6](windows)
    query, keys, found = layer("query", torch.from_numpy(text)), layer("key", cells), layer("value", cells)
    weights = (keys @ query / len(query) ** 0.5).softmax(dim=0)
    fused = torch.cat([query, weights @ found])
    return layer("classifier.2", layer("classifier.0", fused).relu()).softmax(dim=0).numpy()


# --- through the engine, and at full size


def test_jobs_that_share_the_engine_get_what_they_get_alone(folder: Path) -> None:
    """Eight jobs at once, each with a text, a picture, a caption and a pair of its own."""
    texts = bert.load(source(folder, "bert"))
    images = torchvision_cnn.load(source(folder, "vgg16"))
    over: dict[str, Any] = {"TextEncoder": texts, "ImageEncoder": images}
    models = over | {
        "Captioner": gpt2_captioner.load(source(folder, "gpt2", over=over)),
        "FusionClassifier": fusion_head.load(source(folder, "head", over=over)),
    }
    pictures = [FusionRequest(*one) for one in zip(photographs(8, 448), TEXTS, strict=True)]
    items = list(zip(TEXTS, photographs(8, 224), requests(), pictures, strict=True))
    engine = Engine(models, device="cpu", limits=BatchLimits(max_items=8, max_wait=timedelta(hours=1)))
    engine.start()

    def job(given: tuple[Any, ...]) -> list[Any]:
        ticket = Ticket()
        with engine.enter(ticket):
            return [
                engine.map(operation, [item], ticket=ticket)[0]
                for operation, item in zip(OPERATIONS, given, strict=True)
            ]

    try:
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(job, items))
        sizes = engine.stats().batches
    finally:
        engine.close()
    assert any(size > 1 for counts in sizes.values() for size in counts)
    for (text, image, request, pair), (vector, features, caption, shares) in zip(items, answers, strict=True):
        np.testing.assert_allclose(vector, texts.encode_texts([text])[0], atol=TOLERANCE)
        alone = images.encode_images([image])[0]
        np.testing.assert_allclose(features.probabilities, alone.probabilities, atol=TOLERANCE)
        assert caption.text == models["Captioner"].caption([request])[0].text
        np.testing.assert_allclose(
            shares, models["FusionClassifier"].classify_pairs([pair])[0], atol=TOLERANCE
        )


def test_vgg16_of_full_size_agrees_with_torchvision() -> None:
    network = tiny.vgg16(width=1)
    encoder = torchvision_cnn.TorchvisionCnn(
        CARD, Vgg16(network.state_dict()).eval(), VGG16_Weights.IMAGENET1K_V1.meta["categories"]
    )
    given = photographs(2, 224)
    pooled, probabilities = plain_features(network, values(given))
    found = encoder.encode_images(given)
    assert encoder.dim == 4096
    np.testing.assert_allclose([one.pooled for one in found], pooled, atol=TOLERANCE)
    np.testing.assert_allclose([one.probabilities for one in found], probabilities, atol=TOLERANCE)
