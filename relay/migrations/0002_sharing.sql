-- Whom a robot is shared with, and the codes by which they join. The owner is in devices, and is no member.

CREATE TABLE members (
    device_id text NOT NULL REFERENCES devices ON DELETE CASCADE,
    user_id   text NOT NULL REFERENCES users ON DELETE CASCADE,
    role      text NOT NULL CHECK (role IN ('driver', 'viewer')),
    since     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device_id, user_id)
);
CREATE INDEX members_user ON members (user_id);

CREATE TABLE share_codes (
    device_id  text NOT NULL REFERENCES devices ON DELETE CASCADE,
    role       text NOT NULL CHECK (role IN ('driver', 'viewer')),
    code_hash  bytea NOT NULL UNIQUE,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (device_id, role)
);

CREATE INDEX events_owner_seq ON events (owner_id, device_id, seq);
DROP INDEX events_owner;
