"""gunicorn's settings for the relay. Runs before monkey-patching, so it imports nothing of ours at the top."""

import ctypes
import os
import resource
import secrets
import signal
from typing import Any

from gunicorn.glogging import Logger

bind = f"{os.environ.get('HOST', '0.0.0.0')}:{os.environ.get('PORT', '8000')}"
worker_class = "gevent"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
worker_connections = int(os.environ.get("WORKER_CONNECTIONS", "20000"))  # requests under way; sockets are counted apart
preload_app = False
backlog = 4096
timeout = 30
graceful_timeout = 3
keepalive = 15
limit_request_line = 8190
loglevel = os.environ.get("LOG_LEVEL", "info")
logformat = os.environ.get("LOG_FORMAT", "text")
accesslog = "-"
errorlog = "-"
# The path without its query, and no referrer: either may hold a token.
access_log_format = '%(h)s "%(m)s %(U)s" %(s)s %(b)s %(M)sms'

os.environ.setdefault("RELAY_INSTANCE", secrets.token_hex(4))

DRAIN_LIMIT_S = 1.5  # also when Redis does not answer any more
REQUESTS_GRACE_S = 0.2  # for requests that are under way after that
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class logger_class(Logger):  # type: ignore[misc]
    """gunicorn's own, with the relay's form and without secrets."""

    def setup(self, cfg: Any) -> None:
        from relay.logs import dress

        super().setup(cfg)
        dress([self.error_log, self.access_log], logformat)


def on_starting(server: Any) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:  # every socket is a descriptor
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def post_fork(server: Any, worker: Any) -> None:
    """Workers end with their master, also when that is killed with SIGKILL."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != server.pid:
        os._exit(0)


def post_worker_init(worker: Any) -> None:
    import gevent
    from gevent.baseserver import BaseServer

    from relay.app import check_patched
    from relay.logs import configure

    configure(loglevel, logformat)
    # One new connection a turn of the loop: when thousands come back at once, those who are there already go on.
    BaseServer.max_accept = 8
    check_patched()
    worker.relay_node = worker.wsgi.extensions["relay"].node
    worker.relay_node.start()

    def drain_when_asked() -> None:
        while worker.alive:
            gevent.sleep(0.05)
        with gevent.Timeout(DRAIN_LIMIT_S, False):
            worker.relay_node.drain()
        gevent.sleep(REQUESTS_GRACE_S)
        os._exit(0)  # gunicorn itself would wait for browsers that merely keep a connection open

    worker.relay_drain = gevent.spawn(drain_when_asked)


def worker_exit(server: Any, worker: Any) -> None:
    """gunicorn does not see the sockets that the hub has; wait until they are told."""
    drain = getattr(worker, "relay_drain", None)
    if drain is not None:
        drain.join(timeout=DRAIN_LIMIT_S + 2 * REQUESTS_GRACE_S)
