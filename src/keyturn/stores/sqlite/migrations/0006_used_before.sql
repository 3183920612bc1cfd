-- When a session was last used before the day of its last use. Servers of the release before leave
-- it as it is; then an older time is told.
ALTER TABLE session ADD COLUMN used_before INTEGER;
