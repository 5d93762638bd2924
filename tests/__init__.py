import augmem  # noqa: F401 - before torch and numpy, see augmem.machine
