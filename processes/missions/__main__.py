"""`python -m processes.missions`."""

from bus.runner import run
from processes.missions.service import build

if __name__ == "__main__":
    run("missions", build)
