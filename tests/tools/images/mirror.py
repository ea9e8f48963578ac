"""A web server on loopback that has files, and everything that goes wrong with web servers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Mirror:
    """files: path -> content. asked: (path, Range header) of each request."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.cut_after: list[int] = []  # the next answers end after so many bytes of their body
        self.ranges = True  # whether it knows how to go on
        self.content_type = "application/octet-stream"
        self.url = ""


@contextlib.contextmanager
def mirror() -> Iterator[Mirror]:
    """Runs until the block ends."""
    shared = Mirror()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            shared.asked.append((self.path, asked))
            data = shared.files.get(self.path)
            if data is None:
                page = b"<html>404</html>"
                self.send_response(404)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)
                return
            begin = int(asked.removeprefix("bytes=").split("-")[0]) if asked and shared.ranges else 0
            if begin and begin >= len(data):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if begin else 200)
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Type", shared.content_type)
            self.send_header("Content-Length", str(len(data) - begin))
            self.end_headers()
            body = data[begin:]
            if shared.cut_after:
                self.wfile.write(body[: shared.cut_after.pop(0)])
                self.wfile.flush()
                self.close_connection = True
                return
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    shared.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield shared
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
