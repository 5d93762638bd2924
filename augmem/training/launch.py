"""torchrun, for the lock file's torch too: `python -m augmem.training.launch OPTIONS -m augmem.cli train --exp DIR`.

Torch 1.13 reads its own default for `--redirects` as nothing under Python 3.11 (members of a Flag that are zero are no
longer listed there) and falls over. Options are torchrun's; with later releases torchrun itself serves as well.
"""

from __future__ import annotations

import sys

from torch.distributed.elastic.multiprocessing.api import Std
from torch.distributed.launcher.api import elastic_launch
from torch.distributed.run import config_from_args, parse_args


def main() -> None:
    """Start the processes, and all of them again when one has died."""
    config, command, arguments = config_from_args(parse_args(sys.argv[1:]))
    config.redirects, config.tee = config.redirects or Std.NONE, config.tee or Std.NONE
    elastic_launch(config, command)(*arguments)


if __name__ == "__main__":
    main()
