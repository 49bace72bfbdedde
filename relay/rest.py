"""The REST rows of `contract.rest.RELAY_ROWS`, each with what it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from flask import Flask, Response, request

from contract import rest as rows
from contract import validate
from contract.errors import ContractError
from contract.frames import IceServers, StoredEvent
from contract.models import Device, User
from contract.rest import RELAY_ROWS, Row
from relay import limits, routing, state
from relay.admin import new_user_id
from relay.auth import refused_token
from relay.services import Services, bearer, header_proof, services
from relay.store import SHARE_CODE_LIFE_S, DeviceRow, UserRow

T = TypeVar("T")
B = TypeVar("B", bound=msgspec.Struct)
MAX_BODY_BYTES = 65_536


@dataclass(frozen=True)
class Call:
    """One request, validated.

    Attributes:
        relay: the parts of the relay.
        body: of the row's type; None when it has none.
        query: of the row's type; None when it has none.
        params: from the path.
        signed_in: the account; None for rows that need none.
    """

    relay: Services
    body: Any
    query: Any
    params: dict[str, str]
    signed_in: UserRow | None

    @property
    def user(self) -> UserRow:
        assert self.signed_in is not None, "a row with auth=False asked who is signed in"
        return self.signed_in

    @property
    def address(self) -> str:
        """The peer's address, as the trusted proxies tell it."""
        return request.remote_addr or "unknown"


Action = Callable[[Call], Any]


def register(app: Flask) -> None:
    """Add every row of the table. Raises KeyError when a row has no action here."""
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    for row in RELAY_ROWS:
        app.add_url_rule(
            row.path.replace("{", "<").replace("}", ">"),
            endpoint=f"{row.method} {row.path}",
            view_func=_view(row, ACTIONS[row.method, row.path]),
            methods=[row.method],
            provide_automatic_options=False,
        )


def _view(row: Row, action: Action) -> Callable[..., Response]:
    def view(**params: str) -> Response:
        relay = services()
        signed_in = relay.user_of(bearer() or "")[0] if row.auth else None
        body = _body(row.body) if row.body else None
        query = _query(row.query) if row.query else None
        answer = action(Call(relay, body, query, params, signed_in))
        if isinstance(answer, Response):
            return answer
        return Response(validate.encode(answer), mimetype=row.media)

    return view


def _body(type_: type[B]) -> B:
    """The request's JSON. An empty body is as good as `{}` where nothing is required."""
    raw = request.get_data()
    if not raw.strip() and not any(field.required for field in msgspec.structs.fields(type_)):
        raw = b"{}"
    return validate.decode(type_, raw)


def _query(type_: type[B]) -> B:
    """The query parameters, which are text, as the row's type."""
    try:
        return msgspec.convert(request.args.to_dict(), type_, strict=False)
    except msgspec.ValidationError as error:
        raise ContractError("INVALID_PARAMETER", validate.explain(type_, str(error))) from error


# -- state ----------------------------------------------------------------------------------------


def health(call: Call) -> rows.Health:
    return rows.Health()


def ready(call: Call) -> Response:
    checks = state.checks(call.relay.node)
    good = all(check == "ok" for check in checks.values())
    answer = rows.Readiness(good, checks)
    return Response(validate.encode(answer), status=200 if good else 503, mimetype="application/json")


def metrics(call: Call) -> Response:
    return Response(state.metrics_text(call.relay.node), content_type="text/plain; version=0.0.4; charset=utf-8")


# -- accounts -------------------------------------------------------------------------------------


def sign_up(call: Call) -> rows.LoginReply:
    relay = call.relay
    relay.node.limits.take(limits.REGISTER_PER_ADDRESS, call.address)
    hashed = relay.off_hub(relay.passwords.hash, call.body.password)
    return _token(relay, relay.store.create_user(new_user_id(), _email(call), hashed))


