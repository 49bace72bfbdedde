"""Pictures over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Callable, Iterator

import simplejpeg

from tests.processes.local_api.conftest import HEIGHT, WAIT_S, WIDTH, Camera, Robot, eventually


@contextlib.contextmanager
def stream_of(robot: Robot) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", robot.port, timeout=WAIT_S)
    try:
        connection.request("GET", "/camera/stream", headers={"Host": "localhost"})
        yield connection.getresponse()
    finally:
        connection.close()


def part(response: http.client.HTTPResponse) -> bytes:
    """The next picture of an MJPEG stream."""
    assert response.readline() == b"--frame\r\n"
    length = 0
    while (line := response.readline()) != b"\r\n":
        name, _, value = line.decode().partition(":")
        if name == "Content-Length":
            length = int(value)
    picture = response.read(length)
    assert response.readline() == b"\r\n"
    return picture


def test_a_snapshot_is_a_picture_of_now(own_robot: Callable[..., Robot]) -> None:
    robot = own_robot()
    with Camera(robot):
        reply = robot.get("/camera/snapshot")
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "image/jpeg"
    assert simplejpeg.decode_jpeg(reply.body).shape == (HEIGHT, WIDTH, 3)


def test_a_stream_goes_on_over_a_camera_that_restarts(own_robot: Callable[..., Robot]) -> None:
    robot = own_robot()
    with Camera(robot):
        with stream_of(robot) as response:
            assert response.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=frame"
            first = [part(response) for _ in range(3)]
            assert all(simplejpeg.is_jpeg(picture) for picture in first)
            robot.frames = None  # a new writer: another epoch
            assert simplejpeg.is_jpeg(part(response))


def test_a_viewer_that_stops_reading_gives_its_place_back(own_robot: Callable[..., Robot]) -> None:
    robot = own_robot(max_streams=1, client_timeout_s=0.5)
    with Camera(robot, noise=True), socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.connect(("127.0.0.1", robot.port))
        sock.sendall(b"GET /camera/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(12) == b"HTTP/1.1 200"
        eventually(lambda: places_are_free(robot))


def places_are_free(robot: Robot) -> bool:
    with stream_of(robot) as response:
        return response.status == 200


def test_a_viewer_that_leaves_gives_its_place_back(own_robot: Callable[..., Robot]) -> None:
    robot = own_robot(max_streams=1)
    with Camera(robot):
        for _ in range(3):
            eventually(lambda: places_are_free(robot))


def test_asking_for_the_head_of_a_stream_takes_no_place(own_robot: Callable[..., Robot]) -> None:
    robot = own_robot(max_streams=1)
    with Camera(robot):
        for _ in range(3):
            eventually(lambda: robot.ask("HEAD", "/camera/stream").status == 200)
