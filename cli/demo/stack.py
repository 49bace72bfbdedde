"""The processes of the demo: PostgreSQL and Valkey, the relay, the robot; started in order, stopped in reverse."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import psycopg

from bus import settings
from cli.children import Child, ChildError
from cli.demo.checks import DeviceOnline, RobotWhole, answers, read_token
from cli.demo.data import DataDir, DemoInfo, Secrets
from cli.embedded import EmbeddedPostgres, EmbeddedValkey
from cli.errors import CommandError
from cli.relay import gunicorn_argv, relay_environment
from cli.robot import DEFAULT_CONFIG, Robot
from hardware.board import is_raspberry_pi
from relay import admin, migrate

RELAY_WORKERS = 2
ROBOT_NAME = "Biscuit"
PREDECESSOR_TIMEOUT_S = 20.0
READY_TIMEOUT_S = 90.0  # a Raspberry Pi's first start, from a slow card
RELAY_STOP_TIMEOUT_S = 8.0
ROBOT_STOP_TIMEOUT_S = 20.0
WATCH_S = 0.25
TRIM_EVERY_S = 5.0

Progress = Callable[[str, str], None]
"""Called with a part and what it is doing or where it is."""


@dataclass(frozen=True)
class Options:
    """What the person chose.

    Attributes:
        data: the data directory.
        host: the address that the relay and the robot listen on.
        camera: the keys of the robot's `camera` section to replace.
    """

    data: Path
    relay_port: int
    robot_port: int
    host: str = "127.0.0.1"
    camera: dict[str, Any] = field(default_factory=dict)

    @property
    def local_host(self) -> str:
        """Where programs of this machine find it."""
        return "127.0.0.1" if self.host == "0.0.0.0" else self.host

    @property
    def relay_url(self) -> str:
        return f"http://{self.local_host}:{self.relay_port}"

    @property
    def robot_url(self) -> str:
        return f"http://{self.local_host}:{self.robot_port}"


class Stack:
    """All processes of one demo."""

    def __init__(self, options: Options, progress: Progress) -> None:
        self._options = options
        self._progress = progress
        self._data = DataDir(options.data)
        self._servers_dir = _servers_dir(options.data)
        # By it every process of this demo can be found, in /proc/*/environ.
        self._environment = {"WIMZ_DEMO_ID": secrets.token_hex(8), **os.environ}
        self._lock: int | None = None
        self._postgres: EmbeddedPostgres | None = None
        self._valkey: EmbeddedValkey | None = None
        self._relay: Child | None = None
        self._robot: Child | None = None

    def start(self) -> DemoInfo:
        """Start everything and wait until it answers.

        Raises:
            CommandError: something is in the way or did not start. `stop` is still due.
        """
        self._lock = self._data.lock(PREDECESSOR_TIMEOUT_S)
        robot = Robot(self._data.robot_config, self._options.data)
        _await_end_of(robot)
        _check_port(self._options.host, self._options.relay_port, "--relay-port")
        _check_port(self._options.host, self._options.robot_port, "--robot-port")
        known = self._data.secrets()
        database_url, redis_url = self._start_servers()
        self._prepare_database(database_url, known)
        self._start_relay(database_url, redis_url, known)
        self._start_robot(robot, known)
        token = self._await_robot(known)
        return DemoInfo(
            relay_url=self._options.relay_url,
            robot_url=self._options.robot_url,
            email=known.email,
            password=known.password,
            device_id=known.device_id,
            device_secret=known.device_secret,
            robot_token=token,
        )

    def publish(self, info: DemoInfo) -> Path:
        """Write `demo.json`. Returns its path."""
        return self._data.write_info(info)

    def watch(self) -> NoReturn:
        """Keep the logs small until a process ends that must not. Raises ChildError then."""
        next_trim = time.monotonic() + TRIM_EVERY_S
        while True:
            for child in self._children():
                if not child.running:
                    raise ChildError(f"{child.name} has ended with code {child.returncode}.{child.log_for_people()}")
            if time.monotonic() > next_trim:
                next_trim += TRIM_EVERY_S
                for child in self._children():
                    child.trim_log()
            time.sleep(WATCH_S)

    def stop(self) -> None:
        """Stop whatever was started. Idempotent."""
        if self._lock is None:
            return
        self._data.remove_info()
        for child in (self._robot, self._relay):
            if child is not None:
                child.ask_to_stop()  # both at once: neither needs the other to stop
        if self._robot is not None:
            self._robot.stop(ROBOT_STOP_TIMEOUT_S)
            shutil.rmtree(settings.run_dir(self._options.data), ignore_errors=True)  # frames in memory, 12 MB
        if self._relay is not None:
            self._relay.stop(RELAY_STOP_TIMEOUT_S)
        if self._valkey is not None:
            self._valkey.stop()
        if self._postgres is not None:
            self._postgres.stop()
        shutil.rmtree(self._servers_dir, ignore_errors=True)
        os.close(self._lock)
        self._lock = None

    def _children(self) -> list[Child]:
        servers = [server.child for server in (self._postgres, self._valkey) if server is not None]
        return [*servers, *(child for child in (self._relay, self._robot) if child is not None)]

    def _start_servers(self) -> tuple[str, str]:
        """Start the servers that the environment does not name. Returns the database's URL and Redis's."""
        assert self._lock is not None
        database_url, redis_url = os.environ.get("DATABASE_URL"), os.environ.get("REDIS_URL")
        if not (database_url and redis_url):
            _make_servers_dir(self._servers_dir)
        if database_url:
            self._progress("database", "DATABASE_URL of the environment")
        else:
            self._progress("database", "starting PostgreSQL")
            self._postgres = EmbeddedPostgres(
                self._data.postgres,
                self._servers_dir / "pg",
                log=self._data.logs / "postgres.log",
                env=self._environment,
                pass_fds=[self._lock],
            )
            self._postgres.start()
            database_url = self._postgres.url
        if redis_url:
            self._progress("fan-out", "REDIS_URL of the environment")
        else:
            self._progress("fan-out", "starting Valkey")
            self._valkey = EmbeddedValkey(
                self._servers_dir / "valkey",
                log=self._data.logs / "valkey.log",
                env=self._environment,
                pass_fds=[self._lock],
            )
            self._valkey.start()
            redis_url = self._valkey.url
        return database_url, redis_url

    def _prepare_database(self, database_url: str, known: Secrets) -> None:
        """Tables, the account, and its robot; whatever is there already stays."""
        try:
            migrate.migrate(database_url)
            admin.add_user(database_url, known.email, known.password)
            if known.device_id not in {device.device_id for device in admin.devices(database_url)}:
                admin.add_device(database_url, known.master_key, known.device_id, known.device_secret, ROBOT_NAME)
            admin.pair(database_url, known.email, known.device_id)
        except (migrate.MigrationError, admin.AdminError) as error:
            raise CommandError(str(error)) from error
        except psycopg.Error as error:
            raise CommandError(f"the database refused: {str(error).strip()}") from error

    def _start_relay(self, database_url: str, redis_url: str, known: Secrets) -> None:
        assert self._lock is not None
        self._progress("relay", f"starting {RELAY_WORKERS} workers")
        self._relay = Child(
            "the relay",
            gunicorn_argv(),
            log=self._data.logs / "relay.log",
            env={
                **relay_environment(self._environment),
                "HOST": self._options.host,
                "PORT": str(self._options.relay_port),
                "WEB_CONCURRENCY": str(RELAY_WORKERS),
                "DATABASE_URL": database_url,
                "REDIS_URL": redis_url,
                "JWT_SECRET": known.jwt_secret,
                "MASTER_KEY": known.master_key,
                "STUN_URLS": "",  # one that cannot be reached costs every viewer 5 s
            },
            pass_fds=[self._lock],
        )
        self._relay.start()
        self._relay.wait_ready(lambda: answers(f"{self._options.relay_url}/ready"), READY_TIMEOUT_S)

    def _start_robot(self, robot: Robot, known: Secrets) -> None:
        assert self._lock is not None
        self._progress("robot", "starting its processes")
        overrides = {
            "robot": {"data_dir": str(self._options.data)},
            "camera": self._options.camera,
            "local_api": {"host": self._options.host, "port": self._options.robot_port},
        }
        if not is_raspberry_pi():  # there, the demo moves the real machine
            overrides["simulator"] = {"enabled": True}
            overrides["pins"] = {"factory": "pigpio", "host": "127.0.0.1", "port": _free_port()}
        self._data.write_robot_config(settings.load(DEFAULT_CONFIG), overrides)
        robot.prepare()
        self._robot = Child(
            "the robot's supervisord",
            robot.argv,
            log=self._data.logs / "supervisord.out",
            env={
                **robot.environment(self._environment),
                "RELAY_URL": self._options.relay_url.replace("http://", "ws://") + "/ws/device",
                "DEVICE_ID": known.device_id,
                "DEVICE_SECRET": known.device_secret,
            },
            pass_fds=[self._lock],
        )
        self._robot.start()

    def _await_robot(self, known: Secrets) -> str:
        """Wait until the robot answers, sees, and is connected. Returns its token."""
        assert self._robot is not None
        url, token_file = self._options.robot_url, self._data.robot_token
        self._robot.wait_ready(lambda: answers(f"{url}/health"), READY_TIMEOUT_S)
        self._robot.wait_ready(lambda: None if read_token(token_file) else f"{token_file} is missing", READY_TIMEOUT_S)
        token = read_token(token_file) or ""
        self._progress("camera", "waiting for the first picture")
        self._robot.wait_ready(
            lambda: answers(f"{url}/camera/snapshot", token=token, content_type="image/jpeg"), READY_TIMEOUT_S
        )
        self._progress("link", "waiting for the robot at the relay")
        self._robot.wait_ready(
            DeviceOnline(self._options.relay_url, known.email, known.password, known.device_id), READY_TIMEOUT_S
        )
        whole = RobotWhole(settings.run_dir(self._options.data))
        try:
            self._robot.wait_ready(whole, READY_TIMEOUT_S)
        finally:
            whole.close()
        return token


def _servers_dir(data: Path) -> Path:
    """A short directory for the sockets of PostgreSQL and Valkey, one for each data directory."""
    digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:8]
    return settings.RUN_ROOT / f"wimz-{os.getuid()}-{digest}-servers"


def _make_servers_dir(path: Path) -> None:
    """Make it so that PostgreSQL's own account can pass through, and nobody else can list it."""
    with contextlib.suppress(FileExistsError):
        path.mkdir()
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise CommandError(f"{path} is not a directory of our own: remove it")
    path.chmod(0o711)


def _await_end_of(robot: Robot) -> None:
    """Wait for the robot of a demo that was killed, which is still stopping."""
    deadline = time.monotonic() + PREDECESSOR_TIMEOUT_S
    while robot.is_running():
        if time.monotonic() > deadline:
            raise CommandError(
                f"a robot with the data directory {robot.data_dir} runs already: "
                "stop it, or choose another directory with --data"
            )
        time.sleep(WATCH_S)


def _check_port(host: str, port: int, option: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CommandError(
                f"cannot listen on {host}:{port} ({error.strerror}), perhaps because another demo runs: "
                f"stop it, or choose another port with {option}"
            ) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
