"""Video to viewers that are real WebRTC peers, from the request to the end of the session."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from bus.messages import Origin, RobotEvent, VideoState
from contract.commands import Motor
from contract.errors import ContractError
from processes.webrtc.config import VideoConfig
from processes.webrtc.session import MAX_CANDIDATES
from tests.processes.webrtc.peers import FPS, HEIGHT, WIDTH, Viewer, a_robot, on_loop, until, viewers


@on_loop
async def test_a_viewer_sees_moving_pictures_and_their_numbers_only_grow(tmp_path: Path) -> None:
    async with a_robot(tmp_path) as robot:
        viewer = Viewer(robot)
        async with viewers(viewer):
            offer = await viewer.offer()
            video = offer[offer.index("m=video") :]
            assert "a=sendonly" in video
            payload = video.split()[3]
            assert re.search(rf"a=rtpmap:{payload} H264/90000", video)
            assert re.search(rf"a=fmtp:{payload} .*profile-level-id=42e01f", video)
            await viewer.send_answer(await viewer.make_answer(offer))
            await viewer.pictures(20)
            numbers = [stamp.number for stamp in viewer.stamps]
            assert numbers == sorted(set(numbers))
            assert viewer.sizes == {(WIDTH, HEIGHT)}
            await until(lambda: robot.states[-1:] == [VideoState(1, ["H264"])], "the state")


@on_loop
async def test_the_data_channels_are_as_the_contract_says(tmp_path: Path) -> None:
    async with a_robot(tmp_path) as robot:
        viewer = Viewer(robot)
        async with viewers(viewer):
            await viewer.watch()
            control, events = viewer.channels["control"], viewer.channels["events"]
            assert (control.ordered, control.maxRetransmits) == (False, 0)
            assert (events.ordered, events.maxRetransmits) == (True, None)


@on_loop
async def test_a_viewer_that_can_only_do_vp8_gets_vp8_beside_one_with_h264(tmp_path: Path) -> None:
    async with a_robot(tmp_path) as robot:
        modern, old = Viewer(robot, "s1"), Viewer(robot, "s2")
        async with viewers(modern, old):
            await modern.watch()
            await old.watch("VP8")
            await asyncio.gather(modern.pictures(5), old.pictures(5))
            await until(lambda: robot.states[-1:] == [VideoState(2, ["H264", "VP8"])], "both encoders")
            await robot.ask({"type": "webrtc_close", "session_id": "s2"})
            await until(lambda: robot.states[-1:] == [VideoState(1, ["H264"])], "one encoder")


@on_loop
async def test_a_second_viewer_and_a_lost_picture_get_a_key_frame_at_once(tmp_path: Path) -> None:
    async with a_robot(tmp_path) as robot:
        first, second = Viewer(robot, "s1"), Viewer(robot, "s2")
        async with viewers(first, second):
            await first.watch()
            await first.pictures(5)
            encoded, key_frames = robot.bus.counters["webrtc.H264_frames"], robot.bus.counters["webrtc.key_frames"]
            await second.watch()
            await second.pictures(1)
            assert robot.bus.counters["webrtc.key_frames"] > key_frames
            # The next key frame by itself comes after 10 s: the picture was there because of the new viewer.
            assert robot.bus.counters["webrtc.H264_frames"] - encoded < 10 * FPS
            key_frames = robot.bus.counters["webrtc.key_frames"]
            receiver = second.peer.getReceivers()[0]
            ssrc = re.search(r"a=ssrc:(\d+)", second.peer.remoteDescription.sdp)
            assert ssrc is not None
            await receiver._send_rtcp_pli(int(ssrc[1]))
            await until(lambda: robot.bus.counters["webrtc.key_frames"] > key_frames, "a key frame after the PLI")


@on_loop
async def test_one_viewer_too_many_is_told_so_and_may_come_when_there_is_room(tmp_path: Path) -> None:
    async with a_robot(tmp_path, max_connections=1) as robot:
        first, second = Viewer(robot, "s1"), Viewer(robot, "s2")
        async with viewers(first, second):
            await first.watch()
            with pytest.raises(ContractError, match="VIEWER_LIMIT"):
                await second.offer()
            await robot.ask({"type": "webrtc_close", "session_id": "s1"})
            await second.watch()
            await second.pictures(2)
            assert robot.frames_to("s1", "webrtc_close") == []  # never echoed


@on_loop
async def test_a_silent_camera_ends_no_session(tmp_path: Path) -> None:
    async with a_robot(tmp_path) as robot:
        viewer = Viewer(robot)
        async with viewers(viewer):
            robot.camera_on = False
            await viewer.watch()
            await until(lambda: robot.states[-1:] == [VideoState(1, ["H264"])], "the connection")
            robot.camera_on = True
            await viewer.pictures(3)
            robot.camera_on = False
            robot.hub.advance(10.0)
            robot.camera_on = True
            await viewer.pictures(3)


@on_loop
async def test_commands_reach_motion_and_their_results_come_back_on_the_same_channel(tmp_path: Path) -> None:
    async with a_robot(tmp_path) as robot:
        viewer = Viewer(robot)
        async with viewers(viewer):
            await viewer.watch(user_id="user-7", role="driver")
            viewer.send("control", {"command": "motor", "left": 0.5, "right": -0.25, "id": 1})
            await until(lambda: viewer.messages["control"], "a result")
            (result,) = viewer.messages["control"]
            assert result == {
                "type": "command_result",
                "id": 1,
                "command": "motor",
                "success": True,
                "data": {"left": 0.5, "right": -0.25},
            }
            assert robot.driven == [(Motor(0.5, -0.25), Origin("datachannel", "session-1", "user-7", "driver"))]
            viewer.send("events", {"command": "motor", "left": 2, "right": 0, "id": "too fast"})
            await until(lambda: viewer.messages["events"], "a refusal")
            assert viewer.messages["events"][0]["error"]["code"] == "INVALID_PARAMETER"


@on_loop
async def test_who_only_watches_may_not_drive(tmp_path: Path) -> None:
    async with a_robot(tmp_path) as robot:
        viewer = Viewer(robot)
        async with viewers(viewer):
            await viewer.watch(role="viewer")
            viewer.send("control", {"command": "motor", "left": 1, "right": 1, "id": 1})
            await until(lambda: viewer.messages["control"], "a refusal")
            assert viewer.messages["control"][0]["error"]["code"] == "NOT_AUTHORIZED"
            assert robot.driven == []


@on_loop
async def test_nonsense_on_a_channel_is_answered_and_harms_nobody(tmp_path: Path) -> None:
    async with a_robot(tmp_path) as robot:
        viewer = Viewer(robot)
        async with viewers(viewer):
            await viewer.watch()
            nonsense = ["{", "[]", "NaN", '{"type": "webrtc_close"}', b"\0\1", '{"command": 5}', "[" * 50_000]
            nonsense.append(json.dumps({"type": "ping", "t": "soon"}))
            for message in nonsense:
                viewer.send("events", message)
            await until(lambda: len(viewer.messages["events"]) >= len(nonsense), "an answer to each")
            codes = {message["code"] for message in viewer.messages["events"]}
            assert codes == {"INVALID_JSON", "INVALID_PARAMETER"}
            await viewer.pictures(2)


@on_loop
async def test_a_ping_is_answered_with_its_own_time_and_events_arrive(tmp_path: Path) -> None:
    async with a_robot(tmp_path) as robot:
        viewer = Viewer(robot)
        async with viewers(viewer):
            await viewer.watch()
            viewer.send("events", {"type": "ping", "t": 12.5})
            await until(lambda: viewer.messages["events"], "a pong")
            assert viewer.messages["events"] == [{"type": "pong", "t": 12.5}]
            data = {"code": "CAMERA_FAULT", "message": "…", "severity": "error"}
            robot.publish_event(RobotEvent("error", data, "id-1", "2026-01-31T12:00:00.000Z"))
            await until(lambda: len(viewer.messages["events"]) == 2, "the event")
            assert viewer.messages["events"][1] == {
                "event": "error",
                "data": data,
                "timestamp": "2026-01-31T12:00:00.000Z",
                "id": "id-1",
            }


@pytest.mark.parametrize("end", ["closed by the app", "connection closed", "tab closed", "asked again", "robot stops"])
@on_loop
async def test_motion_hears_that_the_driver_is_gone_however_the_session_ends(tmp_path: Path, end: str) -> None:
    driver = Origin("datachannel", "session-1", "user-1", "owner")

    async with a_robot(tmp_path) as robot:
        viewer = Viewer(robot)
        async with viewers(viewer):
            await viewer.watch()
            viewer.send("events", {"type": "ping", "t": 1})
            viewer.send("control", {"command": "motor", "left": 1, "right": 1, "id": 1})
            await until(lambda: robot.driven and viewer.messages["events"], "the robot to be driven")
            if end == "closed by the app":
                await robot.ask({"type": "webrtc_close", "session_id": viewer.session})
            elif end == "connection closed":
                await viewer.peer.close()
            elif end == "tab closed":
                robot.hub.advance(3.0)
            elif end == "asked again":
                await viewer.offer()
            else:
                await robot.service.close()
            await until(lambda: robot.gone, "motion to hear of it")
            assert robot.gone == [driver]
            if end in ("connection closed", "tab closed", "robot stops"):
                await until(lambda: robot.frames_to(viewer.session, "webrtc_close"), "the app to be told")
            else:  # it knows
                assert robot.frames_to(viewer.session, "webrtc_close") == []


@on_loop
async def test_motion_hears_of_a_closed_control_channel_too(tmp_path: Path) -> None:
    async with a_robot(tmp_path) as robot:
        viewer = Viewer(robot)
        async with viewers(viewer):
            await viewer.watch()
            viewer.send("control", {"command": "motor", "left": 1, "right": 1})
            await until(lambda: robot.driven, "the robot to be driven")
            viewer.channels["control"].close()
            await until(lambda: robot.gone, "motion to hear of it")
            await viewer.pictures(2)


@on_loop
async def test_too_many_candidates_are_refused(tmp_path: Path) -> None:
    async with a_robot(tmp_path) as robot:
        viewer = Viewer(robot)
        async with viewers(viewer):
            await viewer.offer()
            frame: dict[str, Any] = {"type": "webrtc_ice", "session_id": viewer.session}
            for port in range(1, MAX_CANDIDATES + 1):
                line = f"candidate:1 1 udp 1 192.0.2.99 {port} typ host"
                await robot.ask(frame | {"candidate": {"candidate": line, "sdpMid": "0"}})
            with pytest.raises(ContractError, match="RATE_LIMITED"):
                await robot.ask(frame | {"candidate": {"candidate": line, "sdpMid": "0"}})


@on_loop
async def test_who_never_pinged_may_be_silent(tmp_path: Path) -> None:
    async with a_robot(tmp_path) as robot:
        viewer = Viewer(robot)
        async with viewers(viewer):
            await viewer.watch()
            await viewer.pictures(1)
            robot.hub.advance(60.0)
            await viewer.pictures(10)


@on_loop
async def test_a_session_that_nobody_answers_is_over_after_20_seconds(tmp_path: Path) -> None:
    async with a_robot(tmp_path) as robot:
        viewer = Viewer(robot)
        async with viewers(viewer):
            await viewer.offer()
            robot.hub.advance(19.0)
            assert robot.service.sessions
            robot.hub.advance(1.0)
            await until(lambda: not robot.service.sessions, "the end of the session")
            await until(lambda: robot.frames_to("session-1", "webrtc_close"), "the app to be told")


@on_loop
async def test_a_session_that_is_asked_for_again_is_replaced(tmp_path: Path) -> None:
    async with a_robot(tmp_path, max_connections=1) as robot:
        first, again = Viewer(robot), Viewer(robot)
        async with viewers(first, again):
            await first.watch()
            await first.pictures(2)
            await again.watch()
            await again.pictures(2)
            assert robot.frames_to("session-1", "webrtc_close") == []


@on_loop
async def test_candidates_may_come_before_the_answer_and_useless_ones_are_ignored(tmp_path: Path) -> None:
    async with a_robot(tmp_path) as robot:
        viewer = Viewer(robot)
        async with viewers(viewer):
            sdp = await viewer.make_answer(await viewer.offer())
            real = re.findall(r"a=(candidate:.*)\r\n", sdp)
            hidden = "candidate:1 1 udp 2113937151 0f0f0f0f-1111-2222-3333-444444444444.local 50000 typ host"
            for line in [hidden, *real, ""]:
                candidate = {"candidate": line, "sdpMid": "0", "sdpMLineIndex": 0}
                await robot.ask({"type": "webrtc_ice", "session_id": viewer.session, "candidate": candidate})
            await robot.ask({"type": "webrtc_ice", "session_id": viewer.session, "candidate": None})
            await viewer.send_answer(re.sub(r"a=(candidate|end-of-candidates).*\r\n", "", sdp))
            await viewer.pictures(1)
            assert robot.bus.counters["webrtc.candidates_ignored"] == 1


@on_loop
async def test_a_viewer_that_hides_its_address_is_reached_when_it_calls(tmp_path: Path) -> None:
    async with a_robot(tmp_path) as robot:
        viewer = Viewer(robot)
        async with viewers(viewer):
            sdp = await viewer.make_answer(await viewer.offer())
            hidden = re.sub(r"(a=candidate:\S+ \d udp \d+) \S+", r"\1 0f0f-11.local", sdp)
            assert ".local" in hidden
            await viewer.send_answer(hidden)
            await viewer.pictures(1)


HOSTILE_ANSWERS = [
    "nonsense",
    "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 300\r\n",
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=setup:nothing\r\n",
    "v=0\r\na=group\r\na=fingerprint:\r\nm=audio 0 RTP/AVP 0\r\na=rtpmap:x\r\n",
]


@pytest.mark.parametrize("sdp", HOSTILE_ANSWERS)
@on_loop
async def test_a_hostile_answer_is_refused_and_others_go_on(tmp_path: Path, sdp: str) -> None:
    async with a_robot(tmp_path) as robot:
        good, bad = Viewer(robot, "good"), Viewer(robot, "bad")
        async with viewers(good, bad):
            await good.watch()
            await bad.offer()
            with pytest.raises(ContractError, match="INVALID_PARAMETER"):
                await bad.send_answer(sdp)
            assert list(robot.service.sessions) == ["good"]
            assert robot.bus.counters["webrtc.bad_answers"] == 1
            await good.pictures(3)


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "webrtc_answer"},
        {"type": "webrtc_answer", "session_id": "s", "sdp": {"type": "answer", "sdp": "x" * 70_000}},
        {"type": "webrtc_answer", "session_id": "s", "sdp": {"type": "offer", "sdp": "v=0"}},
        {"type": "webrtc_ice", "session_id": "s", "candidate": {"candidate": "candidate:what"}},
        {"type": "webrtc_ice", "session_id": "s", "candidate": {"candidate": "candidate:1 1 udp x 1.2.3.4 y typ z"}},
        {"type": "webrtc_request", "session_id": "", "ice_servers": []},
        {"type": "webrtc_request", "session_id": "t", "ice_servers": "stun:nowhere"},
        {"type": "motor"},
        {},
    ],
)
@on_loop
async def test_malformed_signalling_is_refused_with_a_reason(tmp_path: Path, frame: dict[str, Any]) -> None:
    async with a_robot(tmp_path) as robot:
        viewer = Viewer(robot, "s")
        async with viewers(viewer):
            await viewer.offer()
            with pytest.raises(ContractError, match="INVALID_PARAMETER"):
                await robot.ask(frame)
            await viewer.watch()


@on_loop
async def test_a_session_belongs_to_who_asked_for_it(tmp_path: Path) -> None:
    stranger = Origin("cloud", "socket-2", "user-2", "owner")

    async with a_robot(tmp_path) as robot:
        viewer = Viewer(robot)
        async with viewers(viewer):
            await viewer.watch()
            for frame in (
                {"type": "webrtc_close", "session_id": viewer.session},
                {"type": "webrtc_request", "session_id": viewer.session, "ice_servers": []},
            ):
                with pytest.raises(ContractError, match="NOT_AUTHORIZED"):
                    await robot.ask(frame, stranger)
            answer = {"type": "answer", "sdp": "v=0"}
            with pytest.raises(ContractError, match="NOT_FOUND"):
                await robot.ask({"type": "webrtc_answer", "session_id": "unknown", "sdp": answer}, stranger)
            await viewer.pictures(2)


@on_loop
async def test_video_that_is_switched_off_says_so(tmp_path: Path) -> None:
    async with a_robot(tmp_path, enabled=False) as robot:
        with pytest.raises(ContractError, match="UNAVAILABLE"):
            await Viewer(robot).offer()


@on_loop
async def test_video_of_another_size_than_the_camera_is_scaled(tmp_path: Path) -> None:
    video = VideoConfig(width=480, height=270, fps=10, bitrate_kbps=300, codec="VP8")
    async with a_robot(tmp_path, video=video) as robot:
        viewer = Viewer(robot)
        async with viewers(viewer):
            await viewer.watch()
            await viewer.pictures(3)
            assert viewer.sizes == {(480, 270)}
            assert robot.service.encoder("VP8").running
