"""What the house is delivered with: compose files, images, Makefile, CI; held without a Docker engine."""

from __future__ import annotations

import importlib
import itertools
import os
import pkgutil
import re
import runpy
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from gunicorn.util import load_class
from gunicorn.workers.gthread import ThreadWorker
from pydantic import SecretStr
from pydantic_settings import BaseSettings
from typer.main import get_command

from client.cli import app
from client.stack.plan import Plan
from shared.keys import id_in
from shared.settings import SharedSettings
from shared.signing import signer_of

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((ROOT / "deploy").glob("*.Dockerfile"))
COMPOSE_SCHEMA = get_builtin_schema("vendor.compose-spec")
#: What the image of the API is built without.
ABSENT = {"PIL", "numpy", "onnxruntime", "tokenizers", "torch", "torchvision", "transformers", "worker"}
RESET = object()
MAKE = shutil.which("make") or "make"
BASH = shutil.which("bash") or "bash"


class ComposeLoader(yaml.SafeLoader):
    """YAML with the tag by which an override takes something away."""


ComposeLoader.add_constructor("!reset", lambda _loader, _node: RESET)


def compose(*files: str) -> dict[str, Any]:
    """Return the files laid over each other, by those rules of Compose that they use."""
    merged: dict[str, Any] = {}
    for file in files:
        merged = _overlaid(merged, ComposeLoader((ROOT / file).read_text()).get_single_data())
    return merged


def _overlaid(under: Any, over: Any) -> Any:
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return over
    both = {key: _overlaid(under.get(key), value) for key, value in over.items()}
    return {key: value for key, value in {**under, **both}.items() if value is not RESET}


WHOLE = compose("docker-compose.yml")
ON_CPU = compose("docker-compose.yml", "deploy/compose.cpu.yml")
SERVICES = WHOLE["services"]


@pytest.mark.parametrize("project", [WHOLE, ON_CPU], ids=["gpu", "cpu"])
def test_the_compose_files_keep_to_the_compose_specification(project: dict[str, Any]) -> None:
    jsonschema.validate(project, COMPOSE_SCHEMA)


def test_a_misspelt_key_would_be_caught() -> None:
    misspelt = {**WHOLE, "services": {**SERVICES, "api": {**SERVICES["api"], "stop_graceperiod": "40s"}}}

    with pytest.raises(jsonschema.ValidationError, match="stop_graceperiod"):
        jsonschema.validate(misspelt, COMPOSE_SCHEMA)


def test_the_worker_reserves_a_gpu_and_the_cpu_override_takes_it_back() -> None:
    reserved = SERVICES["worker"]["deploy"]["resources"]["reservations"]

    assert reserved["devices"] == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    assert "devices" not in ON_CPU["services"]["worker"]["deploy"]["resources"]["reservations"]
    assert ON_CPU["services"]["worker"]["environment"]["ICONOTEXT_DEVICE"] == "cpu"


@pytest.mark.parametrize("service", ["api", "worker"])
def test_a_service_starts_on_a_migrated_database(service: str) -> None:
    assert SERVICES[service]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert SERVICES["migrate"]["command"] == ["iconotext", "db", "upgrade"]


def test_both_sides_see_the_same_stores() -> None:
    for variable in WHOLE["x-environment"]:
        assert SERVICES["api"]["environment"][variable] == SERVICES["worker"]["environment"][variable]
    blobs = SERVICES["api"]["environment"]["ICONOTEXT_BLOB_URL"].removeprefix("file://")
    for service in ("api", "worker"):
        assert f"blobs:{blobs}" in SERVICES[service]["volumes"]


def test_both_sides_derive_the_same_secrets() -> None:
    for service in ("api", "worker"):
        assert SERVICES[service]["environment"]["ICONOTEXT_SECRET"].startswith("${ICONOTEXT_SECRET:?")


def test_the_example_says_how_to_make_a_secret_that_is_long_enough() -> None:
    asked = re.search(r"openssl rand -hex (\d+)", (ROOT / "deploy" / "env.example").read_text())

    assert asked is not None
    assert signer_of(SharedSettings(secret=SecretStr("a" * 2 * int(asked[1]))))


def test_nobody_is_served_without_a_key() -> None:
    environment = SERVICES["api"]["environment"]

    assert environment["ICONOTEXT_REQUIRE_KEYS"] == "true"
    assert "ICONOTEXT_ALLOW_UNAUTHENTICATED" not in environment


def test_the_api_answers_to_its_own_names_alone() -> None:
    """Its own health check is among those who ask."""
    names = SERVICES["api"]["environment"]["ICONOTEXT_ALLOWED_HOSTS"].split(",")

    assert names == ["localhost", "127.0.0.1", "${ALLOWED_HOSTS:-}"]
    assert "http://127.0.0.1:8000/readyz" in (ROOT / "deploy" / "api.Dockerfile").read_text()


