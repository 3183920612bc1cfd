-- One row per session, for as long as it is kept. No index covers a column that an exchange
-- changes, and every page keeps room, so that the new version of a row goes beside the old one
-- (HOT) and the next turn takes its place. Texts that are compared are compared byte by byte.
CREATE TABLE keyturn.session (
  created_at bigint NOT NULL,
  version bigint NOT NULL,
  generation bigint NOT NULL,
  parent bigint NOT NULL,
  first_child bigint NOT NULL,
  previous_parent bigint NOT NULL,
  turned_at bigint,
  ended_at bigint,
  remember boolean NOT NULL,
  sid text COLLATE "C" PRIMARY KEY,
  user_id text COLLATE "C" NOT NULL,
  secret bytea,
  end_reason text,
  claims text NOT NULL,
  device text NOT NULL
) WITH (fillfactor = 80);

-- Of ended sessions too: an index of the living ones could serve as a list of them all, and so would
-- a turn be planned while they are few.
CREATE INDEX session_of_user ON keyturn.session (user_id);

-- Outlives the user's sessions: an epoch never falls. Whoever changes which sessions a user has
-- locks this row first.
CREATE TABLE keyturn.user_epoch (
  user_id text COLLATE "C" PRIMARY KEY,
  epoch bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 80);

-- Those who follow read on by the transaction that wrote a row: ids do not become visible in their
-- order.
CREATE TABLE keyturn.cutoff (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  xid bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
  sid text COLLATE "C",
  version bigint NOT NULL,
  expires_at bigint NOT NULL,
  reason text
);

CREATE INDEX cutoff_by_transaction ON keyturn.cutoff (xid);

CREATE TABLE keyturn.event (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at bigint NOT NULL,
  kind text NOT NULL,
  user_id text COLLATE "C" NOT NULL,
  sid text COLLATE "C",
  reason text,
  device text NOT NULL DEFAULT '{}'
);

CREATE INDEX event_of_session ON keyturn.event (sid, id) WHERE sid IS NOT NULL;
CREATE INDEX event_of_user ON keyturn.event (user_id, id);

CREATE TABLE keyturn.signing_key (
  position integer PRIMARY KEY,
  kid text COLLATE "C" NOT NULL UNIQUE,
  algorithm text NOT NULL,
  created_at bigint NOT NULL,
  use_from bigint NOT NULL,
  sealed bytea NOT NULL
);

-- One row: the longest life in seconds that access tokens were ever given, by whichever process. A
-- cutoff must be kept that long, whoever records it.
CREATE TABLE keyturn.longest_access_ttl (
  id integer PRIMARY KEY CHECK (id = 1),
  seconds bigint NOT NULL
);
