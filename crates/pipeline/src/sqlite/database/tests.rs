use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Barrier},
    thread,
};

use tempfile::TempDir;

use super::{Access, Connection, Database, Error, MOST_TOGETHER, Mutex, OPEN, Ordering, Undone, ffi, file_id};

fn open(path: &Path) -> Database {
    Database::open(path, Access::Create).unwrap()
}

/// A database with a table of numbers.
fn numbers() -> (TempDir, Database) {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder.path().join("a.sqlite"));
    let table = "CREATE TABLE numbers (number INTEGER UNIQUE, parent REFERENCES numbers (number) DEFERRABLE INITIALLY DEFERRED)";
    database.turn().unwrap().execute_batch(table).unwrap();
    database.turn().unwrap().execute_batch("PRAGMA foreign_keys = ON").unwrap();
    (folder, database)
}

fn insert(connection: &Connection, number: i64) -> rusqlite::Result<Option<usize>> {
    connection.execute("INSERT INTO numbers (number) VALUES (?1)", [number]).map(Some)
}

fn stored(database: &Database) -> Vec<i64> {
    let turn = database.turn().unwrap();
    let mut statement = turn.prepare("SELECT number FROM numbers ORDER BY number").unwrap();
    let numbers = statement.query_map([], |row| row.get(0)).unwrap();
    numbers.collect::<Result<_, _>>().unwrap()
}

/// So many writers, of which all others wait while the first one is at work.
fn together<O: Send>(
    database: &Database,
    writers: i64,
    work: impl Fn(i64, &Connection) -> rusqlite::Result<Option<O>> + Sync,
) -> Vec<Result<Option<O>, Undone<Error>>> {
    let begun = Barrier::new(2);
    thread::scope(|scope| {
        let (work, begun) = (&work, &begun);
        let first = scope.spawn(move || {
            let mut is_first = true;
            database.transact(|connection| {
                if std::mem::take(&mut is_first) {
                    begun.wait();
                    while database.0.waiting.load(Ordering::Relaxed) < usize::try_from(writers - 1).unwrap() {
                        thread::yield_now();
                    }
                }
                work(0, connection)
            })
        });
        begun.wait();
        let others = (1..writers)
            .map(|writer| scope.spawn(move || database.transact(|connection| work(writer, connection))))
            .collect::<Vec<_>>();
        [first].into_iter().chain(others).map(|writer| writer.join().unwrap()).collect()
    })
}

#[test]
fn a_database_has_one_connection_however_its_path_is_written_and_none_when_nobody_writes_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sqlite");
    let (one, other) = (open(&path), open(&folder.path().join("b.sqlite")));
    let same = open(&folder.path().join(".").join("a.sqlite"));
    let turn = one.turn().unwrap();
    assert!(same.0.shared.try_lock().is_none() && other.0.shared.try_lock().is_some());
    drop(turn);
    assert!(same.turn().is_ok());
    drop((one, same));
    let _another = open(&folder.path().join("c.sqlite"));
    assert!(!OPEN.lock().contains_key(&file_id(&path).unwrap()));
}

#[test]
fn a_file_that_has_replaced_another_one_is_another_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sqlite");
    let one = open(&path);
    fs::remove_file(&path).unwrap();
    assert!(!Arc::ptr_eq(&one.0, &open(&path).0));
}

#[test]
fn what_does_not_come_to_its_end_is_rolled_back() {
    let (_folder, database) = numbers();
    let nothing = database.transact(|connection| insert(connection, 1).map(|_| None::<()>));
    assert!(matches!(nothing, Ok(None)));
    let failed = database.transact(|connection| insert(connection, 1).and_then(|_| insert(connection, 1)));
    assert!(matches!(failed, Err(Undone::Work(_))));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        database.transact(|connection| -> rusqlite::Result<Option<()>> {
            insert(connection, 1)?;
            panic!("in the middle");
        })
    }));
    assert!(panicked.is_err() && stored(&database).is_empty());
}

#[test]
fn a_database_that_has_failed_is_opened_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sqlite");
    let one = open(&path);
    let error = |code| Error::SqliteFailure(ffi::Error::new(code), None);
    one.discard_after(&error(ffi::SQLITE_BUSY));
    assert!(Arc::ptr_eq(&one.0, &open(&path).0));
    one.discard_after(&error(ffi::SQLITE_IOERR));
    let new = open(&path);
    assert!(!Arc::ptr_eq(&one.0, &new.0) && Arc::ptr_eq(&new.0, &open(&path).0));
}

