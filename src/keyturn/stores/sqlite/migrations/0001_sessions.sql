-- One row per session, for as long as it is kept. What is read in bulk is read as JSON, so the
-- secret is text too (base64). No index covers a column that an exchange changes.
CREATE TABLE session (
  id INTEGER PRIMARY KEY,
  sid TEXT NOT NULL UNIQUE,
  user_id TEXT NOT NULL,
  secret TEXT,
  created_at INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  parent INTEGER NOT NULL,
  first_child INTEGER NOT NULL,
  previous_parent INTEGER NOT NULL,
  turned_at INTEGER,
  version INTEGER NOT NULL,
  claims TEXT NOT NULL,
  device TEXT NOT NULL,
  remember INTEGER NOT NULL,
  ended_at INTEGER,
  end_reason TEXT
) STRICT;

CREATE INDEX living_session_of_user ON session (user_id) WHERE ended_at IS NULL;

-- Outlives the user's sessions: an epoch never falls.
CREATE TABLE user_epoch (
  user_id TEXT PRIMARY KEY,
  epoch INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The id is the cursor of those who follow, so it must never be used again after a sweep.
CREATE TABLE cutoff (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  sid TEXT,
  version INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  reason TEXT
) STRICT;

CREATE TABLE event (
  id INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  user_id TEXT NOT NULL,
  sid TEXT,
  reason TEXT,
  device TEXT NOT NULL
) STRICT;

CREATE INDEX event_of_session ON event (sid) WHERE sid IS NOT NULL;
CREATE INDEX event_of_user ON event (user_id);

CREATE TABLE signing_key (
  id INTEGER PRIMARY KEY,
  kid TEXT NOT NULL UNIQUE,
  algorithm TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  use_from INTEGER NOT NULL,
  sealed BLOB NOT NULL
) STRICT;
