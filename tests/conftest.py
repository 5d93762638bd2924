"""What all tests share: fast matrix products, one torch thread, quiet and reproducible hypothesis."""

from augmem.machine import prefer_fast_mkl

prefer_fast_mkl()  # before torch is imported anywhere

import torch  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

torch.set_num_threads(1)
settings.register_profile(
    "augmem",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("augmem")
