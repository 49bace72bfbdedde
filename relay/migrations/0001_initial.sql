-- Accounts, robots, pairing codes and the history of events.

CREATE TABLE users (
    user_id       text PRIMARY KEY,
    email         text NOT NULL UNIQUE,
    password_hash text NOT NULL,
    token_version integer NOT NULL DEFAULT 0,  -- tokens that carry an older one have ended
    created_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE devices (
    device_id        text PRIMARY KEY,
    sealed_secret    bytea NOT NULL,
    name             text NOT NULL,
    owner_id         text REFERENCES users ON DELETE SET NULL,
    firmware_version text,
    local_ip         text,
    last_seen        timestamptz,
    last_seq         bigint NOT NULL DEFAULT 0,  -- the history's cursor; taken under this row's lock
    created_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX devices_owner ON devices (owner_id);

CREATE TABLE pairing_codes (
    device_id  text PRIMARY KEY REFERENCES devices ON DELETE CASCADE,
    code_hash  bytea NOT NULL UNIQUE,
    expires_at timestamptz NOT NULL
);

-- owner_id is who owned the robot when it happened: the next owner does not see it.
CREATE TABLE events (
    device_id text NOT NULL REFERENCES devices ON DELETE CASCADE,
    seq       bigint NOT NULL,
    id        text NOT NULL,
    owner_id  text REFERENCES users ON DELETE CASCADE,
    event     text NOT NULL,
    data      jsonb NOT NULL,
    happened  text NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device_id, seq),
    UNIQUE (device_id, id)
);
CREATE INDEX events_owner ON events (owner_id);
CREATE INDEX events_stored_at ON events (stored_at);
