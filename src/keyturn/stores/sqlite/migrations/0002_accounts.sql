-- Users who sign in with a password. Names are kept as they were given; the keys are their folded
-- forms. A username has no @ and an email has one, so one unique index each keeps all names apart.
CREATE TABLE account (
    id TEXT PRIMARY KEY,
    username TEXT NOT NULL,
    username_key TEXT NOT NULL UNIQUE,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL UNIQUE,
    fullname TEXT NOT NULL,
    permissions TEXT NOT NULL, -- with spaces between them
    password_hash TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    disabled_at INTEGER
) STRICT, WITHOUT ROWID;

-- What counts against a name or a network: the digest tells nothing of either.
CREATE TABLE failures (
    digest BLOB PRIMARY KEY,
    count INTEGER NOT NULL,
    blocked_until INTEGER NOT NULL,
    forget_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX failures_forgotten ON failures (forget_at);
