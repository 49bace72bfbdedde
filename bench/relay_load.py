"""The clients of `make bench-relay`: one process, epoll, frames made beforehand; the same for every server.

It is started by `bench.relay` with what to do as JSON on its standard input, and answers with figures as JSON.
"""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from bench.relay_crowd import PATIENCE_S, READ_BYTES, Client, Crowd, pairs, raise_descriptor_limit
from bench.relay_dialects import DIALECTS, Dialect, masked

PING_EVERY_S = 60.0
PING = masked(b'{"type":"ping"}')
FLOOD_FRAME_BYTES = 8192
TCP_ESTABLISHED = 1
CLOSED_TOO_SLOW = (4008).to_bytes(2, "big")
CLOSED_RESTARTING = (1012).to_bytes(2, "big")


def routed(dialect: Dialect, job: dict[str, Any]) -> dict[str, float]:
    """Commands from each app to its robot, `window` under way per pair. Figures: messages a second, lost."""
    window, seconds = job["window"], job["seconds"]
    apps, robots = pairs(job["pairs"], job["app_port"], job["robot_port"])
    frames = {app.number: dialect.command(app.number) for app in apps}
    marker = dialect.command_marker
    keep = len(marker) - 1
    received = sent = 0
    running = False

    def on_data(client: Client, data: bytes) -> None:
        nonlocal received, sent
        if not client.robot:
            return
        data = client.rest + data
        count = data.count(marker)
        client.rest = data[-keep:]
        if not count:
            return
        received += count
        if running:
            assert client.partner is not None
            sent += count
            crowd.write(client.partner, frames[client.number] * count)

    crowd = Crowd(dialect, on_data)
    crowd.open_all(robots, 32)
    crowd.open_all(apps, 32)
    crowd.settle()
    running = True
    for app in apps:
        sent += window
        crowd.write(app, frames[app.number] * window)
    warm_s = time.monotonic() + 0.5
    while time.monotonic() < warm_s:
        crowd.turn(0.1)
    began_s, began_count, began_cpu_s = time.monotonic(), received, time.process_time()
    while (took_s := time.monotonic() - began_s) < seconds:
        crowd.turn(0.1)
    count, cpu_s = received - began_count, time.process_time() - began_cpu_s
    running = False
    crowd.settle()
    crowd.close()
    return {"msgs_per_s": count / took_s, "lost": sent - received, "client_cpu_pct": 100 * cpu_s / took_s}


def latency(dialect: Dialect, job: dict[str, Any]) -> dict[str, float]:
    """Commands at a steady rate, spread over the pairs. Figures: milliseconds from send to receipt."""
    apps, robots = pairs(job["pairs"], job["app_port"], job["robot_port"])
    marker = dialect.command_marker
    sent_s: dict[int, float] = {}
    took_ms: list[float] = []

    def on_data(client: Client, data: bytes) -> None:
        if client.robot and marker in data and client.number in sent_s:
            took_ms.append(1000 * (time.perf_counter() - sent_s.pop(client.number)))

    crowd = Crowd(dialect, on_data)
    crowd.open_all(robots, 32)
    crowd.open_all(apps, 32)
    crowd.settle()
    count = int(job["seconds"] * job["rate"])
    began_s = time.perf_counter()
    for index in range(count):
        due_s = began_s + index / job["rate"]
        while (left_s := due_s - time.perf_counter()) > 0:
            crowd.turn(left_s)
        app = apps[index % len(apps)]
        sent_s[app.number] = time.perf_counter()
        crowd.write(app, dialect.command(app.number))
    crowd.settle()
    crowd.close()
    return {
        "p50_ms": statistics.median(took_ms),
        "p99_ms": statistics.quantiles(took_ms, n=100)[98],
        "lost": count - len(took_ms),
    }