def login(call: Call) -> rows.LoginReply:
    relay = call.relay
    email = _email(call)
    relay.node.limits.take(limits.LOGIN_PER_ADDRESS, call.address)
    relay.node.limits.take(limits.LOGIN_PER_ACCOUNT, email)
    user = relay.store.user_by_email(email)
    stored = user.password_hash if user else None
    if not relay.off_hub(relay.passwords.verify, stored, call.body.password) or user is None:
        raise ContractError("AUTH_FAILED", "The e-mail address or the password is not right.")
    relay.node.limits.give_back(limits.LOGIN_PER_ADDRESS, call.address)
    relay.node.limits.forgive(limits.LOGIN_PER_ACCOUNT, email)
    return _token(relay, user)


def refresh(call: Call) -> rows.LoginReply:
    return _token(call.relay, call.user)


def sign_out(call: Call) -> rows.Success:
    relay, user = call.relay, call.user
    ended = relay.store.end_tokens(user)
    if ended is not None:  # else somebody did it just now
        relay.node.access.end_user(user.user_id, ended.token_version, relay.store.roles_of(user.user_id))
    return rows.Success()


def change_password(call: Call) -> rows.LoginReply:
    relay = call.relay
    _check_password(call)
    hashed = relay.off_hub(relay.passwords.hash, call.body.new_password)
    changed = relay.store.end_tokens(call.user, hashed)
    if changed is None:
        raise refused_token()
    relay.node.access.end_user(changed.user_id, changed.token_version, relay.store.roles_of(changed.user_id))
    return _token(relay, changed)


def delete_account(call: Call) -> rows.Success:
    """Robots are without an owner then, and show a code again. Interrupted, it can be asked for again by signing in."""
    relay, user_id = call.relay, call.user.user_id
    _check_password(call)
    concerned = relay.store.let_go_of_all(user_id)
    relay.node.access.end_user(user_id, call.user.token_version + 1, concerned)
    for device_id, user_ids in concerned.items():
        relay.node.access.changed(device_id, user_ids)
    while relay.store.delete_events_of(user_id):
        pass
    relay.store.delete_user(user_id)
    return rows.Success()


def _check_password(call: Call) -> None:
    """A token may be a borrowed phone's: what cannot be undone takes the password too."""
    relay, user = call.relay, call.user
    relay.node.limits.take(limits.PASSWORD_PER_ACCOUNT, user.user_id)
    if not relay.off_hub(relay.passwords.verify, user.password_hash, call.body.password):
        raise ContractError("NOT_AUTHORIZED", "The password is not right.")
    relay.node.limits.forgive(limits.PASSWORD_PER_ACCOUNT, user.user_id)


def _email(call: Call) -> str:
    return str(call.body.email).lower()


def _token(relay: Services, user: UserRow) -> rows.LoginReply:
    token = relay.tokens.issue(user.user_id, user.token_version, datetime.now(UTC))
    return rows.LoginReply(token, relay.tokens.ttl_s, user.user_id)


def me(call: Call) -> User:
    user = call.user
    return User(user_id=user.user_id, email=user.email, devices=_devices(call), created_at=routing.iso(user.created_at))


def validated(call: Call) -> rows.Validated:
    return rows.Validated(True, call.user.user_id, call.user.email)


# -- robots ---------------------------------------------------------------------------------------


def device_register(call: Call) -> rows.DeviceRegistered:
    proof = header_proof()
    if proof is None:
        raise ContractError("AUTH_FAILED", "Sign with the headers X-Device-ID, X-Timestamp and X-Signature.")
    call.relay.check_device(proof)
    if call.body.device_id != proof.device_id:
        raise ContractError("NOT_AUTHORIZED", "`device_id` has to be the one that signed.")
    call.relay.store.device_seen(proof.device_id, _shortened(call.body.firmware_version))
    scheme = "wss" if request.scheme == "https" else "ws"
    return rows.DeviceRegistered(
        websocket_url=call.relay.settings.public_ws_url or f"{scheme}://{request.host}/ws/device"
    )


def _shortened(text: str | None) -> str | None:
    return text[:64] if text else None


def pair(call: Call) -> rows.PairReply:
    device_id = _by_code(call, lambda: call.relay.store.pair(call.user.user_id, call.body.pairing_code))
    if device_id is None:
        raise ContractError("NOT_FOUND", "No robot shows this code. Codes last 10 minutes and work once.")
    call.relay.node.access.changed(device_id, [call.user.user_id])
    return rows.PairReply(device_id=device_id)


