-- Who is told of events, each by a name of its own.
CREATE TABLE hook (
  name TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- What a hook is still to be told: from due_at on, never again where that is NULL. The number keeps
-- the order, the id is known to whoever is told.
CREATE TABLE delivery (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(16)))),
  hook TEXT NOT NULL,
  user_id TEXT NOT NULL,
  at INTEGER NOT NULL,
  event TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  due_at INTEGER DEFAULT 0,
  error TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE INDEX delivery_of_hook ON delivery (hook, due_at, number);
CREATE INDEX delivery_of_user ON delivery (user_id);

-- In the transaction of the event, whoever records it: so no hook ever misses one.
CREATE TRIGGER tell_hooks AFTER INSERT ON event BEGIN
  INSERT INTO delivery (hook, user_id, at, event)
  SELECT name, NEW.user_id, NEW.at, json_patch('{}', json_object(
    'at', NEW.at, 'kind', NEW.kind, 'user_id', NEW.user_id, 'sid', NEW.sid,
    'reason', NEW.reason, 'device', json(NEW.device)))
  FROM hook;
END;
