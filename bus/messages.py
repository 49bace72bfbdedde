"""The messages that stay inside the robot. What crosses its boundary is in `contract/`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from contract.frames import PairingCodeShown
from contract.units import Count, Fraction, PanDeg, Role, Seconds, Severity, Speed, TiltDeg

Source = Literal["console", "lan", "datachannel", "cloud", "mission"]
"""Where a command came in."""

MonotonicNs = Annotated[int, Meta(ge=0, description="CLOCK_MONOTONIC of this machine, in nanoseconds")]
Pid = Annotated[int, Meta(ge=1)]
FrameNumber = Annotated[int, Meta(ge=0, description="counts frames over restarts; no end")]


class Origin(Struct, frozen=True):
    """Who sent a command: the path it came in by, and the session there."""

    source: Source
    session: str
    user_id: str | None = None
    role: Role = "owner"


class Heartbeat(Struct, frozen=True):
    """Sent at 2 Hz from the loop that does the work: a hung loop stops beating."""

    pid: Pid
    uptime_s: Seconds
    loop_lag_ms: float
    counters: dict[str, int] = field(default_factory=dict)


class RobotEvent(Struct, frozen=True):
    """A contract event on its way out. `data` has the type `contract.models.EVENT_DATA` gives for `event`."""

    event: str
    data: dict[str, Any]
    id: str
    timestamp: str


class FrameTick(Struct, frozen=True):
    """A frame is in the ring."""

    seq: FrameNumber
    slot: Count
    epoch: int
    capture_ns: MonotonicNs


class CameraState(Struct, frozen=True):
    source: str
    width: Count
    height: Count
    fps: float
    healthy: bool


class MotionState(Struct, frozen=True):
    """What the motors and the head really do."""

    left: Speed
    right: Speed
    pan_deg: PanDeg
    tilt_deg: TiltDeg
    emergency: bool
    driver: Origin | None
    fault: str | None = None


class Beat(Struct, frozen=True):
    """The beat that motion and guard exchange at 20 Hz."""

    pid: Pid


class DispenserState(Struct, frozen=True):
    remaining: Count
    phase: Literal["idle", "turning", "jammed"]
    last_treat_time: str | None
    led: str


class LinkState(Struct, frozen=True):
    """How the link to the relay stands: "connected", "connecting", "off", or why it was refused."""

    state: str
    paired: bool | None = None
    code: PairingCodeShown | None = None


class VideoState(Struct, frozen=True):
    viewers: Count
    encoders: list[str]


class Signal(Struct, frozen=True):
    """A WebRTC signalling frame for the robot, from `origin`."""

    frame: dict[str, Any]
    origin: Origin


class SignalOut(Struct, frozen=True):
    """A WebRTC signalling frame from the robot, to the path and session it came in by."""

    frame: dict[str, Any]
    origin: Origin


class SessionEnd(Struct, frozen=True):
    """A driver is gone: what it was driving has to stop."""

    origin: Origin


class Fault(Struct, frozen=True):
    """Something a process wants told to people as an `error` event, by monitor, once per change."""

    code: str
    message: str
    severity: Severity
    active: bool = True


class Publication(Struct, frozen=True):
    """What a process is asked to publish in its own name, by a tool (`wimz bus pub`, `wimz bus replay`)."""

    topic: str
    value: dict[str, Any]


class ProcessHealth(Struct, frozen=True):
    name: str
    alive: bool
    pid: int | None
    uptime_s: Seconds | None
    loop_lag_ms: float | None
    restarts: Count = 0


class Health(Struct, frozen=True):
    """Every process as monitor sees it."""

    processes: list[ProcessHealth]


class SimulatedPin(Struct, frozen=True):
    """One pin of the simulated machine. `duty` is what it drives out; an input drives nothing."""

    mode: str
    level: Count
    duty: Fraction
    frequency_hz: float


class SimulatedMotor(Struct, frozen=True):
    """`duty` at the H-bridge, `speed` of the wheel as a share of its top speed; forward is positive."""

    duty: Speed
    speed: Speed


class SimulatedMotors(Struct, frozen=True):
    left: SimulatedMotor
    right: SimulatedMotor


class SimulatedServos(Struct, frozen=True):
    """Where the head stands, and the pulses on its lines; None where there are none."""

    pan_deg: float
    tilt_deg: float
    pan_us: float | None
    tilt_us: float | None


class SimulatedCarousel(Struct, frozen=True):
    angle_deg: float
    deg_per_s: float
    slots: Count
    treats_left: Count
    dropped: Count
    jammed: bool


class SimulatedBeam(Struct, frozen=True):
    broken: bool


class SimulatedLeds(Struct, frozen=True):
    """Colours as the strip shows them, brightness included; `lit` counts those that are not dark."""

    pixels: list[tuple[int, int, int]]
    lit: Count
    tube: Fraction


class MachineState(Struct, frozen=True):
    """The simulated machine. `pins` by BCM number; `clients` is how many programs hold its pins."""

    pins: dict[str, SimulatedPin]
    motors: SimulatedMotors
    servos: SimulatedServos
    carousel: SimulatedCarousel
    beam: SimulatedBeam
    leds: SimulatedLeds
    clients: Count


class SimulatedFault(Struct, frozen=True):
    """What to break or mend in the simulated machine; None leaves things as they are.

    `jam`: the carousel is stuck until it is turned backwards for a moment. `beam_blocked`: something lies in the
    treat beam. `beam_dead`: its sensor sees nothing any more. `refill`: this many treats in the carousel.
    """

    jam: bool | None = None
    beam_blocked: bool | None = None
    beam_dead: bool | None = None
    refill: Annotated[int, Meta(ge=0, le=10_000)] | None = None
