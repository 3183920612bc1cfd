-- One row where the tables were laid out for an engine that shards them, else none; so that every
-- process speaks to them as it must.
CREATE TABLE keyturn.layout (
  id integer PRIMARY KEY CHECK (id = 1),
  sharded boolean NOT NULL
);
