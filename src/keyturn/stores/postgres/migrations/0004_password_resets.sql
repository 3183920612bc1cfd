-- The one way to a new password that a user may hold: of its token only the digest is kept.
CREATE TABLE keyturn.password_reset (
  user_id text COLLATE "C" PRIMARY KEY,
  digest bytea NOT NULL UNIQUE,
  expires_at bigint NOT NULL
);

CREATE INDEX password_reset_expired ON keyturn.password_reset (expires_at);
