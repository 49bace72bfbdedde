"""A real nginx with deploy/nginx.conf: only addresses, certificate and log files are others."""

from __future__ import annotations

import datetime
import socket
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.sync.client import ClientConnection, connect

from cli.children import Child

HOST = "relay.example.org"
START_S = 15.0
OUTER = """
daemon off;
pid {directory}/nginx.pid;
worker_processes 1;
worker_rlimit_nofile 65536;
error_log {directory}/main.log crit;
events {{ worker_connections 30000; }}
http {{
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/relay.conf;
}}
"""


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody has just now."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def make_certificate(directory: Path) -> None:
    """A self-signed certificate for HOST: relay.pem and relay.key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (directory / "relay.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "relay.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


class Nginx:
    """One nginx, in the foreground, as a child.

    Args:
        directory: short; for its files.
        http_port, https_port: of `address`.
        upstreams: the relays, `host:port`.
        address: where it listens.
        prefix: a command that it is started by (`ip netns exec …`).
        changes: further text to replace in deploy/nginx.conf.
    """

    DEPLOY = Path(__file__).resolve().parents[1] / "deploy"

    def __init__(
        self,
        directory: Path,
        http_port: int,
        https_port: int,
        upstreams: Sequence[str],
        *,
        address: str = "127.0.0.1",
        prefix: Sequence[str] = (),
        changes: Mapping[str, str] | None = None,
    ) -> None:
        self._directory = directory
        self._address = address
        self.http_port = http_port
        self.https_port = https_port
        make_certificate(directory)
        servers = "\n    ".join(f"server {upstream} max_fails=0;" for upstream in upstreams)
        replaced = {
            "listen 80;": f"listen {address}:{http_port};",
            "listen 443 ssl;": f"listen {address}:{https_port} ssl backlog=4096;",
            f"/etc/letsencrypt/live/{HOST}/fullchain.pem": f"{directory}/relay.pem",
            f"/etc/letsencrypt/live/{HOST}/privkey.pem": f"{directory}/relay.key",
            "server 127.0.0.1:8000 max_fails=0;": servers,
            "/var/log/nginx/": f"{directory}/",
            **(changes or {}),
        }
        self.text = (self.DEPLOY / "nginx.conf").read_text()
        for before, after in replaced.items():
            if before not in self.text:
                raise ValueError(f"deploy/nginx.conf has no {before!r} any more")
            self.text = self.text.replace(before, after)
        (directory / "relay.conf").write_text(self.text)
        (directory / "nginx.conf").write_text(OUTER.format(directory=directory))
        argv = [*prefix, "/usr/sbin/nginx", "-e", str(directory / "start.log"), "-c", str(directory / "nginx.conf")]
        self._child = Child("nginx", argv, log=directory / "out.log")

    def start(self) -> None:
        self._child.start()
        self._child.wait_ready(self._probe, START_S)

    def stop(self) -> None:
        self._child.stop(5.0)

    def _probe(self) -> str | None:
        try:
            self.connect().close()
        except OSError as error:
            return str(error)
        return None

    def tls(self) -> ssl.SSLContext:
        """What trusts its certificate."""
        return ssl.create_default_context(cafile=str(self._directory / "relay.pem"))

    def connect(self) -> ssl.SSLSocket:
        """A TLS connection to it."""
        raw = socket.create_connection((self._address, self.https_port), timeout=15)
        return self.tls().wrap_socket(raw, server_hostname=HOST)

    def websocket(self, path: str, headers: Mapping[str, str] | None = None, **options: Any) -> ClientConnection:
        """A WebSocket through it.

        With TLS 1.2: `websockets` reads in a thread of its own while it sends its request, and Python before 3.13 lets
        both into OpenSSL at once. The tickets that TLS 1.3 sends just then made it lose every 240th request.
        """
        tls = self.tls()
        tls.maximum_version = ssl.TLSVersion.TLSv1_2
        opened: ClientConnection = connect(
            f"wss://{HOST}{path}",
            sock=socket.create_connection((self._address, self.https_port), timeout=15),
            ssl=tls,
            server_hostname=HOST,
            additional_headers=headers,
            **options,
        )
        return opened

    def logs(self) -> str:
        """All that it has logged."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self._directory.glob("*.log")))
