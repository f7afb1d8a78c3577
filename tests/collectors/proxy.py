"""A way to a daemon that can be closed, keep silent, break off, and be listened to."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from collectors.questions import Location


class Proxy:
    """A way to a daemon that can be closed, keep silent, or break off after some bytes of the answer."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self.mode = "open"
        self.cut_after = 0
        self.n_connections = self.n_bytes = 0
        self.asked = bytearray()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self.n_connections += 1
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if self.mode == "closed":
                return
            if self.mode == "silent":
                time.sleep(30)
                return
            with socket.create_connection(self._target) as server:
                asked = threading.Thread(target=self._copy, args=(client, server, False), daemon=True)
                asked.start()
                self._copy(server, client, True)

    def _copy(self, source: socket.socket, sink: socket.socket, answer: bool) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(65536):
                if answer and self.mode == "cut" and passed + len(data) > self.cut_after:
                    sink.sendall(data[: max(0, self.cut_after - passed)])
                    sink.shutdown(socket.SHUT_RDWR)
                    source.shutdown(socket.SHUT_RDWR)
                    return
                sink.sendall(data)
                passed += len(data)
                self.n_bytes += len(data) if answer else 0
                if not answer:
                    self.asked += data
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._server.close()


@contextmanager
def proxied(target: str) -> Iterator[Proxy]:
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.close()


def through(daemon: Location, way: Proxy) -> Location:
    """The same daemon, reached through a proxy; an ad tells its address twice."""
    address = address_of(daemon)
    old, new = (where.rpartition(":")[2] for where in (address, way.address))
    text = daemon.text.replace(address, way.address).replace(f"port={old};", f"port={new};")
    return Location(daemon.name, text.replace(f"127.0.0.1-{old}", f"127.0.0.1-{new}"))


def address_of(daemon: Location) -> str:
    """HOST:PORT of a daemon."""
    return daemon.text.partition('MyAddress = "<')[2].partition("?")[0]
