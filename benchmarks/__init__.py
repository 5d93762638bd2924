"""Measurements, each run by one command that its module names."""

from augmem.machine import prepare_libraries

prepare_libraries()  # before torch and numpy are imported
