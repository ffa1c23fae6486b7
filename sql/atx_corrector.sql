-- The role as which `atx correct` writes: SELECT on the table that holds the labels, UPDATE on the
-- columns of a person's label, and nothing else. It cannot add or remove rows.
--
--   psql -h db.lan -U postgres -d media -f sql/atx_corrector.sql
--   psql -h db.lan -U postgres -d media -c '\password atx_corrector'
--
-- then set ATX_CORRECTION_PG_USER=atx_corrector and ATX_CORRECTION_PG_PASS in `.env`. The table is
-- atp.training if it exists, else atp.media; -v source=media or training chooses one, as ATX_SOURCE
-- does. Run it again when a table or column was added or recreated. For the rest see atx_reader.sql.

\set ON_ERROR_STOP on
\set QUIET on
\set VERBOSITY terse
\if :{?role}
\else
  \set role atx_corrector
\endif
\if :{?source}
\else
  SELECT CASE WHEN to_regclass('atp.training') IS NULL THEN 'media' ELSE 'training' END AS source \gset
\endif
\pset tuples_only on
\pset format unaligned
BEGIN;
SELECT set_config('atx.role', :'role', true), set_config('atx.source', :'source', true) \gset _
DO $$
DECLARE
  wanted text := current_setting('atx.role');
  source text := current_setting('atx.source');
  groups text;
BEGIN
  IF source NOT IN ('media', 'training') THEN
    RAISE EXCEPTION 'source is %: say -v source=media or -v source=training', source;
  END IF;
  IF to_regclass('atp.' || source) IS NULL THEN
    RAISE EXCEPTION 'database % has no table atp.%: name the media database with -d', current_database(), source;
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
ALTER ROLE :"role" IN DATABASE :"DBNAME" SET statement_timeout = '10min';
ALTER ROLE :"role" IN DATABASE :"DBNAME" SET idle_in_transaction_session_timeout = '10min';

REVOKE ALL ON DATABASE :"DBNAME" FROM :"role";
REVOKE ALL ON SCHEMA atp FROM :"role";
REVOKE ALL ON ALL TABLES IN SCHEMA atp FROM :"role";
REVOKE ALL ON ALL SEQUENCES IN SCHEMA atp FROM :"role";
REVOKE ALL ON ALL ROUTINES IN SCHEMA atp FROM :"role";

GRANT CONNECT ON DATABASE :"DBNAME" TO :"role";
GRANT USAGE ON SCHEMA atp TO :"role";
SELECT format('GRANT SELECT ON atp.%I TO %I', :'source', :'role') \gexec
-- An older table, or one created from a file, may have fewer of these columns.
SELECT format('GRANT UPDATE (%I) ON atp.%I TO %I', attname, :'source', :'role')
  FROM pg_attribute
  WHERE attrelid = to_regclass('atp.' || :'source') AND attnum > 0 AND NOT attisdropped
    AND attname = ANY (CASE :'source'
      WHEN 'media' THEN ARRAY['rejection_status', 'rejection_reason', 'error_status',
                              'error_condition', 'pipeline_status']
      ELSE ARRAY['label', 'human_labeled', 'reviewed'] END) \gexec
COMMIT;

SELECT format('%s may change %s of %s', :'role', string_agg(attname, ', ' ORDER BY attnum), attrelid::regclass)
  FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
  WHERE c.relnamespace = to_regnamespace('atp') AND relkind IN ('r', 'p', 'v', 'm', 'f')
    AND attnum > 0 AND NOT attisdropped AND has_column_privilege(:'role', attrelid, attnum, 'UPDATE')
  GROUP BY attrelid;
SELECT format('too much: PUBLIC, and so %s, may add or remove rows of %s: REVOKE ALL ON %2$s FROM PUBLIC',
    :'role', c.oid::regclass)
  FROM pg_class c WHERE relnamespace = to_regnamespace('atp') AND relkind IN ('r', 'p', 'v', 'm', 'f')
    AND (has_table_privilege(:'role', c.oid, 'DELETE, TRUNCATE')
         OR has_any_column_privilege(:'role', c.oid, 'INSERT'));
SELECT format('too much: PUBLIC, and so %s, may make tables in schema %I: REVOKE CREATE ON SCHEMA %2$I FROM PUBLIC',
    :'role', nspname)
  FROM pg_namespace WHERE nspname NOT LIKE 'pg\_%' AND has_schema_privilege(:'role', oid, 'CREATE');
