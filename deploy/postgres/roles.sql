-- Who may do what in the database. The postgres image runs this once, as onrecord_owner, when its volume is empty;
-- elsewhere: psql -U onrecord_owner -d onrecord -v ON_ERROR_STOP=1 -f roles.sql, before `python -m api setup`.
--
-- onrecord_owner  owns the tables; only setup and migrate know its password.
-- onrecord_pen    the engine: reads and writes rows; no tables, no roles, no TRUNCATE.
-- onrecord_door   the doors: read.
--
-- The pen could change a past row, and a grant cannot keep the ledger honest: its proofs do.
\getenv pen_password ONRECORD_PEN_PASSWORD
\getenv door_password ONRECORD_DOOR_PASSWORD

CREATE ROLE onrecord_pen LOGIN PASSWORD :'pen_password';
CREATE ROLE onrecord_door LOGIN PASSWORD :'door_password';
-- The door's own connections say so, too; this also holds for a psql opened with the door's password.
ALTER ROLE onrecord_door SET default_transaction_read_only = on;

REVOKE ALL ON DATABASE onrecord FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT CONNECT ON DATABASE onrecord TO onrecord_pen, onrecord_door;
GRANT USAGE ON SCHEMA public TO onrecord_pen, onrecord_door;

-- For every table a migration will ever make, so that no migration has to think of it.
ALTER DEFAULT PRIVILEGES FOR ROLE onrecord_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO onrecord_pen;
ALTER DEFAULT PRIVILEGES FOR ROLE onrecord_owner IN SCHEMA public
    GRANT USAGE, SELECT ON SEQUENCES TO onrecord_pen;
ALTER DEFAULT PRIVILEGES FOR ROLE onrecord_owner IN SCHEMA public
    GRANT SELECT ON TABLES TO onrecord_door;
