"""`python -m processes.webrtc`."""

from bus.runner import run_async
from processes.webrtc.service import build

if __name__ == "__main__":
    run_async("webrtc", build)
