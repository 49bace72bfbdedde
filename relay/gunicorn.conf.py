"""gunicorn's settings for the relay. Runs before monkey-patching, so it imports nothing of ours at the top."""

import ctypes
import logging
import os
import re
import secrets
import signal
from typing import Any

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
accesslog = "-"
errorlog = "-"
# The path without its query, and no referrer: either may hold a token.
access_log_format = '%(t)s %(h)s "%(m)s %(U)s" %(s)s %(b)s %(M)sms'

os.environ.setdefault("RELAY_INSTANCE", secrets.token_hex(4))

DRAIN_LIMIT_S = 1.5  # also when Redis does not answer any more
REQUESTS_GRACE_S = 0.2  # for requests that are under way after that
PR_SET_PDEATHSIG = 1  # linux/prctl.h
_SECRET = re.compile(r"((?:token|sig)=)[^&\s'\"]+", re.IGNORECASE)


def _without_secrets(record: logging.LogRecord) -> bool:
    """Take tokens out of what gunicorn quotes of a bad request."""
    message = record.getMessage()
    cleaned = _SECRET.sub(r"\1…", message)
    if cleaned != message:
        record.msg, record.args = cleaned, ()
    return True


def on_starting(server: Any) -> None:
    server.log.error_log.addFilter(_without_secrets)


def post_fork(server: Any, worker: Any) -> None:
    """Workers end with their master, also when that is killed with SIGKILL."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != server.pid:
        os._exit(0)


def post_worker_init(worker: Any) -> None:
    import gevent

    from relay.app import check_patched

    logging.basicConfig(level=loglevel.upper(), format="%(asctime)s [%(process)d] %(levelname)s %(name)s: %(message)s")
    for name in ("websockets", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.WARNING)
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
