"""`python -m processes.camera`."""

from bus.runner import run
from processes.camera.service import build

if __name__ == "__main__":
    run("camera", build)
