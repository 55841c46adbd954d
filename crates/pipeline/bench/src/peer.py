"""The same rows into the same table by Python's own modules."""
import csv
import sqlite3
import sys

data, database, batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
connection = sqlite3.connect(database, isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("PRAGMA synchronous = FULL")
connection.execute(sys.argv[4])
sql = sys.argv[5]


def write(rows):
    connection.execute("BEGIN")
    connection.executemany(sql, rows)
    connection.execute("COMMIT")


read = 0
with open(data, newline="") as file:
    reader = csv.reader(file)
    next(reader)
    rows = []
    for row in reader:
        read += 1
        row = [None if field == "NA" else field for field in row]
        # A flight without an aircraft is refused; everything else passes the checks.
        if row[11] is None:
            continue
        rows.append(row)
        if len(rows) == batch:
            write(rows)
            rows.clear()
    write(rows)
print(read)
