"""Each extra of setup.cfg holds all that its programs import: what only `dev` installs is missing elsewhere."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TAKEN_WHERE_THEY_ARE = {"idna", "opentelemetry-api"}
"""What libraries of others (dnspython for aiortc; redis) import if something else has brought it along, such as the
peers of `make bench-relay`."""
ROOT = Path(__file__).resolve().parents[1]

IMPORT_ALL = """
import json, pkgutil, importlib, sys
if "relay" in sys.argv[2:]:
    from gevent import monkey
    monkey.patch_all()
    import gunicorn.workers.ggevent
for name in sys.argv[2:]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if module.name.rpartition(".")[2] not in ("__main__", "conf"):
            importlib.import_module(module.name)
files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
open(sys.argv[1], "w").write(json.dumps([file for file in files if file and "site-packages" in file]))
"""


def declared(extra: str) -> set[str]:
    """The distributions that installing WIM-Z with this extra brings along."""
    found: set[str] = set()
    waiting = [Requirement(f"wimz[{extra}]")]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        key = f"{name}[{','.join(sorted(wanted.extras))}]"
        if key in found:
            continue
        found |= {key, name}
        for line in importlib.metadata.requires(name) or []:
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ["", *wanted.extras]):
                waiting.append(requirement)
    return found


def imported(packages: list[str], directory: Path) -> set[str]:
    """The distributions that these packages of ours import, in a process of their own."""
    output = directory / "files.json"
    subprocess.run([sys.executable, "-c", IMPORT_ALL, str(output), *packages], cwd=ROOT, check=True)
    owners = {
        str(path.locate()): canonicalize_name(distribution.name)
        for distribution in importlib.metadata.distributions()
        for path in distribution.files or []
    }
    return {owners[file] for file in json.loads(output.read_text()) if file in owners}


@pytest.mark.parametrize(
    ("extra", "packages"),
    [
        ("relay", ["contract", "relay"]),
        ("robot", ["contract", "bus", "hardware", "processes"]),
        ("demo", ["contract", "bus", "hardware", "processes", "relay", "cli"]),
    ],
)
def test_what_is_imported_is_declared(extra: str, packages: list[str], tmp_path: Path) -> None:
    used = imported(packages, tmp_path)
    assert len(used) > 10
    assert used - declared(extra) - {"setuptools", "wimz"} - TAKEN_WHERE_THEY_ARE == set()
