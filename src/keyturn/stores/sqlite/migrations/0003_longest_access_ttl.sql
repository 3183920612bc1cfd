-- One row: the longest life in seconds that access tokens were ever given, by whichever process. A
-- cutoff must be kept that long, whoever records it.
CREATE TABLE longest_access_ttl (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  seconds INTEGER NOT NULL
) STRICT;
