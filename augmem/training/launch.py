"""Start distributed training: `python -m augmem.training.launch OPTIONS -m augmem.cli train --exp DIR`.

Takes torchrun's options. Works around a bug of torch 1.13 under Python 3.11, where torchrun fails because the default
of `--redirects` is parsed as None. With later releases use torchrun itself.
"""

from __future__ import annotations

import sys

from torch.distributed.elastic.multiprocessing.api import Std
from torch.distributed.launcher.api import elastic_launch
from torch.distributed.run import config_from_args, parse_args


def main() -> None:
    """Start the processes; restart all of them when one exits with an error."""
    config, command, arguments = config_from_args(parse_args(sys.argv[1:]))
    config.redirects, config.tee = config.redirects or Std.NONE, config.tee or Std.NONE
    elastic_launch(config, command)(*arguments)


if __name__ == "__main__":
    main()
