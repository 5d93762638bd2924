"""Settings of the launcher in old and new releases of torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import pytest
from torch.distributed.elastic.multiprocessing.api import Std

from augmem.training.launch import set_redirects


@dataclass
class OldConfig:
    """LaunchConfig until torch 2.2, as far as output is concerned."""

    redirects: Std | None = Std.NONE
    tee: Std | None = Std.NONE


@dataclass
class NewConfig:
    """LaunchConfig since torch 2.3."""

    logs_specs: dict[str, Std] = field(default_factory=lambda: {"redirects": Std.NONE, "tee": Std.NONE})


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (OldConfig(None, None), OldConfig(Std.NONE, Std.NONE)),
        (OldConfig(Std.ALL, Std.ERR), OldConfig(Std.ALL, Std.ERR)),
        (NewConfig(), NewConfig()),
    ],
)
def test_missing_redirects_become_none_where_the_configuration_has_them(
    config: OldConfig | NewConfig, expected: OldConfig | NewConfig
) -> None:
    assert asdict(set_redirects(config)) == asdict(expected)
    assert not hasattr(config, "redirects") or config.redirects is not None
