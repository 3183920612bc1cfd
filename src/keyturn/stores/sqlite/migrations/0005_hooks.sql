-- Who is told of events, each by a name of its own.
CREATE TABLE hook (
  name TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- What a hook is still to be told, and where the event was: from due_at on, never again where that
-- is NULL. The number keeps the order, the id is known to whoever is told.
CREATE TABLE delivery (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(16)))),
  hook TEXT NOT NULL,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  user_id TEXT NOT NULL,
  sid TEXT,
  reason TEXT,
  device TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  due_at INTEGER,
  error TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE INDEX delivery_of_hook ON delivery (hook, due_at, number);
CREATE INDEX delivery_of_user ON delivery (user_id);

-- In the transaction of the event, whoever records it: so no hook ever misses one.
CREATE TRIGGER tell_hooks AFTER INSERT ON event BEGIN
  INSERT INTO delivery (hook, at, kind, user_id, sid, reason, device, due_at)
  SELECT name, NEW.at, NEW.kind, NEW.user_id, NEW.sid, NEW.reason, NEW.device, NEW.at FROM hook;
END;
