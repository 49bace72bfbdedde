"""The one error shape, and the codes it may carry."""

from __future__ import annotations

import msgspec

STATUS_OF_CODE: dict[str, int] = {
    "INVALID_JSON": 400,
    "INVALID_PARAMETER": 400,
    "UNKNOWN_COMMAND": 400,
    "NO_DEVICE": 400,
    "AUTH_FAILED": 401,
    "CLOCK_SKEW": 401,
    "NOT_AUTHORIZED": 403,
    "NOT_PAIRED": 403,
    "NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "CONFLICT": 409,
    "NOT_FITTED": 409,
    "EMERGENCY_STOPPED": 409,
    "LOW_BATTERY": 409,
    "SUPERSEDED": 409,
    "BUSY": 409,
    "EMPTY": 409,
    "STALE_COMMAND": 409,
    "MESSAGE_TOO_LARGE": 413,
    "RATE_LIMITED": 429,
    "COOLDOWN": 429,
    "DAILY_LIMIT": 429,
    "INTERNAL_ERROR": 500,
    "TREAT_JAM": 500,
    "TURN_ERROR": 503,
    "DEVICE_OFFLINE": 503,
    "UNAVAILABLE": 503,
    "VIEWER_LIMIT": 503,
    "CAMERA_FAULT": 503,
    "AUDIO_UNAVAILABLE": 503,
    "MOTOR_FAULT": 503,
}
"""HTTP status of every error code (contract: 400, 401, 403, 404, 409, 413, 429, 500, 503; 405 is HTTP's own)."""


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong: a code for programs and a sentence for people.

    Attributes:
        code: one of `STATUS_OF_CODE`.
        message: what was wrong and what is accepted.
        server_time: with CLOCK_SKEW: the relay's unix time in seconds.
        retry_after_s: with RATE_LIMITED, COOLDOWN and DAILY_LIMIT: when to try again.
    """

    code: str
    message: str
    server_time: float | None = None
    retry_after_s: float | None = None


class ErrorReply(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every HTTP error, on the robot and on the relay."""

    success: bool = False
    error: ErrorBody


class ContractError(Exception):
    """A refusal or failure that can be told to whoever asked.

    Args:
        code: one of `STATUS_OF_CODE`.
        message: what was wrong and what is accepted, as a sentence.
        retry_after_s: for RATE_LIMITED, COOLDOWN and DAILY_LIMIT, when to try again.
        server_time: for CLOCK_SKEW, the relay's unix time in seconds.
    """

    def __init__(
        self, code: str, message: str, *, retry_after_s: float | None = None, server_time: float | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        if code not in STATUS_OF_CODE:
            raise ValueError(f"unknown error code {code!r}; add it to contract.errors.STATUS_OF_CODE")
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
        self.server_time = server_time

    @property
    def status(self) -> int:
        """The HTTP status that goes with the code."""
        return STATUS_OF_CODE[self.code]

    @property
    def body(self) -> ErrorBody:
        return ErrorBody(self.code, self.message, self.server_time, self.retry_after_s)

    def reply(self) -> ErrorReply:
        """The error as an HTTP body."""
        return ErrorReply(error=self.body)
