"""The package's version, which is also the instrumentation scope's."""

__version__ = "0.1.0"
