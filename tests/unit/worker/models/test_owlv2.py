"""What the open detector promises beyond parity: one batch for all, thresholds, pictures of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoImageProcessor

from shared.errors import ModelUnavailable
from tests.direct import plain
from tests.parity.tiny_detectors import tiny_owlv2, tiny_owlvit, tiny_rt_detr
from worker.engine.items import bucket
from worker.models import owlv2
from worker.models.capabilities import Detection, DetectionRequest, ModelCard, OpenDetector
from worker.models.owlv2 import Owlv2
from worker.models.runtimes.network import Place
from worker.models.sources import Source

MANY = 1000


def opened(folder: Path, **options: Any) -> Owlv2:
    card = ModelCard(id="x", revision="1", grade="test", licence="MIT", device="cpu", dtype="float32")
    place = Place(device="cpu", threads=1, cache_dir=folder)
    kept = {"weights": None, "over": {}, "place": place, "options": options}
    return owlv2.load(Source(capability="OpenDetector", card=card, folder=folder, **kept))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_owlv2(tmp_path_factory.mktemp("owlv2"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Owlv2:
    return opened(folder)


def noise(width: int, height: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def asked(image: Any, *labels: str, threshold: float | None = 0.0, most: int = MANY) -> DetectionRequest:
    return DetectionRequest(image=image, labels=labels, threshold=threshold, max_objects=most)


def test_pictures_of_any_shape_and_any_labels_share_a_batch(model: Owlv2) -> None:
    requests = [
        asked(noise(48, 48), "cat"),
        asked(noise(48, 20), "cat", "cup", threshold=None),
        asked(noise(9, 30), "a chair in the sun", threshold=0.3, most=2),
    ]

    ready = model.prepare("find", requests)

    assert len({bucket(one) for one in ready}) == 1
    assert len({bucket(one) for one in requests}) > 1


def test_what_was_prepared_is_found_as_what_was_not(model: Owlv2) -> None:
    requests = [asked(noise(48, 30), "cat", "cup"), asked(noise(20, 40), "kite")]

    assert model.find(model.prepare("find", requests)) == model.find(requests)


@pytest.mark.parametrize("size", [(24, 12), (7, 33), (10, 10)])
def test_a_small_picture_is_enlarged_as_transformers_enlarges_it(
    folder: Path, model: Owlv2, size: tuple[int, int]
) -> None:
    image = noise(*size)
    processor: Any = AutoImageProcessor.from_pretrained(folder)
    made = processor(images=image, do_normalize=False, return_tensors="pt").pixel_values[0]

    (ready,) = model.prepare("find", [asked(image, "cat")])

    # Pillow rounds twice, once for each direction.
    assert np.abs(ready.image - made.permute(1, 2, 0).numpy() * 255).max() < 1.01
    assert ready.square == (max(size) / size[0], max(size) / size[1])


def test_boxes_lie_in_the_picture_and_not_in_the_padding(model: Owlv2) -> None:
    (found,) = model.find([asked(noise(48, 12), "cat", "cup")])

    assert found
    for one in found:
        left, top, right, bottom = one.box
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1


def scores(found: Any) -> list[float]:
    return [one.score for one in found]


def test_each_request_has_its_own_threshold_and_number_of_objects(model: Owlv2) -> None:
    image = noise(48, 48)
    (all_of_them,) = model.find([asked(image, "cat", "cup")])
    middle = all_of_them[len(all_of_them) // 2].score

    sure, few = model.find([asked(image, "cat", "cup", threshold=middle), asked(image, "cat", "cup", most=3)])

    assert scores(all_of_them) == sorted(scores(all_of_them), reverse=True)
    assert scores(sure) == pytest.approx([one for one in scores(all_of_them) if one >= middle])
    assert scores(few) == pytest.approx(scores(all_of_them)[:3])


def test_a_request_without_a_threshold_has_the_models_own(folder: Path, model: Owlv2) -> None:
    image = noise(48, 48)
    (all_of_them,) = model.find([asked(image, "cat", "cup")])
    middle = all_of_them[len(all_of_them) // 2].score
    strict = opened(folder, threshold=middle)

    (found,) = strict.find([asked(image, "cat", "cup", threshold=None)])

    assert 0 < len(found) < len(all_of_them)
    assert min(scores(found)) >= middle - 1e-5


def test_the_prompt_is_an_option(folder: Path, model: Owlv2) -> None:
    bare: Owlv2 = opened(folder, prompt="{}")

    (prompted,) = model.find([asked(noise(48, 48), "cat")])
    (as_it_is,) = bare.find([asked(noise(48, 48), "a photo of a cat")])
    (other,) = bare.find([asked(noise(48, 48), "cat")])

    assert [one.box for one in prompted] == [one.box for one in as_it_is]
    assert [one.box for one in prompted] != [one.box for one in other]


def test_it_says_what_it_takes(folder: Path, model: Owlv2, tmp_path: Path) -> None:
    stretched = opened(tiny_owlvit(tmp_path))

    assert isinstance(model, OpenDetector)
    assert (model.view.fit, model.view.width, model.view.height) == ("inside", 48, 48)
    assert stretched.view.fit == "stretch"
    assert model.find([]) == []
    model.warm_up()


def test_a_checkpoint_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="owlv2"):
        opened(tiny_rt_detr(tmp_path))


def test_a_plain_picture_has_objects_only_above_the_threshold(model: Owlv2) -> None:
    (found,) = model.find([asked(plain((9, 9, 9), 48, 48), "cat", threshold=1.0)])

    assert all(isinstance(one, Detection) and one.score == 1.0 for one in found)
