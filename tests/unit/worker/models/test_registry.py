"""Profiles are read strictly, and only the weights that a manifest names are loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import save_file
from structlog.testing import capture_logs

from shared.errors import BadConfiguration, ModelUnavailable
from worker.models.fake import FakeTextEncoder
from worker.models.registry import describe_profile, load_profile, profiles

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


def load(manifest: Path) -> FakeTextEncoder:
    model = load_profile(str(manifest), device="cpu", cache_dir=manifest.parent).models["TextEncoder"]
    assert isinstance(model, FakeTextEncoder)
    return model


def test_an_unknown_profile_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"no profile 'fulll'.*fake.*starter"):
        load_profile("fulll", device="cpu", cache_dir=tmp_path)


@pytest.mark.parametrize("name", ["../manifests/fake", "", ".", "fake.toml"])
def test_a_profile_is_a_name_or_an_existing_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadConfiguration, match="no profile"):
        load_profile(name, device="cpu", cache_dir=tmp_path)


def test_an_operators_own_manifest_is_a_profile(manifest: Path) -> None:
    manifest.write_text('summary = "mine"' + ENTRY)

    assert load(manifest).card.id == "a/b"


def test_options_reach_the_backend(manifest: Path) -> None:
    manifest.write_text(f'summary = "mine"{ENTRY}options = {{ largest_batch = 1 }}')

    with pytest.raises(MemoryError):
        load(manifest).encode_texts(["one", "two"])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("summary = ", "not TOML"),
        ('summary = "x"', "models"),
        ('summary = "x"\nmodels = {}\nextra = 1', "extra"),
        ('summary = "x"' + ENTRY.replace("TextEncoder", "Oracle"), "Oracle is no capability"),
        ('summary = "x"' + ENTRY + 'over = ["ImageEncoder"]', "must stand before it"),
        ('summary = "x"' + ENTRY + 'package = "numpy"', "package, file and sha256, or none"),
        ('summary = "x"' + ENTRY.replace('"fake"', '"os.path"'), "backend"),
        ('summary = "x"' + ENTRY.replace('"fake"', '"absent"'), "no backend absent"),
        ('summary = "x"' + ENTRY.replace('"fake"', '"capabilities"'), "is not a backend"),
        ('summary = "x"' + ENTRY.replace('"test"', '"superb"'), "grade"),
    ],
)
def test_a_manifest_that_makes_no_sense_says_what_is_wrong(manifest: Path, text: str, fault: str) -> None:
    manifest.write_text(text)

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


def test_the_profiles_in_the_house_are_found() -> None:
    assert {"fake", "starter"} <= set(profiles())


@pytest.mark.parametrize("profile", profiles())
def test_a_profile_describes_itself_whole(profile: str) -> None:
    described = describe_profile(profile)

    assert described["profile"] == profile
    assert described["summary"]
    for entry in described["models"].values():
        assert {"id", "architecture", "licence", "grade"} <= set(entry)


def test_describing_a_profile_loads_no_torch() -> None:
    code = (
        "import sys; from worker.models.registry import describe_profile;"
        "describe_profile('starter'); print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )

    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert finished.stdout.strip() == "[]"


def test_the_fake_profile_loads_in_silence(tmp_path: Path) -> None:
    with capture_logs() as logs:
        load_profile("fake", device="cpu", cache_dir=tmp_path)

    assert logs == []
    assert list(tmp_path.iterdir()) == []
