"""Serves the page that draws the Perses dashboards: `python -m dashboards.web.serve`.

The page asks Prometheus through this server, which keeps its password, forwards questions only, and
answers no page but its own: Host must name this machine, and Origin be the address that was asked.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import threading
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from otel_budget import semconv
from otel_budget.verify import http

FOLDER: Final = Path(__file__).resolve().parent
DASHBOARDS: Final = FOLDER.parent / "perses"
HOST: Final = "127.0.0.1"
_OURS: Final = frozenset({HOST, "localhost"})
DEFAULT_PORT: Final = 8080
JAEGER: Final = "http://127.0.0.1:16686"
#: What the page may ask for, by the first part of the path.
_QUESTIONS: Final = {
    "prometheus": re.compile(r"/api/v1/(query|query_range|labels|label/[^/]+/values|series)"),
    "jaeger": re.compile(r"/api/(services|traces|v3/traces/[0-9a-f]+)"),
}
#: By the names of the page's parameters, the spans' attributes; and the values of the decision.
_ATTRIBUTES: Final = {
    "tenant": semconv.TENANT,
    "agent": semconv.AGENT,
    "principal": semconv.PRINCIPAL,
    "session": semconv.SESSION_ID,
    "decision": semconv.DECISION,
    "resource": semconv.RESOURCE,
    "window": semconv.WINDOW,
    "decisions": semconv.DECISIONS,
    "hits": sorted(semconv.HIT_DECISIONS),
}
_LONGEST: Final = 1 << 20  # bytes of a question
_TIMEOUT: Final = 130.0  # seconds: Prometheus gives a query two minutes
_TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".json": "application/json",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}


def built() -> bool:
    """Whether the page has been built (`make dashboards-web`)."""
    return (FOLDER / "dist" / "main.js").is_file()


def _handler(prometheus: str, jaeger: str, dashboards: Path) -> type[BaseHTTPRequestHandler]:
    order = ("overview", "drilldown", "health")
    files = sorted(
        dashboards.glob("*.json"),
        key=lambda f: (order.index(f.stem) if f.stem in order else len(order), f.stem),
    )
    titles = [
        {"name": f.stem, "title": json.loads(f.read_text())["spec"]["display"]["name"]}
        for f in files
    ]
    titles.append({"name": "traces", "title": "Traces"})
    config = json.dumps({"dashboards": titles, "attributes": _ATTRIBUTES}).encode()
    backends = {"prometheus": prometheus.rstrip("/"), "jaeger": jaeger.rstrip("/")}

    class Handler(BaseHTTPRequestHandler):
        """Serves four kinds of path from the disk, and forwards questions."""

        def do_GET(self) -> None:
            if not self._trusted() or self._forwarded():
                return
            path = urllib.parse.urlsplit(self.path).path
            name = path.rpartition("/")[2]
            if path == "/config.json":
                self._send(config, ".json")
            elif path.startswith("/dashboards/"):
                self._send_file(dashboards, name)
            elif path.startswith("/dist/"):
                self._send_file(FOLDER / "dist", name)
            elif path == "/" or path[1:] in {title["name"] for title in titles}:
                self._send_file(FOLDER, "index.html")
            else:
                self.send_error(HTTPStatus.NOT_FOUND)

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            body = self.rfile.read(min(int(length), _LONGEST) if length.isdecimal() else 0)
            if self._trusted() and not self._forwarded(body):
                self.send_error(HTTPStatus.NOT_FOUND)

        def _trusted(self) -> bool:
            """Whether no other page asks; a browser tells Host always, Origin unless it only reads.

            A name that somebody else points at this machine is not ours, and any port may be
            forwarded to ours.
            """
            host = self.headers.get("Host", "")
            origin = self.headers.get("Origin", f"http://{host}")
            if host.partition(":")[0] in _OURS and origin == f"http://{host}":
                return True
            self.send_error(HTTPStatus.FORBIDDEN, f"Open this page as http://{HOST}:PORT")
            return False

        def _forwarded(self, body: bytes | None = None) -> bool:
            """Answer with what a backend says, if the path is a question to one."""
            name, _, rest = self.path.removeprefix("/").partition("/")
            path = urllib.parse.urlsplit(f"/{rest}").path
            if name not in backends or not _QUESTIONS[name].fullmatch(path):
                return False
            headers = {"Content-Type": self.headers["Content-Type"]} if body else {}
            try:
                answer = http.ask(
                    f"{backends[name]}/{rest}", data=body, headers=headers, timeout=_TIMEOUT
                )
            except OSError:
                self.send_error(HTTPStatus.BAD_GATEWAY, f"{name} does not answer")
            else:
                self._send(answer.body, ".json", answer.status)
            return True

        def _send_file(self, folder: Path, name: str) -> None:
            if name not in {file.name for file in folder.glob("*") if file.is_file()}:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            self._send((folder / name).read_bytes(), Path(name).suffix)

        def _send(self, body: bytes, suffix: str, status: int = HTTPStatus.OK) -> None:
            self.send_response(status)
            self.send_header("Content-Type", _TYPES.get(suffix, "application/octet-stream"))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Logs nothing, so that the terminal shows only the address."""

    return Handler


@contextmanager
def serving(
    prometheus: str, jaeger: str = JAEGER, *, port: int = 0, dashboards: Path = DASHBOARDS
) -> Iterator[str]:
    """Serve the page on loopback while the block runs.

    Args:
        prometheus: Base URL of the Prometheus that the page asks, with user and password if it
            wants them.
        jaeger: Base URL of its query API.
        port: 0 chooses any free one.
        dashboards: Folder of Perses dashboards.

    Yields:
        The page's address.

    Raises:
        OSError: The port is in use.
    """
    server = ThreadingHTTPServer((HOST, port), _handler(prometheus, jaeger, dashboards))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m dashboards.web.serve", description="Draw the dashboards in a browser."
    )
    parser.add_argument(
        "--prometheus",
        default="http://127.0.0.1:9090",
        help="its base URL, with user:password@ if it wants one",
    )
    parser.add_argument("--jaeger", default=JAEGER, help="base URL of its query API")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    options = parser.parse_args(arguments)
    if not built():
        sys.stderr.write("The page is not built; run `make dashboards-web`.\n")
        return 1
    try:
        with serving(options.prometheus, options.jaeger, port=options.port) as address:
            sys.stdout.write(
                f"Dashboards of {http.shown(options.prometheus)}: {address}  (Ctrl-C stops)\n"
            )
            sys.stdout.flush()
            threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    except OSError as error:
        sys.stderr.write(f"Port {options.port}: {error.strerror}; choose another with --port.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
