"""Servers on loopback: a folder as any static server has it, with answers that a test prescribes."""

from __future__ import annotations

import functools
import http.server
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Served:
    """A running server: its address, how often each path was asked for, and answers by path (status, headers, content)."""

    url: str
    asked: Counter[str] = field(default_factory=Counter)
    prescribed: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    """Serve a folder until the block ends."""
    state = Served("")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            state.asked[path] += 1
            answer = state.prescribed.get(path)
            if answer is None:
                super().do_GET()
                return
            status, headers, content = answer
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    ) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
