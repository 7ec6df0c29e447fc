#!/bin/sh
# Start PostgreSQL on the cluster in the volume; make the cluster first where there is none.
#
#   POSTGRES_USER            role that owns the database
#   POSTGRES_DB              the database (default: the name of the role)
#   POSTGRES_PASSWORD_FILE   file with the role's password; read at each start, so a new
#                            password takes effect with a restart
#
# A kill at any moment is safe: a cluster is made beside its final place and renamed when it
# is complete.
set -eu

: "${POSTGRES_USER:?is not set: give the name of the role that owns the database}"
: "${POSTGRES_PASSWORD_FILE:?is not set: give the path of a file with the password}"
database=${POSTGRES_DB:-$POSTGRES_USER}
password=$(cat "$POSTGRES_PASSWORD_FILE")
[ -n "$password" ] || { echo "entrypoint: $POSTGRES_PASSWORD_FILE is empty" >&2; exit 1; }

binaries=$(echo /usr/lib/postgresql/*/bin)
version=$(basename "$(dirname "$binaries")")
volume=/var/lib/postgresql
data=$volume/$version/data
unfinished=$volume/$version/data.unfinished

as_postgres() {
    setpriv --reuid=postgres --regid=postgres --init-groups "$@"
}

# SQL literals: 'it''s', "a ""name"""
literal() {
    printf "'%s'" "$(printf %s "$1" | sed "s/'/''/g")"
}
identifier() {
    printf '"%s"' "$(printf %s "$1" | sed 's/"/""/g')"
}

# Run the statements on standard input, one a line, without a server. The password travels
# through the pipe and is in no process list.
run_sql() {
    as_postgres "$binaries/postgres" --single -D "$1" -c exit_on_error=on -c log_min_error_statement=panic \
        postgres >/dev/null
}

role=$(identifier "$POSTGRES_USER")

make_cluster() {
    rm -rf "$unfinished"
    as_postgres "$binaries/initdb" --pgdata="$unfinished" --username=postgres --encoding=UTF8 --locale=C.UTF-8 \
        --auth-local=peer --auth-host=scram-sha-256 --data-checksums >/dev/null
    echo "host all all all scram-sha-256" >>"$unfinished/pg_hba.conf"
    printf 'CREATE ROLE %s LOGIN\nCREATE DATABASE %s OWNER %s\n' "$role" "$(identifier "$database")" "$role" |
        run_sql "$unfinished"
    sync
    mv "$unfinished" "$data"
    echo "entrypoint: made cluster $data with database $database of $POSTGRES_USER"
}

install -d -o postgres -g postgres "$volume" "$volume/$version" /var/run/postgresql
[ -d "$data" ] || make_cluster
printf 'ALTER ROLE %s PASSWORD %s\n' "$role" "$(literal "$password")" | run_sql "$data"
unset password

exec setpriv --reuid=postgres --regid=postgres --init-groups \
    "$binaries/postgres" -D "$data" -c listen_addresses='*'
