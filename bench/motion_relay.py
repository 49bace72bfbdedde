"""A real relay for drills and benchmarks: gunicorn, PostgreSQL, Valkey, one account that owns one robot."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from pathlib import Path

from bench.demo_driver import free_port
from bench.motion_links import sign_in
from cli.children import Child
from cli.demo.checks import DeviceOnline, answers
from cli.embedded import EmbeddedPostgres, EmbeddedValkey
from cli.relay import gunicorn_argv, relay_environment
from relay import admin, migrate

START_S = 90.0
EMAIL, PASSWORD = "drill@wimz.example", "a password for the drill"


class Relay:
    """Make it in the main thread: its children end with the thread that started them."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="wz-"))
        self._directory.chmod(0o711)
        self._postgres = EmbeddedPostgres(self._directory / "pg", self._directory / "pg.run")
        self._postgres.start()
        self._valkey = EmbeddedValkey(self._directory / "valkey")
        self._valkey.start()
        self.port = free_port()
        master_key = secrets.token_urlsafe(32)
        url = self._postgres.url
        migrate.migrate(url)
        admin.add_user(url, EMAIL, PASSWORD)
        self.device_id, self.device_secret = admin.add_device(url, master_key, None)
        admin.pair(url, EMAIL, self.device_id)
        environment = {
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "WEB_CONCURRENCY": "1",
            "DATABASE_URL": url,
            "REDIS_URL": self._valkey.url,
            "JWT_SECRET": secrets.token_urlsafe(32),
            "MASTER_KEY": master_key,
            "STUN_URLS": "",
        }
        self._server = Child(
            "the relay",
            gunicorn_argv(),
            log=self._directory / "relay.log",
            env={**relay_environment(os.environ), **environment},
        )
        self._server.start()
        self._server.wait_ready(lambda: answers(f"http://127.0.0.1:{self.port}/ready"), START_S)
        self.token = sign_in(self.port, EMAIL, PASSWORD)

    def robot_environment(self, port: int) -> dict[str, str]:
        """What its robot needs to connect by `port`."""
        return {
            "RELAY_URL": f"ws://127.0.0.1:{port}/ws/device",
            "DEVICE_ID": self.device_id,
            "DEVICE_SECRET": self.device_secret,
        }

    def wait_for_robot(self) -> None:
        online = DeviceOnline(f"http://127.0.0.1:{self.port}", EMAIL, PASSWORD, self.device_id)
        self._server.wait_ready(online, START_S)

    def close(self) -> None:
        self._server.stop(10.0)
        self._valkey.stop()
        self._postgres.stop()
        shutil.rmtree(self._directory, ignore_errors=True)