def _by_code(call: Call, use: Callable[[], T | None]) -> T | None:
    """Use a code, where the caller has attempts left; only wrong ones are counted in the end."""
    relay = call.relay
    subjects = ((limits.PAIR_PER_ACCOUNT, call.user.user_id), (limits.PAIR_PER_ADDRESS, call.address))
    for limit, subject in subjects:
        relay.node.limits.take(limit, subject)
    found = use()
    if found is not None:
        for limit, subject in subjects:
            relay.node.limits.give_back(limit, subject)
    return found


def pair_by_id(call: Call) -> rows.PairReply:
    """Older apps pair by the bare id, which anybody could guess: true only for what is the caller's already."""
    device_id = _my(call, call.body.device_id)
    return rows.PairReply(device_id=device_id)


def unpair(call: Call) -> rows.Success:
    device_id = _owned(call)
    concerned = call.relay.store.unpair(call.user.user_id, device_id)
    if concerned is None:
        raise _not_mine()
    call.relay.node.access.changed(device_id, concerned)
    return rows.Success()


def unpair_by_id(call: Call) -> rows.Success:
    """Older apps have this one way to be rid of a robot: who does not own it leaves."""
    relay, user_id, device_id = call.relay, call.user.user_id, call.body.device_id
    concerned = relay.store.unpair(user_id, device_id)
    if concerned is None:
        if not relay.store.remove_member(device_id, user_id):
            raise _not_mine()
        concerned = {user_id}
    relay.node.access.changed(device_id, concerned)
    return rows.Success()


def devices(call: Call) -> rows.DeviceList:
    return rows.DeviceList(_devices(call))


def device(call: Call) -> Device:
    wanted = call.params["device_id"]
    for found in _devices(call, only=wanted):
        return found
    raise _not_mine()


def rename(call: Call) -> Device:
    call.relay.store.rename_device(_owned(call), call.body.name)
    return device(call)


def _my(call: Call, device_id: str) -> str:
    if device_id not in call.relay.store.roles_of(call.user.user_id):
        raise _not_mine()
    return device_id


def _owned(call: Call) -> str:
    """The robot in the path, which the caller has to own."""
    device_id = call.params["device_id"]
    role = call.relay.store.roles_of(call.user.user_id).get(device_id)
    if role is None:
        raise _not_mine()
    if role != "owner":
        raise ContractError("NOT_AUTHORIZED", f"As {role} you may not do this: it takes the robot's owner.")
    return device_id


def _not_mine() -> ContractError:
    return ContractError("NOT_FOUND", "You have no such robot. Pair one with the code that it shows.")


def _devices(call: Call, only: str | None = None) -> list[Device]:
    found = [row for row in call.relay.store.devices_of(call.user.user_id) if only in (None, row.device_id)]
    online = call.relay.node.places.online(row.device_id for row in found)
    return [_device(row, row.device_id in online) for row in found]


def _device(row: DeviceRow, online: bool) -> Device:
    seen = datetime.now(UTC) if online else row.last_seen
    return Device(
        device_id=row.device_id,
        name=row.name,
        owner_id=row.owner_id,
        is_online=online,
        last_seen=routing.iso(seen) if seen else None,
        firmware_version=row.firmware_version,
        local_ip=row.local_ip,
        role=row.role,
    )


# -- sharing --------------------------------------------------------------------------------------


def share(call: Call) -> rows.ShareOffer:
    relay, device_id = call.relay, _owned(call)
    relay.node.limits.take(limits.SHARE_PER_ACCOUNT, call.user.user_id)
    code = relay.store.new_share_code(call.user.user_id, device_id, call.body.role)
    if code is None:
        raise _not_mine()
    return rows.ShareOffer(code, call.body.role, SHARE_CODE_LIFE_S)


def withdraw(call: Call) -> rows.Success:
    call.relay.store.withdraw_share_codes(_owned(call))
    return rows.Success()


