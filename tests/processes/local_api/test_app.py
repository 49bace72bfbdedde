"""REST, as its callers see it."""

from __future__ import annotations

import queue
from collections.abc import Callable

import pytest

from bus import settings
from bus.messages import LinkState
from bus.topics import LINK_STATE, PAIRING_CODE
from contract.errors import ContractError
from contract.frames import PairingCodeShown
from tests.processes.local_api.conftest import Robot, eventually


@pytest.fixture(autouse=True)
def calm(robot: Robot) -> None:
    """Each test begins with nothing heard yet."""
    robot.treat_error = None
    for each in (robot.motor, robot.stops):
        while not each.empty():
            each.get_nowait()


def test_health_needs_no_token(robot: Robot) -> None:
    reply = robot.get("/health", host="192.168.1.5")
    assert (reply.status, reply.json) == (200, {"status": "ok"})


def test_telemetry_is_monitors_with_unknown_readings_null(robot: Robot) -> None:
    reply = robot.get("/telemetry")
    assert reply.status == 200
    assert reply.json["treats_remaining"] == 5
    assert reply.json["battery"] is None


def test_the_history_of_the_telemetry_is_monitors(robot: Robot) -> None:
    reply = robot.get("/telemetry/history?minutes=3")
    assert reply.status == 200
    assert (reply.json["step_s"], reply.json["battery"]) == (60, [50.0, 50.0, 50.0])
    assert len(robot.get("/telemetry/history").json["timestamp"]) == 1440


@pytest.mark.parametrize("minutes", ["0", "1441", "-3", "many", "1.5", ""])
def test_more_history_than_there_is_is_not_asked_for(robot: Robot, minutes: str) -> None:
    reply = robot.get(f"/telemetry/history?minutes={minutes}")
    assert (reply.status, reply.error) == (400, "INVALID_PARAMETER")
    assert "from 1 to 1440" in reply.json["error"]["message"]


def test_a_command_is_carried_out_before_it_is_answered(robot: Robot) -> None:
    reply = robot.post("/motor/speed", {"left": 0.5, "right": -0.5})
    assert (reply.status, reply.json) == (200, {"success": True})
    while (command := robot.motor.get_nowait())[:2] != (0.5, -0.5):
        pass  # what other tests drove
    assert command[2].source == "lan"


def test_stop_has_no_body(robot: Robot) -> None:
    assert robot.post("/motor/stop").json == {"success": True}
    assert robot.stops.get_nowait() == "stop"


def test_a_reply_has_the_fields_of_its_row(robot: Robot) -> None:
    assert robot.post("/treat/dispense").json == {"success": True, "remaining": 4, "confirmed": True}


def test_what_the_process_refuses_is_refused(robot: Robot) -> None:
    robot.treat_error = ContractError("EMPTY", "No treats are left.")
    eventually(lambda: (reply := robot.post("/treat/dispense")).status == 409 and reply.error == "EMPTY")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "INVALID_JSON"),
        (b"{", 400, "INVALID_JSON"),
        (b'{"left": NaN, "right": 0}', 400, "INVALID_JSON"),
        (b'{"left": 1e999, "right": 0}', 400, "INVALID_JSON"),
        (b"\xff\xfe", 400, "INVALID_JSON"),
        (b"[]", 400, "INVALID_PARAMETER"),
        (b"7", 400, "INVALID_PARAMETER"),
        (b'{"left": 2, "right": 0}', 400, "INVALID_PARAMETER"),
        (b'{"left": "1", "right": 0}', 400, "INVALID_PARAMETER"),
        (b'{"left": true, "right": 0}', 400, "INVALID_PARAMETER"),
        (b'{"left": 1}', 400, "INVALID_PARAMETER"),
        (b'{"left": ' + b"1" * 70_000 + b"}", 413, "MESSAGE_TOO_LARGE"),
    ],
)
def test_bad_bodies_are_refused_in_the_one_shape(robot: Robot, body: bytes, status: int, code: str) -> None:
    reply = robot.post("/motor/speed", body)
    assert (reply.status, reply.error) == (status, code)
    assert robot.motor.empty()


def test_the_answer_says_what_is_accepted(robot: Robot) -> None:
    message = robot.post("/servo/pan", {"angle": 100}).json["error"]["message"]
    assert "angle" in message
    assert "from -90 to 90" in message


def test_any_content_type_and_unknown_fields_are_accepted(robot: Robot) -> None:
    kind = "application/x-www-form-urlencoded"
    reply = robot.post("/motor/speed", {"left": 0.1, "right": 0.1, "extra": 1}, Content_Type=kind)
    assert reply.status == 200


