"""gunicorn around the application: one worker that joins the bus after the fork, with 32 threads."""

from __future__ import annotations

import logging
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.workers import gthread

from bus import settings
from bus.bell import follow
from bus.errors import BusError
from bus.frames import FrameReader
from bus.injection import serve_injections
from bus.runner import HEARTBEAT_S, die_with_parent, heartbeat, log_to_stderr, parse_arguments
from bus.zeromq import ZmqBus
from hardware.priority import DOOR_NICE, go_first
from processes.local_api import arrival
from processes.local_api.access import Door
from processes.local_api.app import create_app
from processes.local_api.config import LocalApiConfig
from processes.local_api.pictures import Pictures
from processes.local_api.service import LocalApi
from processes.local_api.token import robot_token

log = logging.getLogger(__name__)

THREADS = 32
SEND_BUFFER_BYTES = 262_144
"""What the kernel may hold for one client: a second of video, and not ten."""
SILENT_S = 0.1
"""How long a new connection may keep a thread before it says anything; then it waits without one."""
GRACE_S = 2
WATCH_S = 0.1
WEB = settings.ROOT / "web"


class Worker(gthread.ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker, except that no client can hold up the thread that accepts the others.

    gunicorn lingers up to 2 s on a socket that it closes, in its main thread; here whichever thread served it does.
    A request is marked with when it came in, not with when a thread had time for it.
    """

    def enqueue_req(self, conn: Any) -> None:
        if not hasattr(conn, "idle_since_s"):
            conn.idle_since_s = time.monotonic()
        super().enqueue_req(conn)

    def handle(self, conn: Any) -> Any:
        if conn.initialized or conn.wait_for_data(SILENT_S):
            arrival.mark(arrival.waiting_since_s(conn.sock, conn.idle_since_s))
        outcome = super().handle(conn)
        conn.idle_since_s = time.monotonic()
        if outcome is False:
            conn.close(graceful=True)
            conn.close = lambda graceful=False: None
        return outcome


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, configured here and by nobody else.

    Args:
        config: robot_config.yaml, loaded.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._local = settings.section(config, "local_api", LocalApiConfig)
        data_dir = settings.data_dir(config)
        data_dir.mkdir(parents=True, exist_ok=True)
        self._run_dir: Path = settings.make_run_dir(data_dir)
        self._token = robot_token(data_dir)
        self._api: LocalApi | None = None
        self._bus: ZmqBus | None = None
        self._thread: threading.Thread | None = None
        super().__init__()

    def load_config(self) -> None:
        options = {
            "bind": f"{_bracketed(self._local.host)}:{self._local.port}",
            "workers": 1,
            "threads": THREADS,
            "worker_class": Worker,
            "timeout": 30,
            "graceful_timeout": GRACE_S,
            "keepalive": 5,
            "accesslog": None,
            "control_socket_disable": True,
            "proc_name": "wimz-local_api",
            "post_fork": lambda arbiter, worker: die_with_parent(signal.SIGKILL, arbiter.pid),
            "post_worker_init": self._post_worker_init,
            "worker_exit": self._worker_exit,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """In the worker, after the fork."""
        self._bus = bus = ZmqBus("local_api", self._run_dir)
        serve_injections(bus)
        door = Door(self._token, require_token=self._local.require_token)
        pictures = Pictures(FrameReader(self._run_dir, "main"), self._local.jpeg_quality)
        follow(bus, FrameReader(self._run_dir, "main"), pictures.on_frame)
        device_id, data_dir = settings.device_id(self._config), settings.data_dir(self._config)
        self._api = LocalApi(bus, self._local, door, pictures, device_id, data_dir)
        self._thread = bus.start()
        return create_app(self._api, WEB)

    def _post_worker_init(self, worker: Any) -> None:
        go_first(DOOR_NICE)
        seconds = self._local.client_timeout_s
        timeout = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
        gthread.DEFAULT_WORKER_DATA_TIMEOUT = SILENT_S
        for listener in worker.sockets:  # what is accepted inherits it
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                listener.setsockopt(socket.SOL_SOCKET, option, timeout)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            listener.setsockopt(socket.SOL_SOCKET, arrival.SO_TIMESTAMPNS, 1)
        logging.getLogger("gunicorn.error").addFilter(_shorten)
        api, bus = self._api, self._bus
        assert api is not None
        assert bus is not None
        bus.every(WATCH_S, _when_false(lambda: worker.alive, api.stop))
        # The beat comes from the thread that accepts connections: the bus's own thread would not notice it hang.
        publish_beat = heartbeat(bus)
        bus.every(HEARTBEAT_S, lambda: worker.method_queue.defer(publish_beat) if worker.alive else None)
        log.info("serving on %s port %d", self._local.host, self._local.port)

    def _worker_exit(self, arbiter: Any, worker: Any) -> None:
        if self._bus is not None and self._thread is not None:
            self._bus.stop()
            self._thread.join(1.0)


def _shorten(record: logging.LogRecord) -> bool:
    """A client that was cut off is worth a line, and no traceback."""
    if record.exc_info and isinstance(record.exc_info[1], BlockingIOError):
        record.exc_info = None
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.msg, record.args = "a client that sends or takes nothing is cut off", ()
    return True


def _when_false(condition: Callable[[], bool], call: Callable[[], None]) -> Callable[[], None]:
    def check() -> None:
        if not condition():
            call()

    return check


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def main() -> None:
    """Serve until SIGTERM. Exits 2 with a readable message when a setting is wrong."""
    config_path = parse_arguments("local_api")
    log_to_stderr("local_api")
    die_with_parent()
    try:
        server = Server(settings.load(config_path))
    except BusError as error:
        log.error("%s", error)
        sys.exit(2)
    server.run()