def test_a_container_serves_as_a_laptop_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ICONOTEXT_API_HOST", "0.0.0.0")  # noqa: S104  # as in the image
    monkeypatch.setenv("ICONOTEXT_API_CONNECTIONS", "4321")
    monkeypatch.delenv("ICONOTEXT_API_THREADS", raising=False)
    served = runpy.run_path(str(ROOT / "deploy" / "gunicorn.conf.py"))

    words = Plan(data_dir=tmp_path).api(
        {"ICONOTEXT_API_CONNECTIONS": "4321", "ICONOTEXT_API_THREADS": str(served["threads"])}, 0
    )

    options = dict(itertools.pairwise(words.argv))
    assert options["--worker-class"] == served["worker_class"]
    assert options["--worker-connections"] == str(served["worker_connections"]) == "4321"
    assert options["--keep-alive"] == str(served["keepalive"])
    assert issubclass(load_class(served["worker_class"]), ThreadWorker)
    assert "--no-control-socket" in words.argv
    assert served["control_socket_disable"] is True


def test_a_key_can_be_made_where_no_models_are(tmp_path: Path) -> None:
    """In the image of the API: `docker compose exec api iconotext keys create NAME`."""
    without = f"import sys; sys.modules.update(dict.fromkeys({sorted(ABSENT)!r})); import client.cli as cli; "
    finished = subprocess.run(
        [sys.executable, "-c", f"{without}cli.main()", "keys", "create", "first"],
        env={**os.environ, "ICONOTEXT_DATA_DIR": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert finished.returncode == 0, finished.stderr
    assert id_in(finished.stdout.strip())


def test_every_volume_is_declared_and_used() -> None:
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}

    assert used == set(WHOLE["volumes"])


def test_the_queue_never_evicts_a_hint() -> None:
    command = SERVICES["valkey"]["command"]

    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"


def test_a_stopping_worker_has_time_to_hand_its_jobs_back() -> None:
    drain = float(SERVICES["worker"]["environment"]["ICONOTEXT_DRAIN"])

    assert float(SERVICES["worker"]["stop_grace_period"].removesuffix("s")) > drain


def test_only_the_api_is_published_and_only_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert published == {"api": ["${PUBLISH:-127.0.0.1:8000}:8000"]}


def test_no_secret_stands_in_a_file() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if re.search("(PASSWORD|SECRET|TOKEN|KEY)$", variable):
                assert str(value).startswith(f"${{{variable.replace('PGPASSWORD', 'POSTGRES_PASSWORD')}:?"), (
                    name
                )


def test_every_variable_that_compose_asks_for_is_in_the_example() -> None:
    asked = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    given = set(re.findall(r"^([A-Z_]+)=", (ROOT / "deploy" / "env.example").read_text(), re.MULTILINE))

    assert asked == given


def variables() -> dict[str, set[str]]:
    """Return each variable that settings read, with the classes that brought it in."""
    found: dict[str, set[str]] = defaultdict(set)
    for kind in _settings_classes():
        prefix = kind.model_config.get("env_prefix", "")
        own = set(kind.model_fields) - {
            name for base in kind.__bases__ for name in getattr(base, "model_fields", {})
        }
        for name in own:
            part = kind.model_fields[name].annotation
            if not (isinstance(part, type) and issubclass(part, BaseSettings)):
                found[f"{prefix}{name}".upper()].add(f"{kind.__module__}.{kind.__qualname__}.{name}")
    return found


def options() -> set[str]:
    """Return the variables that give the command line's options a default."""
    pending: list[Any] = [get_command(app)]
    found: set[str] = set()
    while pending:
        command = pending.pop()
        pending.extend(getattr(command, "commands", {}).values())
        found.update(option.envvar for option in command.params if option.envvar)
    return found


def _settings_classes() -> set[type[BaseSettings]]:
    for package in ("api", "client", "shared", "worker"):
        for module in pkgutil.iter_modules([str(ROOT / package)]):
            if module.name == "settings":
                importlib.import_module(f"{package}.settings")
    pending = [BaseSettings]
    found: set[type[BaseSettings]] = set()
    while pending:
        pending.extend(subclasses := pending.pop().__subclasses__())
        found.update(kind for kind in subclasses if kind.__module__.endswith(".settings"))
    return {kind for kind in found if kind.__module__.split(".")[0] in ("api", "client", "shared", "worker")}


def test_a_variable_means_one_thing() -> None:
    """Every process of one stack is handed the same environment."""
    assert {name: owners for name, owners in variables().items() if len(owners) > 1} == {}


@pytest.mark.parametrize(
    "file",
    ["docker-compose.yml", "Makefile", "README.md", ".ci/run"]
    + [file.relative_to(ROOT).as_posix() for file in sorted((ROOT / "deploy").iterdir()) if file.is_file()],
)
def test_every_variable_that_is_named_exists(file: str) -> None:
    # `ICONOTEXT_*` and `ICONOTEXT_MAX_*` speak of many, and match nothing.
    named = set(re.findall(r"ICONOTEXT_[A-Z0-9_]*[A-Z0-9](?![A-Z0-9_])", (ROOT / file).read_text()))

    assert named - set(variables()) - options() == set()


def test_every_proof_that_readme_names_is_there() -> None:
    section = re.search(
        r"^## Safety: .*?(?=^## )", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert section is not None
    proofs = re.findall(r"`([\w/]+/test_\w+\.py)`", section[0])

    assert len(proofs) > 30
    assert {proof for proof in proofs if not (ROOT / "tests" / proof).is_file()} == set()


def copied(dockerfile: Path) -> Iterator[str]:
    """Yield each source that a Dockerfile takes from the build context."""
    for line in dockerfile.read_text().replace("\\\n", " ").splitlines():
        words = line.split()
        if words[:1] in (["COPY"], ["ADD"]) and not any(word.startswith("--from=") for word in words):
            yield from [word for word in words[1:] if not word.startswith("--")][:-1]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.name)
def test_what_an_image_copies_exists_and_reaches_the_build(dockerfile: Path) -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    let_through = {line.removeprefix("!") for line in lines if line.startswith("!")}

    sources = set(copied(dockerfile))

    assert sources
    assert {source for source in sources if not (ROOT / source).exists()} == set()
    assert sources <= let_through


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.name)
def test_an_image_runs_without_root_and_hears_signals(dockerfile: Path) -> None:
    text = dockerfile.read_text()

    assert re.search(r"^USER iconotext$", text, re.MULTILINE)
    commands = re.findall(r"^CMD (.*)$", text, re.MULTILINE)
    assert len(commands) == 1
    assert isinstance(yaml.safe_load(commands[0]), list)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.name)