@pytest.mark.parametrize("path", ["/nothing", "/motor/../nothing", "/..%2f..%2fetc/passwd"])
def test_unknown_paths_are_not_found(robot: Robot, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        reply = robot.ask(method, path)
        assert (reply.status, reply.error) == (404, "NOT_FOUND")


def test_a_wrong_method_is_named_with_the_right_one(robot: Robot) -> None:
    reply = robot.get("/motor/stop")
    assert (reply.status, reply.error) == (405, "METHOD_NOT_ALLOWED")
    assert reply.headers["Allow"] == "POST"
    assert robot.ask("OPTIONS", "/motor/stop").status == 405


def test_rows_whose_process_is_down_say_so(robot: Robot) -> None:
    for method, path, body in (("GET", "/missions", None), ("POST", "/mode/set", {"mode": "idle"})):
        reply = robot.ask(method, path, body)
        assert (reply.status, reply.error) == (503, "UNAVAILABLE"), path
        assert "missions" in reply.json["error"]["message"]


def test_a_path_parameter_is_validated(robot: Robot) -> None:
    reply = robot.post(f"/missions/{'m' * 200}/start")
    assert (reply.status, reply.error) == (400, "INVALID_PARAMETER")


def test_too_many_commands_are_told_when_to_come_back(robot: Robot) -> None:
    replies = [robot.post("/led/off") for _ in range(30)]
    limited = [reply for reply in replies if reply.status == 429]
    assert limited
    assert limited[0].error == "RATE_LIMITED"
    assert int(limited[0].headers["Retry-After"]) >= 1


def test_a_process_that_is_away_is_unavailable_and_no_hang(robot: Robot) -> None:
    reply = robot.post("/servo/center")  # the motion of this test serves no servos
    assert (reply.status, reply.error) == (503, "UNAVAILABLE")


# -- who may speak ----------------------------------------------------------------------------------


def test_the_token_is_made_once_and_for_its_owner_alone(robot: Robot) -> None:
    path = robot.data / "robot_token"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(robot.token) >= 40


def test_without_the_token_only_this_machine_is_let_in(robot: Robot) -> None:
    reply = robot.get("/telemetry", host="192.168.1.5")
    assert (reply.status, reply.error) == (401, "AUTH_FAILED")
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")
    assert robot.get("/telemetry", host="192.168.1.5", Authorization=f"Bearer {robot.token}").status == 200


def test_a_name_that_a_website_pointed_at_this_machine_is_not_this_machine(robot: Robot) -> None:
    assert robot.post("/motor/stop", host="rebound.example").status == 401


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://localhost", "http://localhost:1"])
def test_pages_of_other_sites_may_not_drive(robot: Robot, origin: str) -> None:
    reply = robot.post("/motor/speed", {"left": 1, "right": 1}, Origin=origin)
    assert (reply.status, reply.error) == (403, "NOT_AUTHORIZED")
    assert robot.motor.empty()


def test_the_robots_own_page_may(robot: Robot) -> None:
    assert robot.post("/motor/stop", Origin=f"http://localhost:{robot.port}").status == 200


def test_wrong_tokens_are_slowed_down_and_the_right_one_never_is(robot: Robot) -> None:
    wrong = [robot.get("/telemetry", host="robot.local", Authorization="Bearer wrong") for _ in range(20)]
    assert {reply.error for reply in wrong} == {"AUTH_FAILED", "RATE_LIMITED"}
    assert robot.get("/telemetry", host="robot.local", Authorization=f"Bearer {robot.token}").status == 200


def test_a_cookie_for_pages_and_pictures(robot: Robot) -> None:
    reply = robot.post("/session", {"token": robot.token}, host="robot.local")
    assert reply.status == 200
    cookie = reply.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert robot.token not in cookie
    value = cookie.partition(";")[0]
    assert robot.get("/telemetry", host="robot.local", Cookie=value).status == 200
    assert robot.get("/telemetry", host="robot.local", Cookie=value[:-1] + "x").status == 401
    gone = robot.ask("DELETE", "/session", host="robot.local")
    assert "Max-Age=0" in gone.headers["Set-Cookie"]


def test_the_open_api_of_the_contract_needs_no_token_but_a_local_name(own_robot: Callable[..., Robot]) -> None:
    robot = own_robot(require_token=False)
    assert robot.get("/telemetry", host="192.168.1.5").status == 200
    assert robot.get("/telemetry", host="wimz.local").status == 200
    assert robot.get("/telemetry", host="rebound.example").status == 401


# -- pairing ----------------------------------------------------------------------------------------


def test_the_pairing_code_is_fetched_when_somebody_asks(own_robot: Callable[..., Robot]) -> None:
    robot = own_robot()
    assert robot.get("/pairing").error == "UNAVAILABLE"
    asked: queue.Queue[None] = queue.Queue()
    cloudlink = robot.bus("cloudlink")

    def fresh(request: object) -> None:
        asked.put(None)
        shown = PairingCodeShown(code="ABCD2345", expires_in_s=600)
        cloudlink.publish(LINK_STATE, LinkState("connected", paired=False, code=shown))

    cloudlink.serve(PAIRING_CODE, fresh)
    robot.threads.append(cloudlink.start())
    cloudlink.publish(LINK_STATE, LinkState("connected", paired=False))
    eventually(lambda: robot.get("/pairing").status == 200)
    assert robot.get("/pairing").json == {
        "paired": False,
        "code": "ABCD2345",
        "expires_in_s": 600,
        "relay": "connected",
    }
    assert asked.qsize() == 1


# -- the web client ---------------------------------------------------------------------------------


def test_the_web_client_is_served_under_a_strict_policy(robot: Robot) -> None:
    page = robot.get("/", host="192.168.1.5")
    assert page.status == 200
    assert page.headers["Content-Type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert robot.get("/client-config.json", host="192.168.1.5").json == {"served_by": "robot"}
    for path in (settings.ROOT / "web").rglob("*.js"):
        reply = robot.get("/" + path.relative_to(settings.ROOT / "web").as_posix())
        assert reply.headers["Content-Type"].startswith("text/javascript")
        assert reply.status == 200


def test_only_files_of_the_client_are_served(robot: Robot) -> None:
    for path in ("/robot_token", "/../robot_config.yaml", "/%2e%2e/setup.cfg", "/.git/config"):
        assert robot.get(path).status == 404


def test_replies_are_not_cached(robot: Robot) -> None:
    assert robot.get("/telemetry").headers["Cache-Control"] == "no-store"
