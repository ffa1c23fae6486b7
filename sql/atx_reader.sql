-- The role as which atx reads: SELECT on atp.media and atp.training, and nothing else.
--
--   psql -h db.lan -U postgres -d media -f sql/atx_reader.sql
--   psql -h db.lan -U postgres -d media -c '\password atx_reader'
--
-- then set PG_USER=atx_reader and PG_PASS in `.env`. Run it as a superuser, or as an owner of the
-- tables who may create roles; -v role=NAME gives another name. Run it again when one of the tables
-- was added or recreated: it leaves correct grants unchanged, and revokes those that are too much.
-- The password is set separately, so that it is in no file, no process list and no server log.

\set ON_ERROR_STOP on
\set QUIET on
\set VERBOSITY terse
\if :{?role}
\else
  \set role atx_reader
\endif
\pset tuples_only on
\pset format unaligned
BEGIN;
SELECT set_config('atx.role', :'role', true) \gset _
DO $$
DECLARE
  wanted text := current_setting('atx.role');
  groups text;
BEGIN
  IF to_regnamespace('atp') IS NULL THEN
    RAISE EXCEPTION 'database % has no schema atp: name the media database with -d', current_database();
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = wanted AND
               (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls))
    OR EXISTS (SELECT FROM pg_namespace WHERE nspname = 'atp' AND pg_get_userbyid(nspowner) = wanted)
    OR EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace('atp')
               AND pg_get_userbyid(relowner) = wanted) THEN
    RAISE EXCEPTION 'role % is a superuser, an owner or the like, which no REVOKE closes: name another with -v role=NAME', wanted;
  END IF;
  SELECT string_agg(quote_ident(pg_get_userbyid(roleid)), ', ') INTO groups
    FROM pg_auth_members WHERE pg_get_userbyid(member) = wanted;
  IF groups IS NOT NULL THEN
    RAISE EXCEPTION 'role % may do what % may: REVOKE % FROM %, or name another with -v role=NAME',
      wanted, groups, groups, quote_ident(wanted);
  END IF;
END $$;

SELECT format('CREATE ROLE %I LOGIN', :'role')
  WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
-- Seat belts, which a client can undo; the locks are the grants. atx sets a timeout of its own.
ALTER ROLE :"role" IN DATABASE :"DBNAME" SET default_transaction_read_only = on;
ALTER ROLE :"role" IN DATABASE :"DBNAME" SET statement_timeout = '10min';
ALTER ROLE :"role" IN DATABASE :"DBNAME" SET idle_in_transaction_session_timeout = '10min';

REVOKE ALL ON DATABASE :"DBNAME" FROM :"role";
REVOKE ALL ON SCHEMA atp FROM :"role";
REVOKE ALL ON ALL TABLES IN SCHEMA atp FROM :"role";
REVOKE ALL ON ALL SEQUENCES IN SCHEMA atp FROM :"role";
REVOKE ALL ON ALL ROUTINES IN SCHEMA atp FROM :"role";

GRANT CONNECT ON DATABASE :"DBNAME" TO :"role";
GRANT USAGE ON SCHEMA atp TO :"role";
SELECT format('GRANT SELECT ON %s TO %I', name, :'role')
  FROM unnest(ARRAY['atp.media', 'atp.training']) name WHERE to_regclass(name) IS NOT NULL \gexec
COMMIT;

SELECT format('%s may read %s', :'role',
    coalesce(string_agg(c.oid::regclass::text, ', ' ORDER BY relname),
             'nothing yet: run this again when there is atp.media or atp.training'))
  FROM pg_class c WHERE relnamespace = to_regnamespace('atp') AND relkind IN ('r', 'p', 'v', 'm', 'f')
    AND has_table_privilege(:'role', c.oid, 'SELECT');
SELECT format('too much: PUBLIC, and so %s, may write to %s: REVOKE ALL ON %2$s FROM PUBLIC',
    :'role', c.oid::regclass)
  FROM pg_class c WHERE relnamespace = to_regnamespace('atp') AND relkind IN ('r', 'p', 'v', 'm', 'f')
    AND (has_table_privilege(:'role', c.oid, 'DELETE, TRUNCATE')
         OR has_any_column_privilege(:'role', c.oid, 'INSERT, UPDATE'));
SELECT format('too much: PUBLIC, and so %s, may make tables in schema %I: REVOKE CREATE ON SCHEMA %2$I FROM PUBLIC',
    :'role', nspname)
  FROM pg_namespace WHERE nspname NOT LIKE 'pg\_%' AND has_schema_privilege(:'role', oid, 'CREATE');
