"""Three hosts for the relay's drills: one with nginx, Redis and PostgreSQL, two with two workers each.

As root they are network namespaces joined by a bridge, and a host is cut off by taking its link down; other accounts
have them on the loopback, and a host is cut off by stopping its processes.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg

from bench.nginx import Nginx, free_ports
from cli.children import Child
from cli.embedded import EmbeddedPostgres, EmbeddedValkey
from cli.relay import gunicorn_argv, relay_environment
from relay import admin, migrate
from relay.auth import Tokens

INSIDE = "WIMZ_DRILL_NAMESPACE"
NET = "10.77.0"
START_S = 60.0
HOSTS = ("b", "c")


def enter_namespace() -> None:
    """As root: go on in a namespace of our own, which goes when we end. Returns only inside."""
    if os.geteuid() != 0 or INSIDE in os.environ:
        return
    name = f"wz{os.getpid()}"
    environment = {**os.environ, INSIDE: name}
    _run("ip", "netns", "add", name)
    try:
        code = subprocess.call(["ip", "netns", "exec", name, sys.executable, *sys.orig_argv[1:]], env=environment)
    finally:
        for host in ("", *HOSTS):
            subprocess.run(["ip", "netns", "del", name + host], capture_output=True, check=False)
    sys.exit(code)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


SYSCTL = Path(__file__).resolve().parents[1] / "deploy" / "sysctl.conf"


class Host:
    """A host with two workers.

    Args:
        name: its namespace; "" for the loopback.
        address: of its relay.
    """

    def __init__(
        self, name: str, address: str, port: int, link: str, directory: Path, environment: dict[str, str]
    ) -> None:
        self._name = name
        self._link = link
        self.address = f"{address}:{port}"
        self._environment = {**environment, "HOST": address, "PORT": str(port)}
        self._log = directory / f"relay-{port}-{address}.log"
        self._child: Child | None = None

    def start(self) -> None:
        prefix = ["/usr/sbin/ip", "netns", "exec", self._name] if self._name else []
        self._child = Child("a relay", [*prefix, *gunicorn_argv()], log=self._log, env=self._environment)
        self._child.start()

    def pids(self) -> list[int]:
        """The master and its workers."""
        assert self._child is not None
        pid = self._child.pid
        with contextlib.suppress(OSError):
            return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
        return []

    def cut(self) -> None:
        """From now on nothing comes or goes, and nobody is told."""
        if self._name:
            _run("ip", "link", "set", self._link, "down")
        else:
            for pid in self.pids():
                os.kill(pid, signal.SIGSTOP)

    def heal(self) -> None:
        if self._name:
            _run("ip", "link", "set", self._link, "up")
        else:
            for pid in self.pids():
                os.kill(pid, signal.SIGCONT)

    def kill(self) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop(5.0)


class Site:
    """All three, running."""

    def __init__(self, directory: Path) -> None:
        directory.chmod(0o711)
        self.namespace = os.environ.get(INSIDE, "")
        here = f"{NET}.1" if self.namespace else "127.0.0.1"
        addresses = {host: f"{NET}.{2 + i}" if self.namespace else "127.0.0.1" for i, host in enumerate(HOSTS)}
        if self.namespace:
            self._lay_cables(here, addresses)
            self._tune(here)
        http, https, postgres_port, valkey_port, *ports = free_ports(6)
        access = directory / "pg_hba.conf"
        access.write_text(f"local all all trust\nhost all all {here.rpartition('.')[0]}.0/24 trust\n")
        # The name of its unix socket has the usual port; over TCP it listens here as well.
        del postgres_port
        self.postgres = EmbeddedPostgres(
            directory / "pg", directory / "pg.run", settings={"listen_addresses": here, "hba_file": str(access)}
        )
        self.postgres.start()
        listens = {"port": str(valkey_port), "bind": here, "protected-mode": "no"}
        self.valkey = EmbeddedValkey(directory / "valkey", settings=listens)
        self.valkey.start()
        migrate.migrate(self.postgres.url)
        self.secret, self.master_key = secrets.token_urlsafe(48), secrets.token_urlsafe(48)
        environment = {
            **relay_environment(os.environ),
            "WEB_CONCURRENCY": "2",
            "DATABASE_URL": f"postgresql://wimz@{here}:5432/wimz" if self.namespace else self.postgres.url,
            "REDIS_URL": f"redis://{here}:{valkey_port}/0",
            "JWT_SECRET": self.secret,
            "MASTER_KEY": self.master_key,
            "TRUSTED_PROXIES": "1",
            "PING_EVERY_S": "1",
            "STUN_URLS": "",
        }
        self.hosts = []
        for index, host in enumerate(HOSTS):
            name = f"{self.namespace}{host}" if self.namespace else ""
            self.hosts.append(Host(name, addresses[host], ports[index], f"v{host}", directory, environment))
            self.hosts[-1].start()
        limits = {
            "zone=wimz_handshakes:10m rate=50r/s": "zone=wimz_handshakes:10m rate=5000r/s",  # all from one address
            "limit_conn wimz_sockets 200;": "limit_conn wimz_sockets 60000;",
        }
        upstreams = [host.address for host in self.hosts]
        self.nginx = Nginx(directory, http, https, upstreams, address=here, changes=limits)
        self.nginx.start()
        self.until(self.ready, "the relays are ready", START_S)

    def _lay_cables(self, here: str, addresses: dict[str, str]) -> None:
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", "br0", "type", "bridge")
        _run("ip", "addr", "add", f"{here}/24", "dev", "br0")
        _run("ip", "link", "set", "br0", "up")
        for host, address in addresses.items():
            there = f"{self.namespace}{host}"
            _run("ip", "netns", "add", there)
            _run("ip", "link", "add", f"v{host}", "type", "veth", "peer", "name", "eth0", "netns", there)
            _run("ip", "link", "set", f"v{host}", "master", "br0", "up")
            for command in (f"addr add {address}/24 dev eth0", "link set eth0 up", "link set lo up"):
                _run("ip", "-n", there, *command.split())
            _run("ip", "-n", there, "route", "change", f"{NET}.0/24", "dev", "eth0", "src", address, "quickack", "1")

    def _tune(self, here: str) -> None:
        """What deploy/sysctl.conf says."""
        _run("ip", "route", "change", f"{here.rpartition('.')[0]}.0/24", "dev", "br0", "src", here, "rto_min", "50ms")
        for line in SYSCTL.read_text().splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.partition("=")
                Path("/proc/sys", name.strip().replace(".", "/")).write_text(value.strip())

    def ready(self) -> bool:
        """Whether every host says that it, Redis and PostgreSQL are well."""
        import urllib.request

        for host in self.hosts:
            try:
                with urllib.request.urlopen(f"http://{host.address}/ready", timeout=2):
                    pass
            except OSError:
                return False
        return True

    def until(self, condition: Callable[[], object], what: str, timeout_s: float) -> float:
        """Wait; returns how long, seconds."""
        began_s = time.monotonic()
        while not condition():
            if time.monotonic() - began_s > timeout_s:
                raise TimeoutError(f"waited {timeout_s:g} s in vain: {what}")
            time.sleep(0.02)
        return time.monotonic() - began_s

    def add_pair(self, number: int) -> tuple[str, str, str]:
        """An account with its robot: token, device_id, secret."""
        from datetime import UTC, datetime

        user_id, email = f"u_{number}", f"u{number}@example.org"
        with psycopg.connect(self.postgres.url) as connection:
            connection.execute(
                "INSERT INTO users (user_id, email, password_hash) VALUES (%s, %s, '-')", (user_id, email)
            )
        device_id, secret = admin.add_device(self.postgres.url, self.master_key, f"wimz_d{number}")
        admin.pair(self.postgres.url, email, device_id)
        return Tokens(self.secret).issue(user_id, 0, datetime.now(UTC)), device_id, secret

    def stored(self) -> list[tuple[str, str]]:
        """Device and id of each event in the database."""
        with psycopg.connect(self.postgres.url) as connection:
            return [(row[0], row[1]) for row in connection.execute("SELECT device_id, id FROM events").fetchall()]

    def rss_kb(self) -> int:
        """Memory of all relays."""
        total = 0
        for pid in [pid for host in self.hosts for pid in host.pids()]:
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                total += next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)
        return total

    def close(self) -> None:
        self.nginx.stop()
        for host in self.hosts:
            host.stop()
        self.valkey.stop()
        self.postgres.stop()
