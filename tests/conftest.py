"""Settings of all tests: one torch thread, reproducible hypothesis examples, longest files first."""

import os
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of all processes that tests start; read when torch is loaded

import pytest
import torch
from distributed import LocalCluster
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
settings.register_profile(
    "augmem",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("augmem")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with tests/shell, whose files take longest, so that all processes end at about the same time."""
    items.sort(key=lambda item: ("/shell/test_run" not in item.nodeid, "/shell/" not in item.nodeid))


@pytest.fixture(scope="session")
def scheduler() -> Iterator[str]:
    """Start a Dask scheduler with two worker processes and return its address."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address
