-- Who is told of events, each by a name of its own.
CREATE TABLE keyturn.hook (
  name text COLLATE "C" PRIMARY KEY
);

-- What a hook is still to be told: from due_at on, never again where that is NULL. The number keeps
-- the order, the id is known to whoever is told.
CREATE TABLE keyturn.delivery (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id text COLLATE "C" NOT NULL UNIQUE DEFAULT replace(gen_random_uuid()::text, '-', ''),
  hook text COLLATE "C" NOT NULL,
  user_id text COLLATE "C" NOT NULL,
  at bigint NOT NULL,
  event text NOT NULL,
  attempts integer NOT NULL DEFAULT 0,
  due_at bigint DEFAULT 0,
  error text NOT NULL DEFAULT ''
);

CREATE INDEX delivery_of_hook ON keyturn.delivery (hook, due_at, number);
CREATE INDEX delivery_of_user ON keyturn.delivery (user_id);

-- In the transaction of the event, whoever records it: so no hook ever misses one.
CREATE FUNCTION keyturn.tell_hooks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO keyturn.delivery (hook, user_id, at, event)
  SELECT name, NEW.user_id, NEW.at, jsonb_strip_nulls(jsonb_build_object(
    'at', NEW.at, 'kind', NEW.kind, 'user_id', NEW.user_id, 'sid', nullif(NEW.sid, ''),
    'reason', NEW.reason, 'device', NEW.device::jsonb))::text
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
