"""Profiles are read strictly, without the model stack, and say which pool serves what."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.errors import BadConfiguration
from shared.manifests import Entry, Manifest, profiles, read_manifest

ENTRY = {"backend": "fake", "id": "a/b", "architecture": "none", "licence": "MIT", "grade": "test"}
TEXT = """
[models.TextEncoder]
backend = "fake"
id = "a/b"
architecture = "none"
licence = "MIT"
grade = "test"
"""


def manifest(**pools: str) -> Manifest:
    """Return a manifest of models in these pools, the last built over the one before it."""
    names = list(pools)
    models = {name: {**ENTRY, "pool": pool} for name, pool in pools.items()}
    return Manifest.model_validate(
        {"summary": "x", "models": {**models, "Over": {**ENTRY, "over": names[-1:]}}}
    )


def test_a_model_is_kept_in_the_default_pool_unless_it_says_otherwise() -> None:
    entry = manifest(A="default").models["Over"]

    assert (entry.pool, entry.residency) == ("default", "keep")


@pytest.mark.parametrize(
    ("needs", "pool"),
    [
        ([], "default"),
        (["Plain"], "default"),
        (["Plain", "Large"], "gpu-large"),
        (["Large", "Plain", "Large"], "gpu-large"),
        (["Over"], "gpu-large"),
        (["Unheard"], "default"),
    ],
)
def test_a_task_goes_to_the_pool_of_what_it_needs(needs: list[str], pool: str) -> None:
    assert manifest(Plain="default", Large="gpu-large").pool_of(needs) == pool


def test_a_task_cannot_run_in_two_pools() -> None:
    with pytest.raises(BadConfiguration, match=r"different pools, cpu, gpu-large; .* share a pool"):
        manifest(Small="cpu", Large="gpu-large").pool_of(["Small", "Large"])


def test_an_unknown_profile_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadConfiguration, match=r"no profile 'fulll'.*fake.*starter"):
        read_manifest("fulll")


@pytest.mark.parametrize("name", ["../manifests/fake", "", ".", "fake.toml"])
def test_a_profile_is_a_name_or_an_existing_file(name: str) -> None:
    with pytest.raises(BadConfiguration, match="no profile"):
        read_manifest(name)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("summary = ", "not TOML"),
        ('summary = "x"', "models"),
        ('summary = "x"\nmodels = {}\nextra = 1', "extra"),
        ('summary = "x"' + TEXT + 'over = ["ImageEncoder"]', "must stand before it"),
        ('summary = "x"' + TEXT + 'package = "numpy"', "package, file and sha256, or none"),
        ('summary = "x"' + TEXT + 'residency = "sometimes"', "residency"),
        ('summary = "x"' + TEXT + 'pool = ""', "pool"),
        ('summary = "x"' + TEXT.replace('"fake"', '"os.path"'), "backend"),
        ('summary = "x"' + TEXT.replace('"test"', '"superb"'), "grade"),
    ],
)
def test_a_manifest_that_makes_no_sense_says_what_is_wrong(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)

    with pytest.raises(BadConfiguration, match=fault):
        read_manifest(str(path))


def test_the_profiles_in_the_house_are_found() -> None:
    assert profiles() == ["classic", "fake", "full", "starter"]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_an_operators_manifest_goes_before_that_of_the_profile(tmp_path: Path) -> None:
    own = write(tmp_path / "own.toml", 'summary = "x"' + TEXT)

    assert list(read_manifest("starter", own).models) == ["TextEncoder"]


def test_a_manifest_is_called_what_it_says_or_else_after_its_file(tmp_path: Path) -> None:
    named = write(tmp_path / "a.toml", 'name = "mine"\nsummary = "x"' + TEXT)
    unnamed = write(tmp_path / "b.toml", 'extends = "fake"')

    assert [read_manifest("starter", path).name for path in (named, unnamed)] == ["mine", "b"]
    assert read_manifest("fake").name == "fake"


def test_what_a_manifest_extends_stays_but_for_the_fields_that_it_names(tmp_path: Path) -> None:
    own = write(tmp_path / "own.toml", 'extends = "fake"\n[models.Captioner]\nid = "mine"\npool = "gpu"')

    found, base = read_manifest("starter", own), read_manifest("fake")

    assert list(found.models) == list(base.models)
    assert found.models["Captioner"] == base.models["Captioner"].model_copy(
        update={"id": "mine", "pool": "gpu"}
    )
    assert found.models["Answerer"] == base.models["Answerer"]


def test_another_source_takes_the_place_of_the_whole_source(tmp_path: Path) -> None:
    own = write(tmp_path / "own.toml", 'extends = "starter"\n[models.TextEncoder]\nfolder = "texts"')

    entry = read_manifest("fake", own).models["TextEncoder"]

    assert entry.folder == tmp_path / "texts"
    assert (entry.package, entry.file, entry.sha256, entry.companions) == (None, None, None, {})
    assert entry.backend == "minilm"


def test_a_folder_is_beside_its_manifest_unless_it_is_absolute(tmp_path: Path) -> None:
    base = write(tmp_path / "base.toml", 'summary = "x"' + TEXT + 'folder = "a"')
    (tmp_path / "below").mkdir()
    own = write(tmp_path / "below" / "own.toml", f'extends = "../{base.name}"')
    absolute = write(tmp_path / "c.toml", 'summary = "x"' + TEXT + 'folder = "/models/c"')

    folders = [read_manifest("fake", path).models["TextEncoder"].folder for path in (base, own, absolute)]

    assert [str(folder) for folder in folders] == [
        str(tmp_path / "a"), str(tmp_path / "below" / ".." / "a"), "/models/c",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('extends = "fulll"', "no profile 'fulll'"),
        ("extends = 3", "extends names one profile"),
        ('extends = "again.toml"', "itself extends fake; extend that instead"),
        (
            'extends = "fake"\n[models.Captioner]\nbackend = "A"',
            "ICONOTEXT_MANIFEST=.*models.Captioner.backend",
        ),
    ],
)
def test_what_cannot_be_extended_is_said(tmp_path: Path, text: str, fault: str) -> None:
    write(tmp_path / "again.toml", 'extends = "fake"')

    with pytest.raises(BadConfiguration, match=fault):
        read_manifest("starter", write(tmp_path / "own.toml", text))


def test_a_manifest_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        BadConfiguration, match=r"ICONOTEXT_MANIFEST=.*none\.toml.* cannot be read: No such file"
    ):
        read_manifest("starter", tmp_path / "none.toml")


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"hub": "a/b"}, "give hub and revision"),
        ({"revision": COMMIT}, "give hub and revision"),
        ({"hub": "a/b", "revision": "main"}, "'main' is no commit: give its 40 hex digits"),
        ({"hub": "a/b", "revision": COMMIT.upper()}, "is no commit"),
        ({"hub": "../b", "revision": COMMIT}, "hub"),
        (
            {"hub": "a/b", "revision": COMMIT, "folder": "c"},
            "give one of package, hub and folder, not hub and folder",
        ),
        ({"files": {"a": "0" * 64}}, "files need a hub repository or a folder"),
        ({"folder": "c", "files": {"../a": "0" * 64}}, "no path inside the source"),
        ({"folder": "c", "files": {"a": "0" * 63}}, "files"),
        ({"folder": "c", "leave_out": ["*"]}, "leave_out need a hub"),
        ({"companions": {"a": "0" * 64}}, "companions need a package"),
        ({"memory_bytes": 0}, "memory_bytes"),
        ({"dtype": "int8"}, "dtype"),
        ({"requires": ["os; rm"]}, "requires"),
    ],
)
def test_a_source_is_named_whole_and_alone(fields: dict[str, object], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Entry.model_validate({**ENTRY, **fields})


def test_a_revision_is_the_commit_the_hash_or_what_the_folder_held() -> None:
    below = {"hub": "a/b", "revision": COMMIT}
    found = Manifest.model_validate(
        {
            "summary": "x",
            "models": {
                "Hub": {**ENTRY, **below},
                "Folder": {**ENTRY, "folder": "/c"},
                "Over": {**ENTRY, "over": ["Hub", "Folder"]},
                "Both": {**ENTRY, **below, "over": ["Folder"]},
            },
        }
    )

    revisions = {name: found.revision_of(name, {"Folder": "sha256:c"}) for name in found.models}

    assert revisions == {
        "Hub": COMMIT, "Folder": "sha256:c", "Over": f"{COMMIT} + sha256:c", "Both": COMMIT,
    }  # fmt: skip
    assert found.revision_of("Folder") == "folder"


def test_a_profile_says_which_capabilities_it_lacks() -> None:
    assert manifest(A="default").lacks(["A", "B", "Over"]) == ["B"]


@pytest.mark.parametrize("profile", profiles())
def test_every_backend_of_the_profiles_in_the_house_exists(profile: str) -> None:
    backends = {entry.backend for entry in read_manifest(profile).models.values()}

    assert backends <= {path.stem for path in Path("worker/models").glob("*.py")}


@pytest.mark.parametrize("profile", ["classic", "full"])
def test_the_profiles_for_the_hub_say_what_their_models_take_and_how_they_may_be_used(profile: str) -> None:
    for capability, entry in read_manifest(profile).models.items():
        assert entry.licence, capability
        assert entry.origin or entry.over, capability
        assert (entry.hub is None) or entry.memory_bytes, capability


def test_reading_a_profile_loads_no_model_stack() -> None:
    code = (
        "import sys; from shared.manifests import read_manifest; read_manifest('starter');"
        "print(sorted({'torch', 'transformers', 'numpy', 'worker'} & set(sys.modules)))"
    )

    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert finished.stdout.strip() == "[]"
