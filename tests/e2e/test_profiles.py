"""The profiles that need a hub, started as a user starts them, on tiny checkpoints in local folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from client import Client
from client.demo.errands import film
from tests.e2e.conftest import Up
from tests.parity import (
    tiny_classic,
    tiny_detectors,
    tiny_diffusion,
    tiny_encoders,
    tiny_films,
    tiny_language,
)

Build = Callable[[Path], object]

FULL: Mapping[str, Build] = {
    "TextEncoder": tiny_encoders.tiny_siglip,
    "Captioner": tiny_language.tiny_blip_captioner,
    "Answerer": tiny_language.tiny_blip_vqa,
    "Detector": tiny_detectors.tiny_rt_detr,
    "OpenDetector": tiny_detectors.tiny_owlv2,
    "Generator": tiny_diffusion.tiny_stable_diffusion,
    "VideoClassifier": tiny_films.tiny_video_mae,
}
CLASSIC: Mapping[str, Build] = {
    "TextEncoder": tiny_classic.tiny_bert,
    "ImageEncoder": tiny_classic.tiny_resnet18,
    "Captioner": tiny_classic.tiny_gpt2,
    "Stylizer": tiny_classic.tiny_vgg16,
    "FusionClassifier": lambda folder: tiny_classic.tiny_fusion_head(folder, image=512),
}
#: What the profile itself does not say of a model, since whoever trains it brings it.
MORE = {
    "FusionClassifier": """
backend = "fusion_head"
id = "mine/fusion-head"
architecture = "attention of a text over image regions"
licence = "Apache-2.0"
grade = "starter"
over = ["TextEncoder", "ImageEncoder"]
"""
}
INPUTS: Mapping[str, dict[str, Any]] = {
    "embed": {"texts": ["a red door"]},
    "match": {"texts": ["a red door", "a cat"]},
    "classify": {"text": "a red door"},
    "caption": {"max_tokens": 5},
    "answer": {"question": "what is it?"},
    "detect": {"labels": ["cat"], "threshold": 0.0},
    "explain": {"text": "a red door"},
    "stylize": {"style": {"image": "blue"}, "steps": 2},
    "generate": {"prompt": "a red door", "steps": 2, "seed": 1},
    "video": {"sample_fps": 1.0},
}


def manifest_of(profile: str, builds: Mapping[str, Build], folder: Path) -> Path:
    """Write an operator's manifest that takes each model from a folder beside it."""
    lines = [f'extends = "{profile}"']
    for capability, build in builds.items():
        (folder / capability).mkdir()
        build(folder / capability)
        lines += [f"[models.{capability}]", f'folder = "{capability}"', MORE.get(capability, "")]
    path = folder / "models.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def ended(client: Client, task: str, photos: Mapping[str, Path]) -> Any:
    """Return a job of a task once it has ended."""
    fields = dict(INPUTS[task])
    if task == "stylize":
        fields["style"] = {"image": photos["blue"]}
    images = [photos["red"]] if task not in ("generate", "video") else []
    videos = [film()] if task == "video" else []
    return client.run(task, fields, images=images, videos=videos, timeout=100)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("builds", "lacking"),
    [
        pytest.param(FULL, set(), id="full"),
        pytest.param(CLASSIC, {"answer", "detect", "generate"}, id="classic"),
    ],
)
@pytest.mark.timeout(300)
def test_a_profile_answers_every_task_that_it_offers(
    start: Callable[..., Up],
    tmp_path: Path,
    photos: dict[str, Path],
    builds: Mapping[str, Build],
    lacking: set[str],
) -> None:
    profile = "full" if builds is FULL else "classic"
    models = tmp_path / "models"
    models.mkdir()
    manifest = manifest_of(profile, builds, models)
    up = start("--profile", profile, ICONOTEXT_PROFILE=profile, ICONOTEXT_MANIFEST=str(manifest))
    up.wait_until_ready()

    with up.client() as client:
        offered = {task.name for task in client.tasks() if task.available}
        assert offered == set(INPUTS) - lacking, up.output
        for task in sorted(offered):
            job = ended(client, task, photos)
            assert job.succeeded, (task, job.error)
            assert {model["grade"] for model in job.provenance["models"]} <= {"full", "starter"}
