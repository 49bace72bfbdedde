"""What is looked up for everybody who connects, for all who come at the same time in one round trip."""

from __future__ import annotations

from collections.abc import Mapping

from contract.units import Role
from relay.auth import REPLAY_MEMORY_S
from relay.gather import Gather
from relay.limits import Limits
from relay.presence import Arrival, Presence, Welcome
from relay.store import Account, Store

PLACES_TOGETHER = 1000


class Lookups:
    """The questions. `get` of each blocks; those to Redis raise `redis.RedisError`, the others ContractError.

    Attributes:
        secrets: device_id -> its sealed secret.
        members: device_id -> the accounts that may use it, and as what.
        accounts: user_id -> the version of its tokens, and what it may use.
        signatures: fingerprint of a robot's signature -> how long ago it was first used, seconds.
        arrivals: a robot's claim -> who had it before, and who looks at it.
        joined: user_id: says that this worker has app sessions of the account.
        places: device_id -> the worker that has it.
    """

    def __init__(self, store: Store, limits: Limits, presence: Presence) -> None:
        def ages_s(fingerprints: list[str]) -> Mapping[str, float]:
            return limits.first_seen_ages_s(fingerprints, REPLAY_MEMORY_S)

        self.secrets: Gather[str, bytes] = Gather(store.sealed_secrets)
        self.members: Gather[str, dict[str, Role]] = Gather(store.members_of_all)
        self.accounts: Gather[str, Account] = Gather(store.accounts)
        self.signatures: Gather[str, float] = Gather(ages_s)
        self.arrivals: Gather[Arrival, Welcome] = Gather(presence.arrive)
        self.joined: Gather[str, bool] = Gather(presence.join)
        self.places: Gather[str, str] = Gather(presence.places, PLACES_TOGETHER)
