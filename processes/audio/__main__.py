"""`python -m processes.audio`."""

from bus.runner import run
from processes.audio.service import build

if __name__ == "__main__":
    run("audio", build)
