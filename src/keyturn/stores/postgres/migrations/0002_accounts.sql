-- Users who sign in with a password. Names are kept as they were given; the keys are their folded
-- forms. A username has no @ and an email has one, so one unique index each keeps all names apart.
CREATE TABLE keyturn.account (
  id text COLLATE "C" PRIMARY KEY,
  username text NOT NULL,
  username_key text COLLATE "C" NOT NULL UNIQUE,
  email text NOT NULL,
  email_key text COLLATE "C" NOT NULL UNIQUE,
  fullname text NOT NULL,
  permissions text[] NOT NULL,
  password_hash text NOT NULL,
  created_at bigint NOT NULL,
  disabled_at bigint
);

-- What counts against a name or a network: the digest tells nothing of either.
CREATE TABLE keyturn.failures (
  digest bytea PRIMARY KEY,
  count bigint NOT NULL,
  blocked_until bigint NOT NULL,
  forget_at bigint NOT NULL
);

CREATE INDEX failures_forgotten ON keyturn.failures (forget_at);
