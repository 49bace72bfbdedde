"""`python -m processes.dispenser`."""

from bus.runner import run
from processes.dispenser.service import build

if __name__ == "__main__":
    run("dispenser", build)
