"""The web client's files, and the headers that go with everything."""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask, Response, request, send_file
from werkzeug.exceptions import NotFound
from werkzeug.security import safe_join

from contract.errors import ContractError
from relay.errors import error_response

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
CONTENT_TYPES = {".js": "text/javascript", ".webmanifest": "application/manifest+json", ".svg": "image/svg+xml"}


def register(app: Flask, root: Path) -> None:
    """Serve the files below `root`, where no other row has the path, and add the headers."""

    @app.errorhandler(NotFound)
    def file_or_error(_: NotFound) -> Response:
        path = _file(root, request.path)
        if path is None or request.method not in ("GET", "HEAD"):
            return error_response(ContractError("NOT_FOUND", f"There is nothing at {request.path[:200]}."))
        response = send_file(path, mimetype=CONTENT_TYPES.get(path.suffix), conditional=True, max_age=0)
        response.headers["Cache-Control"] = "no-cache"
        return response

    @app.get("/client-config.json")
    def client_config() -> dict[str, str]:
        return {"served_by": "relay"}

    app.after_request(_headers)


def _file(root: Path, path: str) -> Path | None:
    """The file that a path names; None when there is none. Hidden files are none."""
    if "/." in path or "\x00" in path:
        return None
    joined = safe_join(str(root), "index.html" if path == "/" else path.lstrip("/"))
    if joined is None or not os.path.isfile(joined):  # False for a path that is too long, too
        return None
    return Path(joined)


def _headers(response: Response) -> Response:
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response
