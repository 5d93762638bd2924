"""Start distributed training: `python -m augmem.training.launch OPTIONS -m augmem.cli train --exp DIR`.

Takes torchrun's options. Works around a bug of torch 1.13 under Python 3.11, where torchrun fails because the default
of `--redirects` is parsed as None. With torch 2, torchrun itself does the same.
"""

from __future__ import annotations

import sys

from torch.distributed.elastic.multiprocessing.api import Std
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.distributed.run import config_from_args, parse_args


def main() -> None:
    """Start the processes; restart all of them when one exits with an error."""
    config, command, arguments = config_from_args(parse_args(sys.argv[1:]))
    elastic_launch(set_redirects(config), command)(*arguments)


def set_redirects(config: LaunchConfig) -> LaunchConfig:
    """Replace None by "no redirection"; in torch 2 the settings are part of `logs_specs` and never None."""
    for name in ("redirects", "tee"):
        if getattr(config, name, Std.NONE) is None:
            setattr(config, name, Std.NONE)
    return config


if __name__ == "__main__":
    main()
