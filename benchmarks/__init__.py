"""Measurements, each run by one command that its module names."""

import augmem  # noqa: F401 - before torch and numpy, see augmem.machine
