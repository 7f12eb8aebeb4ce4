-- PostgreSQL lets everybody make temporary tables in every database, analysts too once they lift their session's
-- read-only default, and with them fill the disk. Nothing of ours needs that right. As with prepare_analyst, this is a
-- function that gives the same result however often it runs, and it runs after every migration: the right is the
-- database's, and a database restored elsewhere has it anew.
create function rivermouth.confine_analyst() returns boolean
language plpgsql set search_path = pg_catalog as $$
begin
    if not exists (select from pg_roles where rolname = 'rivermouth_analyst')
        or not has_database_privilege('rivermouth_analyst', current_database(), 'temporary') then
        return true;
    end if;
    -- Whoever does not own the database cannot take the right away, and a revoke would only warn in its own words.
    if pg_has_role(current_user, (select datdba from pg_database where datname = current_database()), 'usage') then
        execute format('revoke temporary on database %I from public, rivermouth_analyst', current_database());
    end if;
    if has_database_privilege('rivermouth_analyst', current_database(), 'temporary') then
        raise warning 'rivermouth_analyst may make temporary tables and % may not change that; the owner may run: revoke temporary on database % from public, rivermouth_analyst',
            current_user, quote_ident(current_database());
        return false;
    end if;
    return true;
end $$;
comment on function rivermouth.confine_analyst() is
    'takes the right to make temporary tables in this database from PUBLIC and from the analysts'' role; false when it may not';
