"""`make bench-relay`: our relay beside FastAPI on uvicorn and Flask-SocketIO, with the same clients in the same run.

The servers have one core, the clients, Redis and PostgreSQL another. SECONDS (5) of each load, PAIRS (200) of app and
robot, WINDOW (8) messages under way for each pair, CONNECTIONS (10 000) idle and in the storm, ONLY (all) servers.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from bench import report
from bench.demo_driver import free_port
from bench.relay_crowd import raise_descriptor_limit
from bench.relay_dialects import device_of, secret_of, user_of
from bench.report import Row
from cli.children import Child
from cli.demo.checks import answers
from cli.embedded import EmbeddedPostgres, EmbeddedValkey
from cli.relay import gunicorn_argv
from relay import migrate
from relay.crypto import Sealer

SERVER_CORE, OTHER_CORE = "0", "1"
TASKSET = shutil.which("taskset") or "/usr/bin/taskset"
START_S = 60.0
RATE_HZ = 500
GUNICORN = (sys.executable, "-m", "gunicorn", "--no-control-socket", "--worker-class", "gevent", "--workers", "1")
AIM_ROUTED, AIM_CROSS, AIM_IDLE_KB, AIM_STORED = 2.5, 5.0, 4.0, 5000.0


def _uvicorn(port: int) -> list[str]:
    options = ["--log-level", "warning", "--no-access-log", "--ws-ping-interval", "3600", "--ws-ping-timeout", "3600"]
    return [sys.executable, "-m", "uvicorn", "bench.relay_fastapi:app", "--port", str(port), *options]


def _socketio(port: int) -> list[str]:
    options = ["--bind", f"127.0.0.1:{port}", "--log-level", "warning", "--worker-connections", "20000"]
    return [*GUNICORN, *options, "bench.relay_socketio:create_app()"]


SERVERS: dict[str, tuple[str, Callable[[int], list[str]]]] = {
    "ours": ("WIM-Z relay", lambda port: gunicorn_argv()),
    "fastapi": ("FastAPI, uvicorn", _uvicorn),
    "socketio": ("Flask-SocketIO, gevent", _socketio),
}


@dataclass
class Site:
    """What all servers share: PostgreSQL, Redis, secrets."""

    directory: Path
    count: int
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    master_key: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    def __post_init__(self) -> None:
        self.postgres = EmbeddedPostgres(self.directory / "pg", self.directory / "pg.run")
        self.postgres.start()
        self.valkey = EmbeddedValkey(self.directory / "valkey")
        self.valkey.start()
        migrate.migrate(self.postgres.url)
        self._seed()

    def _seed(self) -> None:
        """Accounts with a robot each, and the peers' table."""
        sealer = Sealer(self.master_key)
        numbers = range(self.count)
        with psycopg.connect(self.postgres.url) as connection, connection.cursor() as cursor:
            with cursor.copy("COPY users (user_id, email, password_hash) FROM STDIN") as copy:
                for number in numbers:
                    copy.write_row((user_of(number), f"{user_of(number)}@example.org", "-"))
            with cursor.copy("COPY devices (device_id, sealed_secret, name, owner_id) FROM STDIN") as copy:
                for number in numbers:
                    copy.write_row(
                        (device_of(number), sealer.seal(secret_of(number)), f"robot {number}", user_of(number))
                    )
            cursor.execute(
                "CREATE TABLE peer_events "
                "(device_id text, id text, event text, data jsonb, PRIMARY KEY (device_id, id))"
            )

    def environment(self, port: int) -> dict[str, str]:
        return {
            **os.environ,
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "WEB_CONCURRENCY": "1",
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.valkey.url,
            "JWT_SECRET": self.secret,
            "MASTER_KEY": self.master_key,
            "ROBOT_TIMEOUT_S": "600",
            "APP_TIMEOUT_S": "600",
            "STUN_URLS": "",
        }

    def rows(self, table: str) -> int:
        with psycopg.connect(self.postgres.url) as connection:
            found = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
            return int(found[0]) if found else 0

    def close(self) -> None:
        self.valkey.stop()
        self.postgres.stop()


class Server:
    """One server with one worker, on its own core."""

    def __init__(self, site: Site, kind: str) -> None:
        self.site = site
        self.kind = kind
        self.port = free_port()
        self._child = self._make()

    def _make(self) -> Child:
        argv = [TASKSET, "-c", SERVER_CORE, *SERVERS[self.kind][1](self.port)]
        log = self.site.directory / f"{self.kind}.log"
        child = Child(SERVERS[self.kind][0], argv, log=log, env=self.site.environment(self.port))
        child.start()
        child.wait_ready(lambda: answers(f"http://127.0.0.1:{self.port}/ready"), START_S)
        return child

    def pids(self) -> list[int]:
        """The processes that hold connections."""
        pid = self._child.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in children] or [pid]

    def kill(self) -> None:
        """kill -9 of the worker; where no master brings it back, the server is started anew."""
        pids = self.pids()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        if self._child.pid in pids:
            self._child.stop(1.0)
            self._child = self._make()

    def stop(self) -> None:
        self._child.stop(10.0)