def test_an_image_holds_the_versions_that_were_tested(dockerfile: Path) -> None:
    installs = re.findall(r"pip install (.*)$", dockerfile.read_text(), re.MULTILINE)

    assert installs
    assert all("-c constraints.txt" in install or "--no-deps" in install for install in installs)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a folder with what `make` needs to begin, and no .venv."""
    for file in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / file, tmp_path)
    (tmp_path / "benchmarks").mkdir()
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Outside variables of a `make test` would reach into this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        [MAKE, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_make_alone_lists_the_targets(clone: Path) -> None:
    shown = make(clone).stdout

    for target in ("demo", "test", "check", "bench", "fmt", "clean"):
        assert re.search(rf"^make {target} ", shown, re.MULTILINE)


@pytest.mark.parametrize("version", ["2.7.18", "3.10.13", "3.14.0"])
def test_a_python_out_of_range_is_refused_in_words(version: str, clone: Path) -> None:
    python = clone / "some-python"
    python.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "Python {version}" && exit 0\nexit 1\n')
    python.chmod(0o755)

    finished = make(clone, "static", f"PYTHON={python}")

    assert finished.returncode != 0
    assert f"needs Python 3.11, 3.12 or 3.13; '{python}' answers: Python {version}" in finished.stderr
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize(
    ("arguments", "command"), [((), "iconotext demo"), (("ONCE=1",), "iconotext demo --once")]
)
def test_the_demo_leaves_when_asked_to(arguments: tuple[str, ...], command: str, clone: Path) -> None:
    shown = make(clone, "--dry-run", "demo", *arguments).stdout

    assert shown.rstrip().splitlines()[-1].rstrip().endswith(command)


def test_bench_runs_what_can_be_run(clone: Path) -> None:
    (clone / "benchmarks" / "__init__.py").touch()
    (clone / "benchmarks" / "machine.py").write_text("def describe(): ...\n")
    (clone / "benchmarks" / "baseline.py").write_text('if __name__ == "__main__":\n    print()\n')

    shown = make(clone, "--dry-run", "bench").stdout

    assert "for name in baseline;" in shown


def test_what_installs_things_names_no_address_and_no_place_of_one_machine() -> None:
    files = [
        ROOT / name for name in ("Makefile", "constraints.txt", ".ci/run", "pyproject.toml", ".dockerignore")
    ]

    for file in [*files, *DOCKERFILES]:
        text = file.read_text().replace("http://127.0.0.1:8000/readyz", "")
        assert not re.search(
            r"https?://|--index-url|--find-links|/(?:home|work)/|/root/(?!\.cache/pip)", text
        ), file


def test_ci_runs_the_checks_and_the_readmes_test_command() -> None:
    script = ROOT / ".ci" / "run"
    targets = re.findall(r"^make (.+)$", script.read_text(), re.MULTILINE)

    assert targets == ["static", "test"]
    assert os.access(script, os.X_OK)
    assert subprocess.run([BASH, "-n", str(script)], check=False).returncode == 0
