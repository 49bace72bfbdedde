"""`wimz relay`: run the relay, and manage its accounts and devices. Settings come from the environment."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import psycopg

from cli.errors import CommandError
from relay import admin, migrate
from relay.config import ConfigError, Settings

ROOT = Path(__file__).resolve().parents[1]
GUNICORN_CONF = ROOT / "relay" / "gunicorn.conf.py"


def gunicorn_argv() -> list[str]:
    """What runs the relay, in the foreground; address and workers are in the environment and the conf."""
    return [
        *(sys.executable, "-m", "gunicorn", "--no-control-socket"),
        *("--chdir", str(ROOT), "--config", str(GUNICORN_CONF)),
        "relay.app:create_app()",
    ]


def relay_environment(base: Mapping[str, str]) -> dict[str, str]:
    """`base` without gunicorn's own variable, which would override the conf."""
    return {key: value for key, value in base.items() if key != "GUNICORN_CMD_ARGS"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `wimz relay`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    serve = actions.add_parser("serve", help="run the relay (HOST, PORT, WEB_CONCURRENCY and its other settings)")
    serve.set_defaults(act=_serve)
    upgrade = actions.add_parser("migrate", help="bring the database up to date")
    upgrade.set_defaults(act=_migrate)
    add_user = actions.add_parser("add-user", help="make an account, or set its password")
    add_user.add_argument("email")
    add_user.set_defaults(act=_add_user)
    add_device = actions.add_parser("add-device", help="make a robot's identity; its secret is shown this once")
    add_device.add_argument("device_id", nargs="?", help="made up when left out")
    add_device.add_argument("--owner", metavar="EMAIL", help="the account that it belongs to from the start")
    add_device.set_defaults(act=_add_device)
    pair = actions.add_parser("pair", help="give a robot to an account")
    pair.add_argument("email")
    pair.add_argument("device_id")
    pair.set_defaults(act=_pair)
    devices = actions.add_parser("devices", help="list the robots")
    devices.set_defaults(act=_devices)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for, in the environment's settings."""
    try:
        arguments.act(arguments, Settings.from_env())
    except (ConfigError, admin.AdminError, migrate.MigrationError) as error:
        raise CommandError(str(error)) from error
    except psycopg.Error as error:
        raise CommandError(f"the database refused: {str(error).strip()}") from error
    return 0


def _serve(arguments: argparse.Namespace, settings: Settings) -> None:
    # The settings were read to refuse wrong ones here, in one line, instead of in each worker.
    del arguments, settings
    argv = gunicorn_argv()
    os.execve(argv[0], argv, relay_environment(os.environ))


def _migrate(arguments: argparse.Namespace, settings: Settings) -> None:
    del arguments
    done = migrate.migrate(settings.database_url)
    print("\n".join(done) if done else "The database is up to date.")


def _add_user(arguments: argparse.Namespace, settings: Settings) -> None:
    # From a terminal or a pipe, never as an argument, which everybody on the machine can read.
    password = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    print(admin.add_user(settings.database_url, arguments.email, password))


def _add_device(arguments: argparse.Namespace, settings: Settings) -> None:
    device_id, secret = admin.add_device(settings.database_url, settings.master_key, arguments.device_id)
    print(f"DEVICE_ID={device_id}\nDEVICE_SECRET={secret}")
    if arguments.owner:
        admin.pair(settings.database_url, arguments.owner, device_id)


def _pair(arguments: argparse.Namespace, settings: Settings) -> None:
    admin.pair(settings.database_url, arguments.email, arguments.device_id)


def _devices(arguments: argparse.Namespace, settings: Settings) -> None:
    del arguments
    for device in admin.devices(settings.database_url):
        seen = device.last_seen.isoformat(timespec="seconds") if device.last_seen else "never"
        print(f"{device.device_id}\t{device.owner_email or 'not paired'}\tlast seen {seen}\t{device.name}")
