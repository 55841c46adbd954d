//! Two callers, one request downstream, and each caller gets its own reply.
use actix_batch::prelude::*;
struct GetUser(u64); // what one caller asks …
impl Job for GetUser {
    type Output = String; // … and what it gets
    type Error = std::io::Error;
}

struct UserLookup; // a connection to the database would be in here
impl BatchProcessor for UserLookup {
    type Job = GetUser;
    async fn process(&mut self, batch: &Batch<GetUser>) -> Result<Outcomes<GetUser>, std::io::Error> {
        println!("one request for {} users", batch.len());
        Ok(Outcomes::in_order(batch.iter().map(|job| format!("user {}", job.0))))
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let users = Collector::builder(|| UserLookup).name("users").max_size(100).start()?;
    let (ann, bob) = (users.submit(GetUser(7)), users.submit(GetUser(8))); // both are submitted now
    println!("{} and {}", ann.await?, bob.await?);
    users.shutdown(Shutdown::drain()).await?;
    Ok(())
}
