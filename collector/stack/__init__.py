"""The whole stack as processes on loopback, from the shipped files: ``make stack``, and the tests.

    with Stack(directory) as stack:  # on free ports; Stack.default_addresses() for 4317 ...
        exporter = OTLPSpanExporter(endpoint=stack.otlp_grpc, insecure=True)
        stack.kill("jaeger"); stack.launch("jaeger")
        stack.suspend("otelcol"); stack.resume("otelcol")   # accepts, and never answers

Needs the programs of `make backends`. ``python -m collector.stack`` runs it in the foreground.
"""

from collector.stack.addresses import DEFAULT_PORTS, StackError, free_addresses
from collector.stack.services import FOLDER
from collector.stack.stack import PROGRAMS, Stack

__all__ = ["DEFAULT_PORTS", "FOLDER", "PROGRAMS", "Stack", "StackError", "free_addresses"]
