-- The one way to a new password that a user may hold: of its token only the digest is kept.
CREATE TABLE password_reset (
  user_id TEXT PRIMARY KEY,
  digest BLOB NOT NULL UNIQUE,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX password_reset_expired ON password_reset (expires_at);

-- With its user goes what an ended session still says of them.
CREATE INDEX ended_session_of_user ON session (user_id) WHERE ended_at IS NOT NULL;
