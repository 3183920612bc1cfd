-- Who is told of events, each by a name of its own.
CREATE TABLE keyturn.hook (
  name text COLLATE "C" PRIMARY KEY
);

-- What a hook is still to be told, and where the event was: from due_at on, never again where that
-- is NULL. The number keeps the order, the id is known to whoever is told.
CREATE TABLE keyturn.delivery (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id text COLLATE "C" NOT NULL UNIQUE DEFAULT replace(gen_random_uuid()::text, '-', ''),
  hook text COLLATE "C" NOT NULL,
  at bigint NOT NULL,
  kind text NOT NULL,
  user_id text COLLATE "C" NOT NULL,
  sid text COLLATE "C",
  reason text,
  device text NOT NULL,
  attempts integer NOT NULL DEFAULT 0,
  due_at bigint,
  error text NOT NULL DEFAULT ''
);

CREATE INDEX delivery_of_hook ON keyturn.delivery (hook, due_at, number);
CREATE INDEX delivery_of_user ON keyturn.delivery (user_id);

-- In the transaction of the event, whoever records it: so no hook ever misses one.
CREATE FUNCTION keyturn.tell_hooks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO keyturn.delivery (hook, at, kind, user_id, sid, reason, device, due_at)
  SELECT name, NEW.at, NEW.kind, NEW.user_id, NEW.sid, NEW.reason, NEW.device, NEW.at
  FROM keyturn.hook;
  RETURN NULL;
END
$$;

-- Citus takes no trigger on a table that it has spread, so there are no hooks then.
DO $$
BEGIN
  IF to_regclass('pg_catalog.pg_dist_partition') IS NULL THEN
    CREATE TRIGGER tell_hooks AFTER INSERT ON keyturn.event
      FOR EACH ROW EXECUTE FUNCTION keyturn.tell_hooks();
  END IF;
END
$$;
