"""The relay's settings, from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

WEB_ROOT = Path(__file__).resolve().parent.parent / "web"
MIN_SECRET_CHARS = 32
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off", ""})


class ConfigError(ValueError):
    """A setting is missing or unusable; the message says which, and what is accepted."""


@dataclass(frozen=True)
class Settings:
    """Everything the relay needs to know before it starts.

    Attributes:
        jwt_secret: signs the tokens of accounts.
        jwt_secret_previous: tokens signed with it are still accepted, so that the secret can be changed.
        master_key: device secrets and codes are kept under it.
        master_key_previous: what was kept under it still opens, so that the key can be changed.
        database_url: `postgresql://…`
        redis_url: `redis://…`, Redis or Valkey.
        cloudflare_turn_key_id, cloudflare_turn_api_token: Cloudflare's TURN service; first choice when set.
        turn_urls, turn_shared_secret: one's own coturn (`use-auth-secret`); second choice.
        stun_urls: what is handed out otherwise; empty means host candidates only.
        allow_bare_id_signature: let robots of contract v1.0 in, whose signature never changes.
        public_ws_url: where robots connect, told by `/api/device/register`; None: derived from the request.
        trusted_proxies: how many proxies in front set X-Forwarded-For.
        robot_timeout_s, app_timeout_s: how long a peer may be silent.
        ping_every_s: how often every socket is pinged; 0: only those that are silent.
        token_ttl_s: how long a sign-in is good for.
        retention_days: how long events are kept.
    """

    jwt_secret: str = field(repr=False)
    master_key: str = field(repr=False)
    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    host: str = "0.0.0.0"
    port: int = 8000
    jwt_secret_previous: str | None = field(default=None, repr=False)
    master_key_previous: str | None = field(default=None, repr=False)
    cloudflare_turn_key_id: str | None = None
    cloudflare_turn_api_token: str | None = field(default=None, repr=False)
    cloudflare_turn_base_url: str = "https://rtc.live.cloudflare.com"
    turn_urls: tuple[str, ...] = ()
    turn_shared_secret: str | None = field(default=None, repr=False)
    stun_urls: tuple[str, ...] = ()
    allow_bare_id_signature: bool = False
    public_ws_url: str | None = None
    trusted_proxies: int = 0
    robot_timeout_s: float = 20.0
    app_timeout_s: float = 60.0
    ping_every_s: float = 0.0
    token_ttl_s: int = 604_800
    retention_days: float = 30.0
    database_pool: int = 8
    web_root: Path = WEB_ROOT
    instance: str = "local"

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read and check the environment.

        Raises:
            ConfigError: a setting is missing or unusable.
        """
        read = _Reader(os.environ if env is None else env)
        cloudflare = read.pair("CLOUDFLARE_TURN_KEY_ID", "CLOUDFLARE_TURN_API_TOKEN")
        turn_urls = read.urls("TURN_URLS", ("turn:", "turns:"))
        turn_secret = read.text("TURN_SHARED_SECRET")
        if bool(turn_urls) != bool(turn_secret):
            raise ConfigError("TURN_URLS and TURN_SHARED_SECRET belong together: set both, or neither.")
        return cls(
            host=read.text("HOST") or "0.0.0.0",
            port=int(read.number("PORT", 8000, 0, 65_535)),
            jwt_secret=read.secret("JWT_SECRET"),
            jwt_secret_previous=read.optional_secret("JWT_SECRET_PREVIOUS"),
            master_key=read.secret("MASTER_KEY"),
            master_key_previous=read.optional_secret("MASTER_KEY_PREVIOUS"),
            database_url=read.url("DATABASE_URL", ("postgresql://", "postgres://")),
            redis_url=read.url("REDIS_URL", ("redis://", "rediss://", "unix://")),
            cloudflare_turn_key_id=cloudflare[0],
            cloudflare_turn_api_token=cloudflare[1],
            cloudflare_turn_base_url=read.text("CLOUDFLARE_TURN_BASE_URL") or cls.cloudflare_turn_base_url,
            turn_urls=turn_urls,
            turn_shared_secret=turn_secret,
            stun_urls=read.urls("STUN_URLS", ("stun:", "stuns:")),
            allow_bare_id_signature=read.flag("ALLOW_BARE_ID_SIGNATURE"),
            public_ws_url=read.text("PUBLIC_WS_URL"),
            trusted_proxies=int(read.number("TRUSTED_PROXIES", 0, 0, 10)),
            robot_timeout_s=read.number("ROBOT_TIMEOUT_S", 20.0, 0.5, 600.0),
            app_timeout_s=read.number("APP_TIMEOUT_S", 60.0, 0.5, 600.0),
            ping_every_s=read.number("PING_EVERY_S", 0.0, 0.0, 600.0),
            token_ttl_s=int(read.number("TOKEN_TTL_S", 604_800, 60, 1_000_000)),
            retention_days=read.number("RETENTION_DAYS", 30.0, 0.001, 3650.0),
            database_pool=int(read.number("DATABASE_POOL", 8, 1, 100)),
            web_root=Path(read.text("WEB_ROOT") or WEB_ROOT),
            instance=read.text("RELAY_INSTANCE") or "local",
        )


class _Reader:
    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def text(self, name: str) -> str | None:
        return self._env.get(name, "").strip() or None

    def secret(self, name: str) -> str:
        value = self.text(name)
        if value is None or len(value) < MIN_SECRET_CHARS:
            found = "is not set" if value is None else f"has only {len(value)} characters"
            raise ConfigError(
                f"{name} {found}. Accepted: {MIN_SECRET_CHARS} characters or more, best from "
                '`python3 -c "import secrets; print(secrets.token_urlsafe(48))"`.'
            )
        return value

    def optional_secret(self, name: str) -> str | None:
        """A secret that is being replaced; an empty one would let anybody sign with it."""
        return self.secret(name) if self.text(name) is not None else None

    def url(self, name: str, schemes: tuple[str, ...]) -> str:
        value = self.text(name)
        if value is None or not value.startswith(schemes):
            found = "is not set" if value is None else "has another scheme"
            raise ConfigError(f"{name} {found}. Accepted: a URL that starts with {' or '.join(schemes)}.")
        return value

    def urls(self, name: str, schemes: tuple[str, ...]) -> tuple[str, ...]:
        """Several URLs, parted by commas or spaces."""
        urls = tuple((self.text(name) or "").replace(",", " ").split())
        for url in urls:
            if not url.startswith(schemes):
                raise ConfigError(f"{name} holds {url!r}. Accepted: URLs that start with {' or '.join(schemes)}.")
        return urls

    def pair(self, first: str, second: str) -> tuple[str | None, str | None]:
        values = self.text(first), self.text(second)
        if (values[0] is None) != (values[1] is None):
            raise ConfigError(f"{first} and {second} belong together: set both, or neither.")
        return values

    def flag(self, name: str) -> bool:
        value = (self.text(name) or "").lower()
        if value in _TRUE or value in _FALSE:
            return value in _TRUE
        raise ConfigError(f"{name} is {value!r}. Accepted: 1 or 0.")

    def number(self, name: str, default: float, low: float, high: float) -> float:
        value = self.text(name)
        if value is None:
            return default
        accepted = f"Accepted: a number from {low:g} to {high:g}."
        try:
            number = float(value)
        except ValueError as error:
            raise ConfigError(f"{name} is {value!r}. {accepted}") from error
        if not low <= number <= high:
            raise ConfigError(f"{name} is {value}. {accepted}")
        return number
