"""What all tests share: fast matrix products, one torch thread, quiet and reproducible hypothesis."""

import os
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of every process that a test starts; read when torch is loaded

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


@pytest.fixture(scope="session")
def scheduler() -> Iterator[str]:
    """Address of a Dask scheduler with two worker processes."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address