def idle(dialect: Dialect, job: dict[str, Any]) -> dict[str, float]:
    """Open many, half apps and half robots, and leave them alone. Figures: connects a second, RSS each."""

    def rss_kb() -> int:
        return sum(_rss_kb(pid) for pid in job["pids"])

    # A first few warm what every server makes once.
    crowd = Crowd(dialect, lambda client, data: None)
    apps, robots = pairs(job["connections"] // 2 + 50, job["app_port"], job["robot_port"])
    clients = [client for pair in zip(robots, apps, strict=True) for client in pair]
    crowd.open_all(clients[:100], 32)
    crowd.settle()
    before_kb = rss_kb()
    took_s = crowd.open_all(clients[100:], job["at_once"])
    crowd.settle()
    time.sleep(1.0)
    count = len(clients) - 100
    after_kb = rss_kb()
    crowd.close()
    return {"connects_per_s": count / took_s, "kb_each": (after_kb - before_kb) / count, "connections": count}


def _rss_kb(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def stored(dialect: Dialect, job: dict[str, Any]) -> dict[str, float]:
    """Events that have to be kept, `window` unacknowledged per robot. Figures: acknowledged a second."""
    window, seconds, marker = job["window"], job["seconds"], dialect.ack_marker
    _, robots = pairs(job["pairs"], job["app_port"], job["robot_port"])
    run = f"{time.time_ns():x}"
    acknowledged = sent = 0
    running = True

    def send(client: Client, count: int) -> None:
        nonlocal sent
        parts = []
        for _ in range(count):
            sent += 1
            parts.append(dialect.event(client.number, f"{run}-{sent}"))
        crowd.write(client, b"".join(parts))

    def on_data(client: Client, data: bytes) -> None:
        nonlocal acknowledged
        data = client.rest + data
        count = data.count(marker)
        client.rest = data[-(len(marker) - 1) :]
        acknowledged += count
        if running and count:
            send(client, count)

    crowd = Crowd(dialect, on_data)
    crowd.open_all(robots, 32)
    crowd.settle()
    began_s = time.monotonic()
    for robot in robots:
        send(robot, window)
    while (took_s := time.monotonic() - began_s) < seconds:
        crowd.turn(0.1)
    count = acknowledged
    running = False
    deadline_s = time.monotonic() + PATIENCE_S
    while acknowledged < sent and time.monotonic() < deadline_s:
        crowd.turn(0.1)
    crowd.close()
    return {"events_per_s": count / took_s, "lost": sent - acknowledged, "sent": sent}


def storm(dialect: Dialect, job: dict[str, Any]) -> dict[str, float]:
    """The server dies under many connections, each robot with an event that is not acknowledged yet; all come back.

    Says `ready` when all are connected and the events are on their way: then the server is to be killed.
    Figures: seconds from the first loss to the last admission, and to the last acknowledgement.
    """
    count = job["connections"]
    apps, robots = pairs(count // 2, job["app_port"], job["robot_port"])
    clients = [client for pair in zip(robots, apps, strict=True) for client in pair]
    marker = dialect.ack_marker
    run = f"{time.time_ns():x}"
    open_events: dict[int, str] = {}

    def on_data(client: Client, data: bytes) -> None:
        if marker in client.rest + data:
            open_events.pop(client.number, None)
        client.rest = data[-(len(marker) - 1) :]

    def back(client: Client) -> None:
        if client.robot and client.number in open_events:
            crowd.write(client, dialect.event(client.number, open_events[client.number]))

    crowd = Crowd(dialect, on_data)
    crowd.open_all(clients, job["at_once"])
    crowd.settle()
    crowd.reconnect = True
    crowd.on_admitted = back
    if job["events"]:
        for robot in robots:
            open_events[robot.number] = f"{run}-{robot.number}"
            crowd.write(robot, dialect.event(robot.number, open_events[robot.number]))
    print(json.dumps({"ready": True}), flush=True)
    while not crowd.lost:
        crowd.turn(0.05)
    began_s = time.monotonic()
    all_back_s = 0.0
    while not all_back_s or open_events:
        crowd.turn(0.05)
        if not all_back_s and crowd.lost >= count and all(client.admitted for client in clients):
            all_back_s = time.monotonic() - began_s
        if time.monotonic() - began_s > PATIENCE_S:
            break
    took_s = time.monotonic() - began_s
    missing = sum(not client.admitted for client in clients)
    crowd.close()
    return {
        "all_back_s": all_back_s or took_s,
        "all_stored_s": took_s,
        "missing": missing,
        "unacknowledged": len(open_events),
        "refused": crowd.refused,
        "connections": count,
    }


def flood(dialect: Dialect, job: dict[str, Any]) -> dict[str, float]:
    """A robot tells its two apps, which read nothing, `mb` in `seconds`; one of them reads again at half of it.

    Figures: what was sent, what the server's memory grew by at most, whether the one that reads again learnt that it
    was too slow, and how long the socket of the one that never does is kept, seconds after the flood.
    """
    (app,), (robot,) = pairs(1, job["app_port"], job["robot_port"], job["first"])
    never = Client(app.number, False, job["app_port"])
    crowd = Crowd(dialect, lambda client, data: None)
    crowd.open_all([robot, app, never], 3)
    crowd.settle()
    again, deaf = crowd.let_go(app), crowd.let_go(never)
    again.setblocking(False)
    frame = dialect.status(robot.number, FLOOD_FRAME_BYTES)
    count = int(job["mb"] * 1e6 / len(frame))
    before_kb = peak_kb = sum(_rss_kb(pid) for pid in job["pids"])
    heard = b""
    began_s = time.monotonic()
    for index in range(count):
        crowd.write(robot, frame)
        crowd.turn(max(0.0, began_s + job["seconds"] * index / count - time.monotonic()))
        if index % 50 == 0:
            peak_kb = max(peak_kb, sum(_rss_kb(pid) for pid in job["pids"]))
        if index > count / 2:
            with contextlib.suppress(OSError):
                heard = (heard + again.recv(READ_BYTES))[-200:]
    crowd.settle()
    flooded_s = time.monotonic()
    while _established(deaf) and time.monotonic() - flooded_s < PATIENCE_S:
        time.sleep(0.1)
    gone_s = time.monotonic() - flooded_s
    for sock in (again, deaf):
        sock.close()
    crowd.close()
    return {
        "sent_mb": count * len(frame) / 1e6,
        "growth_mb": (peak_kb - before_kb) / 1024,
        "gone_s": gone_s,
        "closed_4008": float(CLOSED_TOO_SLOW in heard),
    }


def _established(sock: socket.socket) -> bool:
    """Whether the other end still has the connection; nothing is read (TCP_INFO begins with the state)."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_ESTABLISHED


def watch(dialect: Dialect, job: dict[str, Any]) -> dict[str, float]:
    """Open many, each of which says a ping once a minute, for `seconds`. Figures: what the server's memory grew by."""
    apps, robots = pairs(job["connections"] // 2, job["app_port"], job["robot_port"])
    crowd = Crowd(dialect, lambda client, data: None)
    clients = [client for pair in zip(robots, apps, strict=True) for client in pair]
    crowd.open_all(clients, job["at_once"])
    crowd.settle()
    before_kb = sum(_rss_kb(pid) for pid in job["pids"])
    began_s, said = time.monotonic(), 0
    while (passed_s := time.monotonic() - began_s) < job["seconds"]:
        crowd.turn(0.02)
        while said < passed_s / PING_EVERY_S * len(clients):
            crowd.write(clients[said % len(clients)], PING)
            said += 1
    crowd.settle()
    after_kb = sum(_rss_kb(pid) for pid in job["pids"])
    crowd.close()
    return {"connections": 2.0 * len(apps), "rss_mb": after_kb / 1024, "growth_mb": (after_kb - before_kb) / 1024}


def drain(dialect: Dialect, job: dict[str, Any]) -> dict[str, float]:
    """The server is asked to end under many connections. Says `ready` when it may be.

    Figures: how many were told by 1012, and over how many seconds they were.
    """
    apps, robots = pairs(job["connections"] // 2, job["app_port"], job["robot_port"])
    told_s: dict[tuple[bool, int], float] = {}

    def on_data(client: Client, data: bytes) -> None:
        if CLOSED_RESTARTING in data:
            told_s.setdefault((client.robot, client.number), time.monotonic())

    crowd = Crowd(dialect, on_data)
    crowd.open_all([client for pair in zip(robots, apps, strict=True) for client in pair], job["at_once"])
    crowd.settle()
    crowd.reconnect = crowd.stay_away = True
    print(json.dumps({"ready": True}), flush=True)
    deadline_s = time.monotonic() + PATIENCE_S
    while crowd.lost < 2 * len(apps) and time.monotonic() < deadline_s:
        crowd.turn(0.05)
    crowd.close()
    times = sorted(told_s.values())
    spread_s = times[-1] - times[0] if times else 0.0
    return {"connections": 2.0 * len(apps), "told_1012": len(times), "spread_s": spread_s}


WORK: dict[str, Callable[[Dialect, dict[str, Any]], dict[str, float]]] = {
    "routed": routed,
    "latency": latency,
    "idle": idle,
    "stored": stored,
    "storm": storm,
    "flood": flood,
    "watch": watch,
    "drain": drain,
}


def main(lines: Iterable[str] = sys.stdin) -> None:
    raise_descriptor_limit()
    job = json.loads(next(iter(lines)))
    dialect = DIALECTS[job["dialect"]](job["secret"])
    print(json.dumps(WORK[job["work"]](dialect, job)), flush=True)


if __name__ == "__main__":
    main()