def join(call: Call) -> rows.JoinReply:
    joined = _by_code(call, lambda: call.relay.store.join(call.user.user_id, call.body.share_code))
    if joined is None:
        raise ContractError("NOT_FOUND", "No robot is shared by this code. Codes last a day and work once.")
    device_id, role = joined
    call.relay.node.access.changed(device_id, [call.user.user_id])
    return rows.JoinReply(device_id=device_id, role=role)


def members(call: Call) -> rows.MemberList:
    device_id = _owned(call)
    people = call.relay.store.member_list(device_id)
    return rows.MemberList(
        [
            rows.Member(one.user_id, one.email, one.role, routing.iso(one.since) if one.since else None)
            for one in people
        ],
        [rows.Invitation(role, routing.iso(until)) for role, until in call.relay.store.share_codes(device_id)],
    )


def change_role(call: Call) -> rows.Success:
    device_id, user_id = _owned(call), call.params["user_id"]
    if not call.relay.store.set_role(device_id, user_id, call.body.role):
        raise _no_member()
    call.relay.node.access.changed(device_id, [user_id])
    return rows.Success()


def remove_member(call: Call) -> rows.Success:
    """Take somebody out, which is the owner's to do, or leave."""
    user_id = call.params["user_id"]
    leaves = user_id == call.user.user_id
    device_id = _my(call, call.params["device_id"]) if leaves else _owned(call)
    if not call.relay.store.remove_member(device_id, user_id):
        raise _no_member()
    call.relay.node.access.changed(device_id, [user_id])
    return rows.Success()


def _no_member() -> ContractError:
    return ContractError("NOT_FOUND", "The robot is not shared with this account. Its owner unpairs it instead.")


# -- video and history ----------------------------------------------------------------------------


def turn_credentials(call: Call) -> IceServers:
    return call.relay.node.ice.ice_servers(call.body.ttl, call.user.user_id)


def events(call: Call) -> rows.EventPage:
    query: rows.EventQuery = call.query
    roles = call.relay.store.roles_of(call.user.user_id)
    asked = query.device_id
    if asked is not None and asked not in roles:
        raise _not_mine()
    if asked is None and (query.after is not None or query.before is not None):
        asked = routing.choose_device(roles, None)  # a cursor is that of one robot
    found = call.relay.store.events(
        [asked] if asked is not None else list(roles),
        event=query.type,
        after=query.after,
        before=query.before,
        limit=query.limit,
    )
    page = [
        StoredEvent(row.seq, row.id, row.device_id, row.event, row.data, row.happened)
        for row in (found if query.after is not None else reversed(found))
    ]
    return rows.EventPage(page, page[-1].seq if page and asked is not None else None)


ACTIONS: dict[tuple[str, str], Action] = {
    ("GET", "/health"): health,
    ("GET", "/ready"): ready,
    ("GET", "/metrics"): metrics,
    ("POST", "/api/auth/register"): sign_up,
    ("POST", "/api/auth/login"): login,
    ("POST", "/api/auth/refresh"): refresh,
    ("POST", "/api/auth/logout"): sign_out,
    ("POST", "/api/auth/password"): change_password,
    ("GET", "/api/auth/me"): me,
    ("DELETE", "/api/auth/me"): delete_account,
    ("GET", "/api/auth/validate"): validated,
    ("POST", "/api/device/register"): device_register,
    ("POST", "/api/device/pair"): pair,
    ("POST", "/api/device/join"): join,
    ("GET", "/api/device/list"): devices,
    ("GET", "/api/device/{device_id}"): device,
    ("PATCH", "/api/device/{device_id}"): rename,
    ("DELETE", "/api/device/{device_id}"): unpair,
    ("POST", "/api/device/{device_id}/share"): share,
    ("DELETE", "/api/device/{device_id}/share"): withdraw,
    ("GET", "/api/device/{device_id}/members"): members,
    ("PATCH", "/api/device/{device_id}/members/{user_id}"): change_role,
    ("DELETE", "/api/device/{device_id}/members/{user_id}"): remove_member,
    ("GET", "/api/user/devices"): devices,
    ("POST", "/api/user/pair-device"): pair_by_id,
    ("POST", "/api/user/unpair-device"): unpair_by_id,
    ("POST", "/api/turn/credentials"): turn_credentials,
    ("GET", "/api/events"): events,
}
"""What each row does."""
