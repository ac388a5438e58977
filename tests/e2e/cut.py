"""A way to the API server that can be cut: what it carried stays unanswered."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from lab.controlplane import ControlPlane
from lab.folders import free_port


class Line:
    """Carries TCP from a port of its own to the API server, until `cut`."""

    def __init__(self, controlplane: ControlPlane) -> None:
        self._there = ("127.0.0.1", urlsplit(controlplane.url).port or 443)
        self._whole = threading.Event()
        self._whole.set()
        self._url = controlplane.url
        self._port = free_port()
        self._ends: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._whole.set()
        for end in (self._listener, *self._ends):
            # Closing alone does not wake who waits in it.
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def kubeconfig(self, of: Path) -> Path:
        """`of`, by this line."""
        mine = of.with_name(f"{of.name}-line-{self._port}")
        mine.touch(mode=0o600)
        mine.write_text(of.read_text().replace(self._url, f"https://127.0.0.1:{self._port}"))
        return mine

    def cut(self) -> None:
        """Nothing arrives any more, and no connection ends: as a network that drops packets."""
        self._whole.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection(self._there)
                self._ends += [here, there]
                for ends in ((here, there), (there, here)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._whole.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
