"""Start cloudlink: `python -m processes.cloudlink --config robot_config.yaml`."""

from __future__ import annotations

from bus.runner import run
from processes.cloudlink.service import build

if __name__ == "__main__":
    run("cloudlink", build)
