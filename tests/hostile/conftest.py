"""A whole service to be hurt: real processes with stand-in models, which every test must leave unharmed."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.conftest import Up, end


@pytest.fixture(scope="session")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Return a stack that all tests here share: none may harm it for the next."""
    up = Up(tmp_path_factory.mktemp("attacked") / "data", env={"ICONOTEXT_LOG_FORMAT": "json"})
    try:
        yield up.wait_until_ready()
        assert '"level": "error"' not in (up.data_dir / "logs" / "api.log").read_text()
    finally:
        end([up])


@pytest.fixture
def http(attacked: Up) -> Iterator[httpx.Client]:
    """Return a connection to it; nobody of it may die meanwhile."""
    before = [attacked.pid(name) for name in ("api", "worker-1")]
    with httpx.Client(base_url=attacked.url, timeout=30.0, trust_env=False) as made:
        yield made
    assert [attacked.pid(name) for name in ("api", "worker-1")] == before, attacked.output
