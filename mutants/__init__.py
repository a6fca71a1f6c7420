"""Breaks the core in small ways and counts how many of them the tests notice: `make mutants`."""
