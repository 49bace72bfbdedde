"""`wimz bus call` and `wimz bus pub`."""

from __future__ import annotations

import argparse
import os
import time

import msgspec

from bus.errors import Unavailable
from bus.messages import Origin
from cli.bus import choice, show
from cli.bus.place import joined, lives, run_dir
from cli.bus.publishing import Voices, refuse_signs_of_life
from cli.bus.stopping import ctrl_c
from cli.errors import CommandError
from contract.commands import Nothing
from contract.errors import ContractError, ErrorReply
from contract.validate import decode


def call(arguments: argparse.Namespace) -> int:
    """Ask, and print the reply; status 1 with the error when it is refused or not answered."""
    topic = choice.asked_topic(arguments.topic)
    run = run_dir(arguments.data)
    sent = False
    try:
        body = decode(topic.payload, arguments.value)
        if not lives(run, topic.owner):
            raise Unavailable(f"{topic.owner} does not run, and nobody else answers {topic.name}.")
        origin = Origin("console", f"bus-{os.getpid()}")
        with joined(run) as bus:
            asked = bus.request(topic, body, origin=origin, id=arguments.id, timeout_s=arguments.timeout)
            sent = True
            reply = asked.result()
    except ContractError as error:
        if not arguments.json:
            raise CommandError(_refusal(error, sent)) from error
        show.say(show.json_line(ErrorReply(error=error.body)))
        return 1
    if arguments.json:
        show.say(show.json_line({"success": True, "reply": msgspec.to_builtins(reply)}))
    else:
        show.say("done" if isinstance(reply, Nothing) else show.value_text(reply).lstrip("\n"))
    return 0


def _refusal(error: ContractError, sent: bool) -> str:
    text = f"{error.code}: {error.message}"
    if error.retry_after_s is not None:
        text += f" Again in {error.retry_after_s:g} s."
    if sent and isinstance(error, Unavailable):
        text += " Whether it was carried out is not known; asked with an --id, it can be asked again and is done once."
    return text


def pub(arguments: argparse.Namespace) -> int:
    """Publish a value, once or again and again, in the name of the topic's owner."""
    topic = choice.said_topic(arguments.topic)
    refuse_signs_of_life(topic)
    run = run_dir(arguments.data)
    try:
        value = decode(topic.payload, arguments.value)
    except ContractError as error:
        raise CommandError(f"{topic.name}: {error.message}") from error
    count = arguments.count if arguments.count is not None or arguments.rate is not None else 1
    period_s = 1 / (arguments.rate or 1.0)
    said = 0
    with ctrl_c() as stopping, joined(run) as bus:
        voices = Voices(bus, run, [topic.owner])
        try:
            voices.wait_for_listeners([topic], arguments.wait, stopping.is_set)
            if arguments.wait and voices.unheard([topic]) and not stopping.is_set():
                raise CommandError(
                    f"nobody listens to {topic.name}: after {arguments.wait:g} s nothing was published. "
                    "--wait 0 publishes anyway."
                )
            due_s = time.monotonic()
            while said != count and voices.wait(due_s, stopping.is_set):
                voices.publish(topic, value)
                said += 1
                due_s = max(due_s + period_s, time.monotonic())
        finally:
            voices.close()
    how = f"in the place of {topic.owner}" if voices.taken else f"by {topic.owner}"
    facts = {"topic": topic.name, "published": said, "in_place": bool(voices.taken)}
    show.say(show.json_line(facts) if arguments.json else f"{topic.name}: published {show.count(said, 'time')} {how}")
    return 0
