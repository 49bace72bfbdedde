"""An echo server on exactly the relay's connection layer, for conformance suites (Autobahn|Testsuite) and benchmarks.

    python -m bench.ws_echo --port 9001 [--cap BYTES] [--host 127.0.0.1]

Flask-Sock under gunicorn's gevent worker does the handshake, then the socket is the hub's, as in the relay; text and
binary come back as they came. Larger messages than the cap are closed with 1009, compression is declined.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from contract.frames import MAX_FRAME_BYTES

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 60.0


def create_app(cap: int) -> Any:
    """The application. Only gunicorn's gevent worker calls this, which has patched the sockets before."""
    from flask import Flask

    from relay import errors, handshake
    from relay.connection import Connection
    from relay.flusher import Flusher
    from relay.metrics import Tally

    class Echo:
        def __init__(self, connection: Connection) -> None:
            self.received = connection.send
            connection.on_binary = connection.send_binary

        def gone(self, code: int) -> None:
            del code

    app = Flask("echo", static_folder=None)
    tally = Tally()
    flushers: list[Flusher] = []  # made with the hub of the first request

    def echo(ws: Any) -> None:
        if not flushers:
            flushers.append(Flusher())
        connection = Connection(handshake.take(ws), flushers[0], tally, TIMEOUT_S, cap)
        connection.resume(Echo(connection))

    handshake.register(app, {"/": echo})
    errors.register(app)
    return app


def argv(port: int, cap: int = MAX_FRAME_BYTES, host: str = "127.0.0.1") -> list[str]:
    """The command that serves, in the foreground."""
    return [
        *(sys.executable, "-m", "gunicorn", "--no-control-socket", "--chdir", str(ROOT)),
        *("--worker-class", "gevent", "--workers", "1", "--log-level", "warning"),
        *("--bind", f"{host}:{port}", "--graceful-timeout", "1"),
        f"bench.ws_echo:create_app({cap})",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Echo server on the relay's connection layer.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--cap", type=int, default=MAX_FRAME_BYTES, help="largest message, bytes")
    chosen = parser.parse_args()
    command = argv(chosen.port, chosen.cap, chosen.host)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
