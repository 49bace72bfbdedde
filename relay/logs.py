"""Logs: one line an entry, as text or JSON, and no secrets in them whoever wrote it.

Only the standard library is imported here: gunicorn's configuration uses this before sockets are monkey-patched.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from datetime import UTC, datetime

TEXT_FORMAT = "%(asctime)s [%(process)d] %(levelname)s %(name)s: %(message)s"
FORMATS = ("text", "json")
QUIET = ("websockets", "psycopg.pool")

_SECRETS = (
    re.compile(r"((?:token|sig|signature|password|secret)[\"']?\s*[=:]\s*[\"']?)[^&\s\"',}]+", re.IGNORECASE),
    re.compile(r"(bearer\s+)[^\s\"',]+", re.IGNORECASE),
    re.compile(r"(\w+://[^:/\s@]*:)[^@\s]+(?=@)"),  # the password in a URL
    re.compile(r"()\beyJ[\w-]+\.[\w-]+\.[\w-]*"),  # a JWT, wherever it is
)


def without_secrets(text: str) -> str:
    """The text with every token, signature and password in it replaced by an ellipsis."""
    for pattern in _SECRETS:
        text = pattern.sub(r"\1…", text)
    return text


class TextFormatter(logging.Formatter):
    """One entry as text; only a traceback has further lines."""

    def __init__(self) -> None:
        super().__init__(TEXT_FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


class JsonFormatter(logging.Formatter):
    """One entry as one line of JSON: time, level, logger, process, message, exception."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": without_secrets(record.getMessage()),
        }
        if record.exc_info:
            entry["exception"] = without_secrets(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False)


def formatter(kind: str) -> logging.Formatter:
    """The formatter of that name.

    Raises:
        ValueError: it is none of FORMATS.
    """
    if kind not in FORMATS:
        raise ValueError(f"LOG_FORMAT is {kind!r}. Accepted: {' or '.join(FORMATS)}.")
    return JsonFormatter() if kind == "json" else TextFormatter()


def dress(loggers: Iterable[logging.Logger], kind: str) -> None:
    """Have the handlers of these loggers write so."""
    for logger in loggers:
        for handler in logger.handlers:
            handler.setFormatter(formatter(kind))


def configure(level: str, kind: str) -> None:
    """Have the root logger write to standard error."""
    logging.basicConfig(level=level.upper())
    dress([logging.getLogger()], kind)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
