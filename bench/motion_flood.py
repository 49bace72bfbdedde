"""A rogue on the bus: `python -m bench.motion_flood RUN_DIR` floods until SIGTERM, then prints what it sent as JSON.

Valid requests to motion's both lanes (for drivers that there are none of), frames that are none, and events that it
makes another process publish, which every listener then has to read.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import zmq

from bus import codec
from bus.codec import Request
from bus.events import robot_event
from bus.messages import Origin, Publication, SessionEnd
from bus.topics import COMMAND_TOPICS, DRIVER_GONE, EVENTS, PUBLISH, Topic
from contract.commands import Nothing
from contract.models import TreatEvent

BATCH_S = 0.005
EACH, EVENTS_EACH = 4, 12
"""In a batch: of the three kinds that motion gets, and of events; 4 800 messages a second, half of them events."""
NOBODY = Origin("cloud", "nobody")


def main() -> None:
    os.setpriority(os.PRIO_PROCESS, 0, 0)  # the drill itself goes ahead of the robot; a rogue is a process like others
    over: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: over.append(number))
    run_dir = Path(sys.argv[1])
    context = zmq.Context()

    def lane(name: str) -> zmq.Socket[bytes]:
        opened = context.socket(zmq.DEALER)
        opened.connect(f"ipc://{run_dir / name}")
        return opened

    requests, stops, events = lane("motion.req"), lane("motion.stop"), lane("audio.req")
    nonces = itertools.count(1)
    sent: Counter[str] = Counter()

    def put(socket: zmq.Socket[bytes], kind: str, raw: bytes) -> None:
        try:
            socket.send(raw, zmq.NOBLOCK)
            sent[kind] += 1
        except zmq.Again:
            sent["not_taken"] += 1
        while socket.poll(0):
            socket.recv(zmq.NOBLOCK)

    def request(topic: Topic[Any], body: msgspec.Struct) -> bytes:
        now_ns = time.monotonic_ns()
        return codec.encode_request(
            Request(topic, body, "rogue#1", next(nonces), None, now_ns, now_ns + 2 * 10**9, NOBODY)
        )

    event = robot_event("treat", TreatEvent(dispensed=True, remaining=1), datetime.now(UTC))
    publication = Publication(EVENTS["audio"].name, msgspec.to_builtins(event))
    begun = time.monotonic()
    print("flooding", flush=True)
    while not over:
        for _ in range(EACH):
            put(requests, "requests", request(COMMAND_TOPICS["release"], Nothing()))
            put(stops, "stops", request(DRIVER_GONE, SessionEnd(NOBODY)))
            put(requests, "garbage", b"\x93not a request")
        for _ in range(EVENTS_EACH):
            put(events, "events", request(PUBLISH["audio"], publication))
        time.sleep(BATCH_S)
    print(json.dumps({"seconds": time.monotonic() - begun, **sent}), flush=True)
    context.destroy(linger=0)


if __name__ == "__main__":
    main()
