"""What every test may use: short directories, and real servers of the kinds that the relay needs."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from bus import settings
from cli.embedded import EmbeddedPostgres, EmbeddedValkey

# Examples may take their time on a slow machine; what they find does not depend on it.
hypothesis.settings.register_profile("wimz", deadline=None)
hypothesis.settings.load_profile("wimz")

# Tests start from empty databases and never outlive a power cut.
UNSAFE_AND_QUICK = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

_database_numbers = itertools.count(1)


def _make_short_dir() -> Path:
    """A directory with a path short enough for unix sockets, which a server's own account can pass through."""
    directory = Path(tempfile.mkdtemp(prefix="wz-"))
    directory.chmod(0o711)
    return directory


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """An empty directory for one test, with a short path (pytest's own is too long for unix sockets).

    A robot whose data is in `data` below it leaves no run directory behind.
    """
    directory = _make_short_dir()
    yield directory
    shutil.rmtree(directory)
    shutil.rmtree(settings.run_dir(directory / "data"), ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """One PostgreSQL for the whole run."""
    directory = _make_short_dir()
    server = EmbeddedPostgres(directory / "data", directory / "run", settings=UNSAFE_AND_QUICK)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[EmbeddedValkey]:
    """One Valkey for the whole run."""
    directory = _make_short_dir()
    server = EmbeddedValkey(directory / "run")
    server.start()
    yield server
    server.stop()
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def postgres_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The URL of an empty PostgreSQL database of this module's own."""
    name = f"test_{next(_database_numbers)}"
    yield postgres_server.create_database(name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="module")
def redis_url(valkey_server: EmbeddedValkey) -> str:
    """The URL of a Valkey that is empty when this module begins."""
    valkey_server.flush()
    return valkey_server.url
