"""`python -m processes.guard`."""

from bus.runner import run
from processes.guard.service import build

if __name__ == "__main__":
    run("guard", build)
