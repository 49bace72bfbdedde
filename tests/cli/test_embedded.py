from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from cli.children import ChildError
from cli.embedded import EmbeddedPostgres, EmbeddedValkey

PARENT = """
import sys, time
from pathlib import Path
from cli.embedded import EmbeddedPostgres, EmbeddedValkey
base = Path(sys.argv[1])
postgres = EmbeddedPostgres(base / "data", base / "pg")
valkey = EmbeddedValkey(base / "valkey")
postgres.start()
valkey.start()
print(postgres.child.pid, valkey.child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def postgres(short_dir: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(short_dir / "data", short_dir / "pg")
    yield server
    server.stop()


@pytest.fixture
def valkey(short_dir: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(short_dir / "valkey")
    yield server
    server.stop()


def write_note(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE note AS SELECT 'Grüße' AS text")


def read_note(server: EmbeddedPostgres) -> str:
    with psycopg.connect(server.url) as connection:
        row = connection.execute("SELECT text FROM note").fetchone()
        assert row is not None
        return str(row[0])


def listening_tcp_sockets(pid: int) -> set[str]:
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        target = os.readlink(fd)
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    rows = (Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()).splitlines()
    return {row.split()[1] for row in rows if row.split()[9] in inodes}


def test_postgres_keeps_its_data_over_a_restart(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    write_note(postgres)
    postgres.stop()
    assert postgres.child.returncode == 0
    postgres.start()
    assert read_note(postgres) == "Grüße"


def test_postgres_starts_again_after_it_was_killed(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    write_note(postgres)
    os.kill(postgres.child.pid, signal.SIGKILL)
    postgres.start()
    assert read_note(postgres) == "Grüße"


def test_a_leftover_lock_file_that_names_somebody_elses_process_does_not_stop_postgres(
    postgres: EmbeddedPostgres, short_dir: Path
) -> None:
    """Process ids are used again: after a power cut the one in the file may be anybody's, here our own."""
    postgres.start()
    leftover = (short_dir / "data" / "postmaster.pid").read_text().splitlines()
    postgres.stop()
    leftover[0] = str(os.getpid())
    (short_dir / "data" / "postmaster.pid").write_text("\n".join(leftover) + "\n")
    (short_dir / "pg" / ".s.PGSQL.5432.lock").write_text("\n".join(leftover) + "\n")
    postgres.start()


def test_postgres_starts_over_where_its_creation_was_cut_off(postgres: EmbeddedPostgres, short_dir: Path) -> None:
    (short_dir / "data.new").mkdir()
    (short_dir / "data.new" / "PG_VERSION").write_text("18\n")
    postgres.start()
    write_note(postgres)


def test_a_second_postgres_on_the_same_data_is_refused_and_the_first_goes_on(
    postgres: EmbeddedPostgres, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.embedded.PREDECESSOR_TIMEOUT_S", 0.0)
    postgres.start()
    write_note(postgres)
    second = EmbeddedPostgres(short_dir / "data", short_dir / "other")
    with pytest.raises(ChildError, match=r"another PostgreSQL \(process \d+\) works on"):
        second.start()
    assert read_note(postgres) == "Grüße"


def test_postgres_works_where_the_checkout_is_closed_to_other_accounts(short_dir: Path) -> None:
    home = short_dir / "home"
    home.mkdir(mode=0o700)
    server = EmbeddedPostgres(home / "var" / "data", short_dir / "pg", server_home=short_dir / "servers")
    server.start()
    write_note(server)
    server.stop()
    assert (home / "var" / "data" / "PG_VERSION").exists()
    server.start()
    assert read_note(server) == "Grüße"
    server.stop()


def test_data_that_was_deleted_by_its_link_does_not_come_back(short_dir: Path) -> None:
    home = short_dir / "home"
    home.mkdir(mode=0o700)
    server = EmbeddedPostgres(home / "data", short_dir / "pg", server_home=short_dir / "servers")
    server.start()
    write_note(server)
    server.stop()
    subprocess.run(["rm", "-r", home / "data"], check=True)
    server.start()
    with pytest.raises(psycopg.errors.UndefinedTable):
        read_note(server)
    server.stop()


def test_postgres_never_runs_as_root(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    assert Path(f"/proc/{postgres.child.pid}").stat().st_uid != 0


def test_the_environment_of_the_person_does_not_change_the_server(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATABASE", "elsewhere")
    monkeypatch.setenv("LC_ALL", "tlh_QO")
    postgres.start()
    write_note(postgres)


def test_neither_server_listens_on_the_network(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> None:
    postgres.start()
    valkey.start()
    assert listening_tcp_sockets(postgres.child.pid) == set()
    assert listening_tcp_sockets(valkey.child.pid) == set()


def test_valkey_answers_and_stops(valkey: EmbeddedValkey) -> None:
    valkey.start()
    with redis.Redis.from_url(valkey.url, protocol=2) as client:
        client.set("key", "value")
        assert client.get("key") == b"value"
    valkey.stop()
    assert not valkey.child.running


def test_valkey_starts_again_after_it_was_killed(valkey: EmbeddedValkey) -> None:
    valkey.start()
    os.kill(valkey.child.pid, signal.SIGKILL)
    valkey.child.wait(20)
    valkey.start()
    with redis.Redis.from_url(valkey.url, protocol=2) as client:
        assert client.ping()


def test_a_second_valkey_does_not_take_the_name_of_the_first(valkey: EmbeddedValkey, short_dir: Path) -> None:
    valkey.start()
    with pytest.raises(ChildError, match="another Valkey answers at"):
        EmbeddedValkey(short_dir / "valkey").start()
    with redis.Redis.from_url(valkey.url, protocol=2) as client:
        assert client.ping()


@pytest.mark.parametrize("server", [EmbeddedValkey, lambda run: EmbeddedPostgres(run / "data", run)])
def test_a_run_directory_with_too_long_a_path_is_refused_in_words(
    server: type[EmbeddedValkey], short_dir: Path
) -> None:
    with pytest.raises(ChildError, match=r"has \d+ bytes, and 107 is the limit: choose a shorter directory"):
        server(short_dir / ("x" * 100)).start()


def test_an_error_of_the_server_reaches_the_person(short_dir: Path) -> None:
    server = EmbeddedPostgres(short_dir / "data", short_dir / "pg", settings={"shared_buffers": "a lot"})
    with pytest.raises(ChildError, match=r'(?s)ended at start.*"shared_buffers": "a lot"'):
        server.start()


def test_both_servers_end_when_their_parent_is_killed_and_the_data_survives(
    short_dir: Path, postgres: EmbeddedPostgres
) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(short_dir)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        servers = [os.pidfd_open(int(pid)) for pid in parent.stdout.readline().split()]
        write_note(postgres)
        parent.kill()
    for server in servers:
        assert select.select([server], [], [], 20)[0]
        os.close(server)
    postgres.start()
    assert read_note(postgres) == "Grüße"
