"""Options and variables become the environment and the command of each process."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.stack.plan import Plan, make_plan


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "OMP_NUM_THREADS",
        "ICONOTEXT_DEVICE",
        "ICONOTEXT_POOLS",
        "ICONOTEXT_API_THREADS",
        "ICONOTEXT_MANIFEST",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("client.stack.plan.cores", lambda: 9)


def plan(tmp_path: Path, **options: object) -> Plan:
    common = {"data_dir": tmp_path, "host": "127.0.0.1", "port": 0, "workers": 1, "profile": None}
    return make_plan(**{**common, **options})  # type: ignore[arg-type]  # the caller names its parameters


def environment(made: Plan) -> dict[str, str]:
    return made.environment("redis://h", 1)


def test_each_worker_is_told_its_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.stack.devices.cuda_devices", lambda env: 2)

    made = plan(tmp_path, workers=None)

    env = environment(made)
    commands = [made.worker(number, env) for number in (1, 2)]
    assert made.workers == 2
    assert [command.env["ICONOTEXT_DEVICE"] for command in commands] == ["cuda:0", "cuda:1"]
    assert [command.name for command in commands] == ["worker-1", "worker-2"]


def test_workers_share_the_cores(tmp_path: Path) -> None:
    assert environment(plan(tmp_path, workers=4))["OMP_NUM_THREADS"] == "2"
    assert environment(plan(tmp_path, workers=20))["OMP_NUM_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in environment(plan(tmp_path, workers=1))


def test_the_operators_own_number_of_threads_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert environment(plan(tmp_path, workers=4))["OMP_NUM_THREADS"] == "7"


def test_the_pools_reach_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment(plan(tmp_path, pools="gpu-large,cpu"))["ICONOTEXT_POOLS"] == "gpu-large,cpu"

    monkeypatch.setenv("ICONOTEXT_POOLS", "cpu")
    assert environment(plan(tmp_path))["ICONOTEXT_POOLS"] == "cpu"


def test_a_manifest_of_ones_own_reaches_all_processes_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    told = environment(plan(tmp_path, manifest=Path("own.toml")))

    assert told["ICONOTEXT_MANIFEST"] == str(tmp_path / "own.toml")
    assert "ICONOTEXT_MANIFEST" not in environment(plan(tmp_path))


def test_the_api_has_the_threads_that_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def threads() -> str:
        made = plan(tmp_path)
        argv = made.api(environment(made), 3).argv
        return argv[argv.index("--threads") + 1]

    assert threads() == "1024"
    monkeypatch.setenv("ICONOTEXT_API_THREADS", "4")
    assert threads() == "4"
