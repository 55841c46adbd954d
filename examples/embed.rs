//! The collector as a part of your own actor system: on an arbiter of yours, under a supervisor of yours, behind a
//! `Recipient` that your actors know, and as a service.

use actix_batch::prelude::*;

struct Square(u64);

impl Job for Square {
    type Output = u64;
    type Error = String;
}

struct Squares;

impl BatchProcessor for Squares {
    type Job = Square;

    async fn process(&mut self, batch: &Batch<Square>) -> Result<Outcomes<Square>, String> {
        let thread = std::thread::current();
        println!("  {} jobs in one batch, on thread {:?}", batch.len(), thread.name().unwrap_or("?"));
        Ok(Outcomes::in_order(batch.iter().map(|job| job.0 * job.0)))
    }
}

/// As a service, there is one in each actix `System`, and it starts when it is first asked for.
impl CollectorService for Squares {
    fn collector() -> CollectorBuilder<Self> {
        Collector::builder(|| Squares).name("squares-service")
    }
}

/// An actor of yours. It knows that somebody takes `SubmitJob<Square>`, and not who.
struct Surveyor {
    squares: Recipient<SubmitJob<Square>>,
}

type AreaResult = Result<u64, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Message)]
#[rtype(result = "AreaResult")]
struct Area {
    sides: [u64; 3],
}

impl Actor for Surveyor {
    type Context = Context<Self>;
}

impl Handler<Area> for Surveyor {
    type Result = ResponseFuture<AreaResult>;

    fn handle(&mut self, area: Area, _: &mut Context<Self>) -> Self::Result {
        let requests = area.sides.map(|side| self.squares.send(SubmitJob::new(Square(side))));
        Box::pin(async move {
            let mut total = 0;
            for request in requests {
                // The first `?`: whether the message reached the collector. The second: the job's own result.
                total += request.await??;
            }
            Ok(total)
        })
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("on an arbiter of your own, under a supervisor of your own:");
    let arbiter = Arbiter::new();
    let actor = Collector::builder(|| Squares).name("squares").build()?;
    let squares = actor.handle();
    let addr = Supervisor::start_in_arbiter(&arbiter.handle(), |_| actor);
    println!("  by message: {}", addr.send(SubmitJob::new(Square(2))).await??);
    println!("  by handle:  {}", squares.submit(Square(3)).await?);

    println!("behind a recipient, asked by another actor:");
    let surveyor = Surveyor { squares: addr.clone().recipient() }.start();
    println!("  area: {}", surveyor.send(Area { sides: [1, 2, 3] }).await?.map_err(|error| error.to_string())?);

    println!("as a service:");
    let service = CollectorActor::<Squares>::from_registry();
    println!("  by message: {}", service.send(SubmitJob::new(Square(4))).await??);

    let report = squares.shutdown(Shutdown::drain()).await?;
    println!("drained: {} jobs outstanding, {} cut off", report.completed, report.shut_down);
    arbiter.stop();
    Ok(())
}
