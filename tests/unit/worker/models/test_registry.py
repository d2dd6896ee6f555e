"""Only the weights that a manifest names are loaded, by the backends that it names."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from safetensors.numpy import save_file
from structlog.testing import capture_logs

from shared.errors import BadConfiguration, ModelUnavailable
from shared.manifests import read_manifest
from worker.models.fake import FakeTextEncoder
from worker.models.registry import Profile, load_profile
from worker.models.sources import Source

ENTRY = """
[models.TextEncoder]
backend = "fake"
id = "a/b"
architecture = "none"
licence = "MIT"
grade = "test"
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return tmp_path / "own.toml"


def profile(manifest: Path) -> Profile:
    return load_profile(str(manifest), device="cpu", cache_dir=manifest.parent)


def load(manifest: Path) -> FakeTextEncoder:
    model = profile(manifest).load_all()["TextEncoder"]
    assert isinstance(model, FakeTextEncoder)
    return model


def test_an_operators_own_manifest_is_a_profile(manifest: Path) -> None:
    manifest.write_text('summary = "mine"' + ENTRY)

    assert load(manifest).card.id == "a/b"


def test_options_reach_the_backend(manifest: Path) -> None:
    manifest.write_text(f'summary = "mine"{ENTRY}options = {{ largest_batch = 1 }}')

    with pytest.raises(MemoryError):
        load(manifest).encode_texts(["one", "two"])


def test_a_loading_says_what_it_is_and_what_it_needs(tmp_path: Path) -> None:
    loadings = load_profile("fake", device="cpu", cache_dir=tmp_path).loadings

    assert list(loadings) == list(read_manifest("fake").models)
    assert loadings["JointEncoder"].over == ("TextEncoder", "ImageEncoder")
    assert loadings["TextEncoder"].name == "iconotext/fake-text"
    assert all(loading.keep for loading in loadings.values())


def test_a_lazy_model_is_not_kept(manifest: Path) -> None:
    manifest.write_text(f'summary = "mine"{ENTRY}residency = "lazy"')

    assert not profile(manifest).loadings["TextEncoder"].keep


def test_nothing_is_loaded_before_it_is_wanted(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest.write_text('summary = "mine"' + ENTRY)
    monkeypatch.delitem(sys.modules, "worker.models.fake")

    loading = profile(manifest).loadings["TextEncoder"]

    assert "worker.models.fake" not in sys.modules
    assert loading.load({}).card.id == "a/b"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (ENTRY.replace("TextEncoder", "Oracle"), "Oracle is no capability"),
        (ENTRY.replace('"fake"', '"absent"'), "no backend absent"),
    ],
)
def test_a_wrong_pairing_is_refused_before_anything_loads(manifest: Path, text: str, fault: str) -> None:
    manifest.write_text('summary = "x"' + text)

    with pytest.raises(BadConfiguration, match=fault):
        profile(manifest)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (ENTRY.replace('"fake"', '"capabilities"'), "is not a backend"),
    ],
)
def test_a_module_that_loads_no_model_is_refused(manifest: Path, text: str, fault: str) -> None:
    manifest.write_text('summary = "x"' + text)

    with pytest.raises(BadConfiguration, match=fault):
        load(manifest)


def with_weights(manifest: Path, package: str, sha256: str) -> None:
    manifest.write_text(
        f'summary = "x"{ENTRY}package = "{package}"\nfile = "weights.safetensors"\nsha256 = "{sha256}"'
    )


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of an installed package with a weight file in it."""
    folder = tmp_path / "installed" / "pretty_weights"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('finding a file must not import its package')")
    save_file({}, folder / "weights.safetensors")
    monkeypatch.syspath_prepend(str(folder.parent))
    return folder


def test_weights_of_another_content_are_refused(manifest: Path, package: Path) -> None:
    with_weights(manifest, package.name, "0" * 64)

    with pytest.raises(ModelUnavailable, match=r"has sha256 [0-9a-f]{64}; the manifest demands 0000"):
        load(manifest)


def test_a_package_that_is_not_installed_is_named(manifest: Path) -> None:
    with_weights(manifest, "not_installed_at_all", "0" * 64)

    with pytest.raises(ModelUnavailable, match="not_installed_at_all is not installed"):
        load(manifest)


def test_a_missing_package_is_told_before_anything_loads(manifest: Path) -> None:
    with_weights(manifest, "not_installed_at_all", "0" * 64)

    found = profile(manifest)

    assert "not_installed_at_all is not installed" in found.missing["TextEncoder"]
    assert (list(found.loadings), found.available) == (["TextEncoder"], {})


def test_what_is_built_over_a_missing_model_is_missing_too(manifest: Path) -> None:
    manifest.write_text('extends = "fake"\n[models.ImageEncoder]\nfolder = "none"')

    found = profile(manifest)

    assert found.missing["JointEncoder"] == "it is built over ImageEncoder, which is missing"
    assert not {"ImageEncoder", "JointEncoder"} & set(found.available)


def test_the_models_kept_and_here_are_loaded_over_those_below_them(manifest: Path) -> None:
    lazy = "".join(f'[models.{name}]\nresidency = "lazy"\n' for name in ("TextEncoder", "Generator"))
    manifest.write_text(f'extends = "fake"\n{lazy}[models.Captioner]\nfolder = "none"')

    loaded = profile(manifest).load_kept()

    assert {"TextEncoder", "JointEncoder"} <= set(loaded)
    assert not {"Captioner", "Generator"} & set(loaded)


def test_a_folder_reaches_the_backend_with_the_hash_of_what_it_holds(manifest: Path) -> None:
    folder = manifest.parent / "weights"
    folder.mkdir()
    save_file({}, folder / "model.safetensors")
    manifest.write_text(f'summary = "x"{ENTRY}folder = "weights"\ndtype = "float16"')

    found = profile(manifest)

    card = found.load_all()["TextEncoder"].card
    assert card.revision == found.identities["TextEncoder"]["revision"]
    assert card.revision.startswith("sha256:")
    assert card.dtype == "float16"


def test_files_that_a_backend_cannot_read_are_named_with_their_source(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Source) -> None:
        raise OSError("no tokenizer in it")

    monkeypatch.setattr(importlib.import_module("worker.models.fake"), "load", fail)
    manifest.write_text('summary = "mine"' + ENTRY)

    with pytest.raises(ModelUnavailable, match="a/b cannot be loaded: no tokenizer in it"):
        load(manifest)


def test_a_missing_weight_file_is_named(manifest: Path, package: Path) -> None:
    (package / "weights.safetensors").unlink()
    with_weights(manifest, package.name, "0" * 64)

    with pytest.raises(ModelUnavailable, match=r"lacks weights\.safetensors"):
        load(manifest)


def test_a_backend_whose_library_is_missing_names_it(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest.write_text('summary = "mine"' + ENTRY.replace('"fake"', '"minilm"'))
    monkeypatch.delitem(sys.modules, "worker.models.minilm", raising=False)
    monkeypatch.setitem(sys.modules, "tokenizers", None)

    with pytest.raises(ModelUnavailable, match="needs the package tokenizers"):
        load(manifest)


def test_the_fake_profile_loads_in_silence(tmp_path: Path) -> None:
    with capture_logs() as logs:
        load_profile("fake", device="cpu", cache_dir=tmp_path).load_all()

    assert logs == []
    assert list(tmp_path.iterdir()) == []