#[test]
fn those_who_wait_for_each_other_are_committed_together_but_not_too_many() {
    let (folder, database) = numbers();
    let reader = Mutex::new(Connection::open(folder.path().join("a.sqlite")).unwrap());
    let visible = || reader.lock().query_row("SELECT count(*) FROM numbers", [], |row| row.get::<_, i64>(0));
    // What another connection sees when each of them writes: nobody waits behind the last two.
    let most = i64::try_from(MOST_TOGETHER).unwrap();
    let seen = together(&database, most + 2, |writer, connection| {
        insert(connection, writer)?;
        visible().map(Some)
    });
    let mut seen: Vec<i64> = seen.into_iter().map(|seen| seen.unwrap().unwrap()).collect();
    seen.sort_unstable();
    assert_eq!(seen, [vec![0; MOST_TOGETHER], vec![most, most + 1]].concat());
    assert_eq!(stored(&database), (0..most + 2).collect::<Vec<_>>());
}

#[test]
fn a_failure_of_one_undoes_nothing_of_the_others() {
    type Fails = fn(&Connection) -> rusqlite::Result<Option<usize>>;
    let cases: [(&str, Fails); 3] = [
        ("a statement", |connection| insert(connection, 100).and_then(|_| insert(connection, 100))),
        ("a constraint that rolls back", |connection| {
            connection.execute("INSERT OR ROLLBACK INTO numbers (number) VALUES (100), (100)", []).map(Some)
        }),
        ("the commit", |connection| connection.execute("INSERT INTO numbers VALUES (100, 200)", []).map(Some)),
    ];
    for (name, fails) in cases {
        let (_folder, database) = numbers();
        let write = |writer, connection: &_| if writer == 2 { fails(connection) } else { insert(connection, writer) };
        let ended = together(&database, 6, write);
        let failed: Vec<_> = ended.iter().map(Result::is_err).collect();
        assert_eq!(failed, [false, false, true, false, false, false], "{name}");
        assert_eq!(stored(&database), [0, 1, 3, 4, 5], "{name}");
    }
}

#[test]
fn a_failure_by_what_another_one_did_not_commit_is_none() {
    let (_folder, database) = numbers();
    let ended = together(&database, 3, |writer, connection| match writer {
        0 => connection.execute("INSERT INTO numbers VALUES (100, 200)", []).map(Some),
        1 => insert(connection, 100),
        _ => insert(connection, writer),
    });
    let failed: Vec<_> = ended.iter().map(Result::is_err).collect();
    assert_eq!((failed, stored(&database)), (vec![true, false, false], vec![2, 100]));
}

#[test]
fn whatever_the_others_do_a_transaction_is_there_once_if_it_said_so_and_else_not_at_all() {
    const EACH: i64 = 50;
    let (_folder, database) = numbers();
    let write = |number: i64, connection: &Connection| {
        insert(connection, number)?;
        match number * 7919 % 13 {
            0 => Ok(None),
            1 => insert(connection, number),
            2 => connection.execute("INSERT OR ROLLBACK INTO numbers (number) VALUES (?1)", [number]).map(Some),
            3 => connection.execute("UPDATE numbers SET parent = -1 WHERE number = ?1", [number]).map(Some),
            4 => panic!("in the middle"),
            _ => Ok(Some(1)),
        }
    };
    let is_there = |number: &i64| {
        let ended = catch_unwind(AssertUnwindSafe(|| database.transact(|open| write(*number, open))));
        matches!(ended, Ok(Ok(Some(_))))
    };
    let mut expected: Vec<i64> = thread::scope(|scope| {
        let numbers = |writer: i64| (writer * EACH..(writer + 1) * EACH).filter(is_there).collect::<Vec<_>>();
        let writers: Vec<_> = (0..6).map(|writer| scope.spawn(move || numbers(writer))).collect();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    expected.sort_unstable();
    assert_eq!(stored(&database), expected);
    assert!((150..200).contains(&expected.len()), "{} of 300", expected.len());
}

#[test]
fn an_open_transaction_is_committed_though_the_writer_that_it_waits_for_gives_up() {
    let (_folder, database) = numbers();
    // They are said to wait, and never come.
    database.0.waiting.fetch_add(2, Ordering::Relaxed);
    database.transact(|connection| insert(connection, 1)).unwrap();
    assert_eq!(stored(&database), [1]);
}
