//! The loop by hand, and the three ways in which a batch can reach the server.

use std::{path::Path, pin::pin};

use tokio_postgres::{
    Client,
    binary_copy::BinaryCopyInWriter,
    types::{ToSql, Type},
};

use crate::{By, COLUMNS, Flight, KEY};

pub(crate) async fn copy_rows(by: By, mut client: Client, data: &Path, batch: usize) -> u64 {
    if by == By::Copy {
        client.batch_execute(STAGE).await.expect("the temporary table");
    }
    let mut reader = csv::ReaderBuilder::new().from_path(data).expect("the data opens");
    let headers = reader.headers().expect("a header").clone();
    let (mut record, mut rows, mut read) = (csv::StringRecord::new(), Vec::with_capacity(batch), 0);
    loop {
        let more = reader.read_record(&mut record).expect("a row");
        if more {
            read += 1;
            let without_na: csv::StringRecord =
                record.iter().map(|field| if field == "NA" { "" } else { field }).collect();
            rows.push(without_na.deserialize::<Flight>(Some(&headers)).expect("a typed row"));
        }
        if rows.len() == batch || (!more && !rows.is_empty()) {
            match by {
                By::Unnest => unnest(&mut client, &rows).await,
                By::Values => values(&mut client, &rows).await,
                _ => copy(&mut client, &rows).await,
            }
            rows.clear();
        }
        if !more {
            return read;
        }
    }
}

fn update() -> String {
    let others = COLUMNS.split(", ").filter(|column| !KEY.contains(column));
    let sets: Vec<_> = others.map(|column| format!("{column} = EXCLUDED.{column}")).collect();
    format!("ON CONFLICT ({}) DO UPDATE SET {}", KEY.join(", "), sets.join(", "))
}

macro_rules! arrays {
    ($rows:expr, $($column:ident),+) => {
        ($($rows.iter().map(|row| row.$column.clone()).collect::<Vec<_>>()),+)
    };
}

#[expect(clippy::many_single_char_names, reason = "they are columns, in their order")]
async fn unnest(client: &mut Client, rows: &[Flight]) {
    let sql = format!(
        "INSERT INTO flights_bench ({COLUMNS}) SELECT * FROM unnest($1::int[], $2::int[], $3::int[], $4::int[], $5::int[], $6::int[], \
         $7::int[], $8::int[], $9::int[], $10::text[], $11::int[], $12::text[], $13::text[], $14::text[], $15::int[], $16::int[], \
         $17::int[], $18::int[], $19::text[]) {}",
        update()
    );
    let (a, b, c, d, e, f, g, h, i) =
        arrays!(rows, year, month, day, dep_time, sched_dep_time, dep_delay, arr_time, sched_arr_time, arr_delay);
    let (j, k, l, m, n, o, p, q, r, s) =
        arrays!(rows, carrier, flight, tailnum, origin, dest, air_time, distance, hour, minute, time_hour);
    let transaction = client.transaction().await.expect("a transaction");
    let statement = transaction.prepare(&sql).await.expect("the statement");
    let values: [&(dyn ToSql + Sync); 19] =
        [&a, &b, &c, &d, &e, &f, &g, &h, &i, &j, &k, &l, &m, &n, &o, &p, &q, &r, &s];
    transaction.execute(&statement, &values).await.expect("the rows are stored");
    transaction.commit().await.expect("the batch is stored");
}

async fn values(client: &mut Client, rows: &[Flight]) {
    let row = |at: usize| {
        let places: Vec<_> = (1..=19).map(|column| format!("${}", at * 19 + column)).collect();
        format!("({})", places.join(", "))
    };
    let all: Vec<_> = (0..rows.len()).map(row).collect();
    let sql = format!("INSERT INTO flights_bench ({COLUMNS}) VALUES {} {}", all.join(", "), update());
    let values: Vec<&(dyn ToSql + Sync)> = rows.iter().flat_map(parameters).collect();
    let transaction = client.transaction().await.expect("a transaction");
    transaction.execute(&sql, &values).await.expect("the rows are stored");
    transaction.commit().await.expect("the batch is stored");
}

const STAGE: &str = "CREATE TEMPORARY TABLE stage (LIKE flights_bench) ON COMMIT DELETE ROWS";

async fn copy(client: &mut Client, rows: &[Flight]) {
    const INT: Type = Type::INT4;
    const TEXT: Type = Type::TEXT;
    let types = [INT, INT, INT, INT, INT, INT, INT, INT, INT, TEXT, INT, TEXT, TEXT, TEXT, INT, INT, INT, INT, TEXT];
    let transaction = client.transaction().await.expect("a transaction");
    let sink = transaction.copy_in(&format!("COPY stage ({COLUMNS}) FROM STDIN BINARY")).await.expect("a copy");
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
    for row in rows {
        writer.as_mut().write(&parameters(row)).await.expect("the row is sent");
    }
    writer.finish().await.expect("the rows are sent");
    let sql = format!("INSERT INTO flights_bench ({COLUMNS}) SELECT {COLUMNS} FROM stage {}", update());
    transaction.execute(&sql, &[]).await.expect("the rows are stored");
    transaction.commit().await.expect("the batch is stored");
}

fn parameters(row: &Flight) -> [&(dyn ToSql + Sync); 19] {
    [
        &row.year,
        &row.month,
        &row.day,
        &row.dep_time,
        &row.sched_dep_time,
        &row.dep_delay,
        &row.arr_time,
        &row.sched_arr_time,
        &row.arr_delay,
        &row.carrier,
        &row.flight,
        &row.tailnum,
        &row.origin,
        &row.dest,
        &row.air_time,
        &row.distance,
        &row.hour,
        &row.minute,
        &row.time_hour,
    ]
}
