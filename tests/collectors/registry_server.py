"""A real registry (Debian's docker-registry) on loopback, a guard before it that wants tokens, and images pushed by hand."""

from __future__ import annotations

import hashlib
import http.server
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from collectors.registry import INDEX, MANIFEST

CONFIG = """version: 0.1
log: {{ level: error }}
storage: {{ filesystem: {{ rootdirectory: {folder} }} }}
http: {{ addr: "127.0.0.1:{port}" }}
"""


def program() -> str | None:
    """The registry's program, None where it isn't installed."""
    return shutil.which("docker-registry")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Run a registry that keeps its images in `folder`; gives HOST:PORT."""
    port = free_port()
    config = folder / "config.yml"
    config.write_text(CONFIG.format(folder=folder / "images", port=port))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([str(program()), "serve", str(config)], stdout=log, stderr=log)
    try:
        for _ in range(200):
            try:
                requests.get(f"http://127.0.0.1:{port}/v2/", timeout=2)
                break
            except requests.ConnectionError:
                time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def push_blob(registry: str, path: str, content: bytes) -> dict[str, Any]:
    begun = requests.post(f"http://{registry}/v2/{path}/blobs/uploads/", timeout=10)
    digest = digest_of(content)
    ended = requests.put(begun.headers["Location"], params={"digest": digest}, data=content, timeout=10)
    assert ended.status_code == 201, ended.text
    return {"digest": digest, "size": len(content)}


def push_image(registry: str, path: str, tag: str | None, layers: list[bytes]) -> dict[str, Any]:
    """Push an image as an OCI layout; gives its manifest's descriptor. Without a tag, under its digest."""
    config = push_blob(registry, path, json.dumps({"architecture": "amd64", "os": "linux"}).encode())
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
        "layers": [
            {"mediaType": "application/vnd.oci.image.layer.v1.tar", **push_blob(registry, path, layer)}
            for layer in layers
        ],
    }
    return _put(registry, path, tag, MANIFEST, manifest)


def push_index(registry: str, path: str, tag: str, images: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Push an index over images by architecture."""
    entries = [
        {**image, "platform": {"os": "linux", "architecture": architecture}}
        for architecture, image in images.items()
    ]
    return _put(registry, path, tag, INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})


def _put(registry: str, path: str, tag: str | None, kind: str, content: dict[str, Any]) -> dict[str, Any]:
    body = json.dumps(content).encode()
    told = requests.put(
        f"http://{registry}/v2/{path}/manifests/{tag or digest_of(body)}",
        data=body,
        headers={"Content-Type": kind},
        timeout=10,
    )
    assert told.status_code == 201, told.text
    return {"mediaType": kind, "digest": digest_of(body), "size": len(body)}


@dataclass
class Guard:
    """Stands before a registry: wants a token of its own token server, may say 429, tells of pulls left."""

    address: str = ""
    token: str = "secret-token"
    busy: dict[str, str] | None = None
    limit: dict[str, str] = field(default_factory=dict)
    wants_user: bool = False
    tamper: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def guarded(registry: str) -> Iterator[Guard]:
    """Put a guard before a registry until the block ends."""
    guard = Guard()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            guard.asked.append((self.command, self.path))
            if self.path.startswith("/token?"):
                body = json.dumps({"token": guard.token}).encode()
                self._say(200, {"Content-Type": "application/json"}, body)
            elif guard.busy is not None:
                self._say(429, {**guard.busy, **guard.limit}, b"{}")
            elif self.headers.get("Authorization") != f"Bearer {guard.token}":
                challenge = (
                    f'Bearer realm="http://{guard.address}/token",service="made",scope="repository:x:pull"'
                )
                self._say(
                    401, {"WWW-Authenticate": 'Basic realm="x"' if guard.wants_user else challenge}, b"{}"
                )
            else:
                told = requests.request(
                    self.command,
                    f"http://{registry}{self.path}",
                    headers={"Accept": self.headers["Accept"]},
                    timeout=10,
                )
                kept = {
                    name: told.headers[name]
                    for name in ("Content-Type", "Docker-Content-Digest", "Link")
                    if name in told.headers
                }
                self._say(told.status_code, {**kept, **guard.limit}, told.content + b" " * guard.tamper)

        def _say(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        guard.address = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield guard
        finally:
            server.shutdown()
            thread.join()
