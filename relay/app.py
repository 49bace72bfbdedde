"""The relay as a Flask application.

Run by `gunicorn --no-control-socket -c relay/gunicorn.conf.py 'relay.app:create_app()'`.
"""

from __future__ import annotations

import psycopg.waiting
from flask import Flask, Request, Response
from flask.sessions import NullSession, SessionInterface, SessionMixin
from gevent import monkey
from werkzeug.middleware.proxy_fix import ProxyFix

from relay import errors, rest, sockets, web
from relay.config import Settings
from relay.services import EXTENSION, Services


class NoSession(SessionInterface):
    """There are no cookies here, and to find that out anew at each request takes its time."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return self._none

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Never called: there is nothing to save."""


def create_app(settings: Settings | None = None) -> Flask:
    """The application.

    Args:
        settings: from the environment when None.

    Raises:
        ConfigError: a setting is missing or unusable.
    """
    configured = settings or Settings.from_env()
    app = Flask("relay", static_folder=None)
    app.extensions[EXTENSION] = Services.make(configured)
    app.session_interface = NoSession()
    app.url_map.strict_slashes = True
    rest.register(app)
    sockets.register(app)
    web.register(app, configured.web_root)
    errors.register(app)
    if configured.trusted_proxies:
        hops = configured.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    return app


def check_patched() -> None:
    """Refuse to run where one waiting connection would stop all others.

    Raises:
        RuntimeError: sockets are not gevent's, or psycopg waits in C (it was imported before the patching).
    """
    if not monkey.is_module_patched("socket") or psycopg.waiting.wait is getattr(psycopg.waiting, "wait_c", None):
        raise RuntimeError(
            "The relay runs in gunicorn's gevent worker, without --preload: Postgres and Redis have to wait "
            "cooperatively. Start it with `wimz relay serve`."
        )
