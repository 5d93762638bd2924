"""Tools of the console command `augmem`: one module per subcommand, listed in `augmem.cli.TOOLS`.

Each module has `add_options(parser)`, which must not import torch or k2, so that `--help` and `augmem doctor` work
if these are broken, and `run(arguments) -> int`, which returns the exit status.
"""