def load(site: Site, kind: str, work: str, apps: Server, robots: Server, **job: Any) -> subprocess.Popen[str]:
    """Start the clients."""
    pids = sorted({*apps.pids(), *robots.pids()})
    job |= {"work": work, "dialect": kind, "secret": site.secret, "app_port": apps.port, "robot_port": robots.port}
    argv = [TASKSET, "-c", OTHER_CORE, sys.executable, "-m", "bench.relay_load"]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(json.dumps({**job, "pids": pids}) + "\n")
    process.stdin.flush()
    return process


def figures(process: subprocess.Popen[str]) -> dict[str, float]:
    """Wait for what the clients found."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the clients ended with {process.wait()}")
    found: dict[str, float] = json.loads(line)
    return found


def measure(site: Site, kind: str) -> dict[str, dict[str, float]]:
    """All figures of one server."""
    pairs, seconds = int(os.environ.get("PAIRS", "200")), float(os.environ.get("SECONDS", "5"))
    window, connections = int(os.environ.get("WINDOW", "8")), int(os.environ.get("CONNECTIONS", "10000"))
    work = os.environ.get("WORK", "routed latency cross stored idle storm").split()
    found: dict[str, dict[str, float]] = {}
    one = Server(site, kind)
    try:
        common = {"pairs": pairs, "seconds": seconds, "window": window}
        if "routed" in work:
            found["routed"] = figures(load(site, kind, "routed", one, one, **common))
        if "latency" in work:
            found["latency"] = figures(load(site, kind, "latency", one, one, **common, rate=RATE_HZ))
        if "cross" in work:
            other = Server(site, kind)
            try:
                found["cross"] = figures(load(site, kind, "routed", one, other, **common))
                found["cross_latency"] = figures(load(site, kind, "latency", one, other, **common, rate=RATE_HZ))
            finally:
                other.stop()
        if "stored" in work:
            table = "events" if kind == "ours" else "peer_events"
            before = site.rows(table)
            stored = figures(load(site, kind, "stored", one, one, **common))
            stored["lost"] += stored["sent"] - (site.rows(table) - before)
            found["stored"] = stored
        if "idle" in work:
            found["idle"] = figures(load(site, kind, "idle", one, one, connections=connections, at_once=64))
        if "storm" in work:
            one.stop()
            one = Server(site, kind)
            found["storm"] = _storm(site, kind, one, connections)
    finally:
        one.stop()
    return found


def _storm(site: Site, kind: str, server: Server, connections: int) -> dict[str, float]:
    events = kind == "ours"  # the peers store too slowly for the wait
    before = site.rows("events")
    process = load(site, kind, "storm", server, server, connections=connections, at_once=64, events=events)
    assert figures(process) == {"ready": True}
    server.kill()
    found = figures(process)
    if events:
        found["lost"] = connections // 2 - (site.rows("events") - before)
    return found


def rows_of(found: dict[str, dict[str, dict[str, float]]]) -> list[Row]:
    """The report."""
    rows = []
    for kind, by_work in found.items():
        name = SERVERS[kind][0]
        for work, numbers in by_work.items():
            rows.append(Row(f"{name}: {work}", numbers))
    ours, peer = found.get("ours", {}), found.get("fastapi", {})
    for work, key, aim in (("routed", "msgs_per_s", AIM_ROUTED), ("cross", "msgs_per_s", AIM_CROSS)):
        if work in ours and work in peer:
            ratio = ours[work][key] / peer[work][key]
            rows.append(Row(f"{work}, ours / uvicorn", {"ratio": ratio}, aim, ratio >= aim))
    if "idle" in ours:
        each = ours["idle"]["kb_each"]
        rows.append(Row("KB per idle connection, ours", {"kb_each": each}, AIM_IDLE_KB, each <= AIM_IDLE_KB))
    if "stored" in ours:
        rate = ours["stored"]["events_per_s"]
        rows.append(Row("stored events/s, ours", {"events_per_s": rate}, AIM_STORED, rate >= AIM_STORED))
    if ours:
        lost = sum(numbers.get("lost", 0) + numbers.get("missing", 0) for numbers in ours.values())
        rows.append(Row("lost, ours, everywhere", {"lost": lost}, 0, lost == 0))
    return rows


def main() -> None:
    raise_descriptor_limit()
    os.sched_setaffinity(0, {int(OTHER_CORE)})
    directory = Path(tempfile.mkdtemp(prefix="wz-"))
    directory.chmod(0o711)
    site = Site(directory, max(int(os.environ.get("CONNECTIONS", "10000")) // 2 + 100, 1000))
    try:
        kinds = os.environ.get("ONLY", " ".join(SERVERS)).split()
        found = {}
        for kind in kinds:
            began_s = time.monotonic()
            found[kind] = measure(site, kind)
            print(f"{SERVERS[kind][0]}: {time.monotonic() - began_s:.0f} s", file=sys.stderr)
    finally:
        site.close()
        shutil.rmtree(directory, ignore_errors=True)
    report.finish("The relay and its peers: one worker on one core, 200-byte commands", rows_of(found))


if __name__ == "__main__":
    main()
