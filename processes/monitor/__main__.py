"""Start monitor: `python -m processes.monitor --config robot_config.yaml`."""

from __future__ import annotations

from bus.runner import run
from processes.monitor.service import build

if __name__ == "__main__":
    run("monitor", build)
