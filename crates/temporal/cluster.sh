#!/usr/bin/env bash
# Kills workers and the server while a cluster copies a file, and compares the table with that of a plain run.
#
#     TEMPORAL_CLI=/path/to/temporal crates/temporal/cluster.sh flights.csv
#
# `ROWS` is the size of a range: small ones make a run long enough to be troubled. For each of SQLite and PostgreSQL (if `DATABASE_URL` names an empty database), by key and append-only: three worker processes, one of which
# is killed every 4 s (`EVERY`) and started again, and a server that is killed once. With `OUTAGE=60` all workers are killed once and stay away for so
# many seconds. Each prints the rows and a checksum; a difference is an error.
set -euo pipefail

data=$(realpath "${1:?the CSV file}")
temporal=${TEMPORAL_CLI:?the path of the Temporal CLI}
rows=${ROWS:-250}
every=${EVERY:-4}
outage=${OUTAGE:-0}
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
port=${PORT:-17233}
url="http://127.0.0.1:$port"

cargo build --quiet --release --manifest-path "$here/Cargo.toml" --example departures
program="${CARGO_TARGET_DIR:-$here/target}/release/examples/departures"

workers=()
server=
finish() {
    { kill -KILL "${workers[@]}" "$server" && wait; } 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT

start_server() {
    "$temporal" server start-dev --headless --ip 127.0.0.1 --port "$port" --db-filename "$folder/temporal.sqlite" --log-level never \
        >/dev/null 2>&1 &
    server=$!
}

start_worker() {
    "$program" worker --server "$url" --slots 2 >/dev/null 2>&1 &
    workers[$1]=$!
}

# Kills one worker after the other until the run has ended, and the server once.
trouble() {
    local run=$1 number=0
    while kill -0 "$run" 2>/dev/null; do
        sleep "$every"
        # The shell says nothing of processes that it does not own any more.
        disown "${workers[number % 3]}" 2>/dev/null || true
        kill -KILL "${workers[number % 3]}" 2>/dev/null || true
        start_worker $((number % 3))
        if [ "$number" = 2 ] && [ "$outage" != 0 ]; then
            disown "${workers[@]}" 2>/dev/null || true
            kill -KILL "${workers[@]}" 2>/dev/null || true
            kill -0 "$run" 2>/dev/null || { echo '   the run was over before the outage: take smaller ranges (ROWS)'; exit 1; }
            sleep "$outage"
            for worker in 0 1 2; do start_worker "$worker"; done
            echo "   no worker for $outage s"
        fi
        if [ "$number" = 1 ]; then
            disown "$server"
            kill -KILL "$server"
            sleep 1
            start_server
        fi
        number=$((number + 1))
    done
    echo "   $number workers killed"
}

checksum='SELECT count(*), sum(year * 7 + month * 31 + day * 17 + flight * 13 + sched_dep_time + coalesce(dep_delay, 5) * 3 + length(carrier || origin || tailnum)) FROM departures'
sums() {
    if [ "$1" = postgres ]; then psql -qAt -F '|' "$DATABASE_URL" -c "$checksum"; else
        python3 -c 'import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone(), sep="|")' "$1" "$checksum"
    fi
}

empty() {
    if [ "$1" = postgres ]; then
        psql -q "$DATABASE_URL" -c 'DROP TABLE IF EXISTS departures, rejected, _pipelines, _pipeline_settled, _pipeline_beyond' 2>/dev/null
    else
        rm -f "$1"*
    fi
}

start_server
for number in 0 1 2; do start_worker "$number"; done
databases=("$folder/flights.sqlite")
if [ -n "${DATABASE_URL:-}" ]; then databases+=(postgres); else echo 'skipped: DATABASE_URL names no database of PostgreSQL'; fi
for database in "${databases[@]}"; do
    for mode in '' --append; do
        empty "$database"
        "$program" plain --file "$data" --database "$database" $mode >/dev/null
        expected=$(sums "$database")
        empty "$database"
        echo "$(basename "$database") ${mode:-by key}"
        "$program" run --server "$url" --file "$data" --database "$database" $mode --rows "$rows" --in-flight 6 \
            --name "$(basename "$database")$mode" 2>"$folder/progress" >"$folder/report" &
        run=$!
        trouble "$run"
        wait "$run" || { echo 'the run has failed:'; tail -n 3 "$folder/progress"; exit 1; }
        found=$(sums "$database")
        echo "   $(cat "$folder/report"): $found"
        [ "$found" = "$expected" ] || { echo "   a plain run has $expected"; exit 1; }
    done
done
echo 'equal to plain runs'
