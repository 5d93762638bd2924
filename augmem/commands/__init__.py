"""Tools beside the stages of run.sh: one module a subcommand of `augmem`, listed in `augmem.cli.TOOLS`.

Each module has `add_options(parser)`, which must not import torch or k2, so that `--help` and the doctor work where
those are broken, and `run(arguments) -> int`, which gives the exit status.
"""
