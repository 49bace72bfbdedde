"""The messages that stay inside the robot. What crosses its boundary is in `contract/`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from contract.frames import PairingCodeShown
from contract.models import Mission
from contract.units import (
    Behavior,
    Count,
    Fraction,
    Mode,
    PanDeg,
    Percent,
    PlayState,
    Role,
    Seconds,
    Severity,
    Speed,
    TiltDeg,
    VolumePct,
)

Source = Literal["console", "lan", "datachannel", "cloud", "mission"]
"""Where a command came in."""

MonotonicNs = Annotated[int, Meta(ge=0, description="CLOCK_MONOTONIC of this machine, in nanoseconds")]
Number = Annotated[float, Meta(ge=-1e12, le=1e12, description="any number that is one: no NaN, no infinity")]
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
    loop_lag_ms: Number
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
    fps: Number
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
    treats_today: Count = 0
    daily_limit: Count | None = None
    cooldown_left_s: Seconds = 0.0


class AudioState(Struct, frozen=True):
    """What plays, and where it is heard. `trouble`: why nothing can be played, if so."""

    state: PlayState
    file: str | None
    position_s: Seconds
    duration_s: Seconds | None
    volume: VolumePct
    output: Literal["alsa", "simulated"]
    trouble: str | None = None


class Dog(Struct, frozen=True):
    """One tracked dog.

    Attributes:
        id: stays with the dog for as long as it is followed.
        box: left, top, width, height as fractions of the picture.
        score: the detector's own.
        behavior: what its track says it is doing; never `absent`.
        confidence: of the behaviour.
        since_s: how long it has been doing that.
    """

    id: Count
    box: tuple[Fraction, Fraction, Fraction, Fraction]
    score: Fraction
    behavior: Behavior
    confidence: Fraction
    since_s: Seconds


class Sighting(Struct, frozen=True):
    """What the detector sees in one frame. No dogs: absent.

    Attributes:
        frame: number of the frame it was found in; `capture_ns` is when that was taken.
        model: what finds dogs (`mobilenet`, `scene`), or None while there is none (`MODEL_MISSING`).
    """

    frame: FrameNumber
    capture_ns: MonotonicNs
    dogs: list[Dog]
    model: str | None


class Box(Struct, frozen=True):
    """Where a dog is in one frame.

    Attributes:
        id: of the `Dog`.
        box: left, top, width, height as fractions of the picture.
        predicted: nobody looked at this frame: it is carried on from where the dog was seen, by how it moved.
    """

    id: Count
    box: tuple[Fraction, Fraction, Fraction, Fraction]
    predicted: bool


class Boxes(Struct, frozen=True):
    """Every dog's box in one frame, for drawing over it: of each frame while there is a dog, else of each look."""

    frame: FrameNumber
    capture_ns: MonotonicNs
    boxes: list[Box]


class ModeState(Struct, frozen=True):
    """The mode, and why it is that.

    Attributes:
        reason: in words, for people.
        source: who changed it last.
        missions: every mission and how it stands; at most one is active.
    """

    mode: Mode
    reason: str
    source: Source | Literal["safety", "start"]
    since: str
    missions: list[Mission]


class BatteryState(Struct, frozen=True):
    """What monitor knows of the battery; None: not known, or not yet.

    Attributes:
        critical: the motors must not turn. None says nothing: what was said last holds.
    """

    volts: Number | None
    charge_pct: Percent | None
    charging: bool | None
    critical: bool | None


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
    """One process as monitor sees it.

    Attributes:
        state: supervisord's word in small letters (`running`, `starting`, `backoff`, `stopped`, `stopping`, `exited`,
            `fatal`), `hung`, `held` (stopped for a while since it crashed again and again), or `unknown`.
        alive: its heartbeats come.
        pid: the one that supervisord started.
        restarts: since supervisord was started.
        cpu_pct: of one core, all its processes together, over the last seconds.
        rss_kib: resident memory of all its processes, with what they share.
        own_kib: the same without shared pages: frames and libraries are counted nowhere.
        held_for_s: how long until it is started again.
        last_error: the latest that went wrong, in a sentence.
    """

    name: str
    alive: bool
    pid: int | None
    uptime_s: Seconds | None
    loop_lag_ms: Number | None
    restarts: Count = 0
    state: str = "unknown"
    cpu_pct: Number | None = None
    rss_kib: Count | None = None
    own_kib: Count | None = None
    held_for_s: Seconds | None = None
    last_error: str | None = None


class Health(Struct, frozen=True):
    """Every process as monitor sees it."""

    processes: list[ProcessHealth]


class SimulatedPin(Struct, frozen=True):
    """One pin of the simulated machine. `duty` is what it drives out; an input drives nothing."""

    mode: str
    level: Count
    duty: Fraction
    frequency_hz: Number


class SimulatedMotor(Struct, frozen=True):
    """`duty` at the H-bridge, `speed` of the wheel as a share of its top speed; forward is positive."""

    duty: Speed
    speed: Speed


class SimulatedMotors(Struct, frozen=True):
    left: SimulatedMotor
    right: SimulatedMotor


class SimulatedServos(Struct, frozen=True):
    """Where the head stands, and the pulses on its lines; None where there are none."""

    pan_deg: Number
    tilt_deg: Number
    pan_us: Number | None
    tilt_us: Number | None


class SimulatedCarousel(Struct, frozen=True):
    angle_deg: Number
    deg_per_s: Number
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


class SimulatedBattery(Struct, frozen=True):
    """`volts` between its poles, `amps` drawn from it (negative: it is charged), `charge_pct` what is really in it."""

    volts: Number
    amps: Number
    charge_pct: Percent
    charging: bool


class MachineState(Struct, frozen=True):
    """The simulated machine. `pins` by BCM number; `clients` is how many programs hold its pins."""

    pins: dict[str, SimulatedPin]
    motors: SimulatedMotors
    servos: SimulatedServos
    carousel: SimulatedCarousel
    beam: SimulatedBeam
    leds: SimulatedLeds
    clients: Count
    battery: SimulatedBattery


class SimulatedFault(Struct, frozen=True):
    """What to break or mend in the simulated machine; None leaves things as they are.

    `jam`: the carousel is stuck until it is turned backwards for a moment. `beam_blocked`: something lies in the
    treat beam. `beam_dead`: its sensor sees nothing any more. `refill`: this many treats in the carousel.
    `battery_pct`: the battery holds so much, and has rested. `charging`: a charger is plugged in. `battery_adc_dead`:
    what measures the battery does not answer.
    """

    jam: bool | None = None
    beam_blocked: bool | None = None
    beam_dead: bool | None = None
    refill: Annotated[int, Meta(ge=0, le=10_000)] | None = None
    battery_pct: Percent | None = None
    charging: bool | None = None
    battery_adc_dead: bool | None = None
