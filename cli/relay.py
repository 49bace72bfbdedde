"""`wimz relay`: run the relay, and manage its accounts and devices. Settings come from the environment."""

from __future__ import annotations

import argparse
import dataclasses
import getpass
import json
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import psycopg

from cli.errors import CommandError
from contract.units import SharedRole
from relay import admin, migrate
from relay.config import ConfigError, Settings

ROOT = Path(__file__).resolve().parents[1]
SHARED_ROLES: tuple[str, ...] = get_args(SharedRole)
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

    def action(name: str, act: Callable[[argparse.Namespace, Settings], None], words: str) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=words, description=words)
        made.set_defaults(act=act)
        return made

    action("serve", _serve, "run the relay (HOST, PORT, WEB_CONCURRENCY and its other settings)")
    upgrade = action("migrate", _migrate, "bring the database up to date")
    add_user = action("add-user", _add_user, "make an account, or set its password; the password is read from stdin")
    add_user.add_argument("email")
    add_device = action("add-device", _add_device, "make a robot's identity; its secret is shown this once")
    add_device.add_argument("device_id", nargs="?", help="made up when left out")
    add_device.add_argument("--name", help="what people call it; its id when left out")
    add_device.add_argument("--owner", metavar="EMAIL", help="the account that it belongs to from the start")
    pair = action("pair", _pair, "give a robot to an account")
    pair.add_argument("email")
    pair.add_argument("device_id")
    devices = action("devices", _devices, "list the robots")
    members = action("members", _members, "list who may use a robot, or change whom it is shared with")
    members.add_argument("device_id")
    change = members.add_mutually_exclusive_group()
    change.add_argument("--share", nargs=2, metavar=("EMAIL", "ROLE"), help="with the role driver or viewer")
    change.add_argument("--remove", metavar="EMAIL", help="share it with this account no more")
    reseal = action("reseal", _reseal, "keep all device secrets under MASTER_KEY, so that MASTER_KEY_PREVIOUS can go")
    for parser_ in (upgrade, add_user, add_device, pair, devices, members, reseal):
        parser_.add_argument("--json", action="store_true", help="for programs")


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


def _tell(arguments: argparse.Namespace, words: str, **values: Any) -> None:
    """Print for people, or `values` for programs."""
    print(json.dumps(values) if arguments.json else words)


def _migrate(arguments: argparse.Namespace, settings: Settings) -> None:
    done = migrate.migrate(settings.database_url)
    _tell(arguments, "\n".join(done) if done else "The database is up to date.", applied=done)


def _add_user(arguments: argparse.Namespace, settings: Settings) -> None:
    # From a terminal or a pipe, never as an argument, which everybody on the machine can read.
    password = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    user_id = admin.add_user(settings.database_url, arguments.email, password)
    _tell(arguments, user_id, user_id=user_id)


def _add_device(arguments: argparse.Namespace, settings: Settings) -> None:
    wanted = arguments.device_id
    device_id, secret = admin.add_device(
        settings.database_url, settings.master_key, wanted, name=arguments.name, owner_email=arguments.owner
    )
    words = f"DEVICE_ID={device_id}\nDEVICE_SECRET={secret}"
    _tell(arguments, words, device_id=device_id, device_secret=secret)


def _pair(arguments: argparse.Namespace, settings: Settings) -> None:
    admin.pair(settings.database_url, arguments.email, arguments.device_id)
    words = f"{arguments.device_id} belongs to {arguments.email} now."
    _tell(arguments, words, device_id=arguments.device_id, owner_email=arguments.email)


def _reseal(arguments: argparse.Namespace, settings: Settings) -> None:
    changed = admin.reseal(settings.database_url, settings.master_key, settings.master_key_previous)
    words = f"{changed} secrets were kept anew; MASTER_KEY_PREVIOUS is needed no more."
    _tell(arguments, words, resealed=changed)


def _devices(arguments: argparse.Namespace, settings: Settings) -> None:
    found = admin.devices(settings.database_url)
    if arguments.json:
        print(json.dumps([dataclasses.asdict(device) for device in found], default=lambda moment: moment.isoformat()))
        return
    header = ("DEVICE", "OWNER", "SHARED", "LAST SEEN", "VERSION", "NAME")
    _print_table([header, *(_device_words(device) for device in found)])


def _print_table(table: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _members(arguments: argparse.Namespace, settings: Settings) -> None:
    url, device_id = settings.database_url, arguments.device_id
    if arguments.share:
        email, role = arguments.share
        if role not in SHARED_ROLES:
            raise CommandError(f"{role!r} is no role that can be shared. Accepted: {', '.join(SHARED_ROLES)}.")
        admin.set_member(url, device_id, email, role)
    elif arguments.remove:
        admin.remove_member(url, device_id, arguments.remove)
    found = admin.members(url, device_id)
    if arguments.json:
        print(json.dumps([dataclasses.asdict(member) for member in found], default=lambda moment: moment.isoformat()))
        return
    rows = [(member.email, member.role, _moment(member.since) if member.since else "-") for member in found]
    _print_table([("ACCOUNT", "ROLE", "SINCE"), *rows])


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _device_words(device: admin.DeviceRow) -> tuple[str, ...]:
    seen = _moment(device.last_seen) if device.last_seen else "never"
    shared = str(device.members) if device.members else "-"
    owner, version = device.owner_email or "not paired", device.firmware_version or "-"
    return (device.device_id, owner, shared, seen, version, device.name)
