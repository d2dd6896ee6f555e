"""Only the weights that a manifest names are loaded, by the backends that it names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from safetensors.numpy import save_file
from structlog.testing import capture_logs

from shared.errors import BadConfiguration, ModelUnavailable
from worker.models.fake import FakeTextEncoder
from worker.models.registry import Profile, load_profile

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

    assert list(loadings) == ["TextEncoder", "ImageEncoder", "JointEncoder"]
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
