"""`python -m processes.motion`."""

from bus.runner import run
from processes.motion.service import build

if __name__ == "__main__":
    run("motion", build)
