"""`python -m processes.detector`."""

from bus.runner import run
from processes.detector.service import build

if __name__ == "__main__":
    run("detector", build)
