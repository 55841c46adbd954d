//! One JSON POST for each batch, to a service that answers in any order and leaves out what it does not know: each result
//! finds its caller by its id.

use std::collections::HashMap;

use actix_batch::prelude::*;
use actix_web::{App, HttpServer, web};
use awc::Client;

/// What one article costs: `(article, cents)`.
struct GetPrice(u32);

impl Job for GetPrice {
    type Output = (u32, u32);
    type Error = String;
}

/// Asks the price service. An `awc::Client` is not `Send`, and need not be: it never leaves its worker.
struct PriceClient {
    url: String,
    client: Client,
}

impl BatchProcessor for PriceClient {
    type Job = GetPrice;

    async fn process(&mut self, batch: &Batch<GetPrice>) -> Result<Outcomes<GetPrice>, String> {
        let articles: Vec<u32> = batch.iter().map(|job| job.0).collect();
        println!("POST {articles:?}");
        let answer = self.client.post(&self.url).send_json(&articles).await;
        let mut answer = answer.map_err(|error| format!("no answer from the price service: {error}"))?;
        if !answer.status().is_success() {
            return Err(format!("the price service answers {}", answer.status()));
        }
        let prices: Vec<(u32, u32)> = answer.json().await.map_err(|error| format!("unreadable prices: {error}"))?;
        println!("  -> {prices:?}");
        Ok(Outcomes::by_key(batch, prices, |job| job.0, |price| price.0))
    }
}

/// The remote service: it knows the prices of ten articles, and answers in the order of its hash map.
async fn prices(articles: web::Json<Vec<u32>>) -> web::Json<Vec<(u32, u32)>> {
    let known: HashMap<u32, u32> = (1..=10).map(|article| (article, article * 100 - 1)).collect();
    web::Json(known.into_iter().filter(|(article, _)| articles.contains(article)).collect())
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server =
        HttpServer::new(|| App::new().route("/prices", web::post().to(prices))).workers(1).bind(("127.0.0.1", 0))?;
    let url = format!("http://{}/prices", server.addrs()[0]);
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);

    let prices = Collector::builder(move || PriceClient { url: url.clone(), client: Client::default() })
        .name("prices")
        .max_size(4)
        .start()?;
    let replies: Vec<_> = [3, 1, 4, 15, 9, 2, 6, 5].into_iter().map(|id| (id, prices.submit(GetPrice(id)))).collect();
    for (id, reply) in replies {
        match reply.await {
            Ok((article, cents)) => println!("article {id:2}: {cents} cents (asked for {id}, got {article})"),
            Err(error) => println!("article {id:2}: {error}"),
        }
    }

    prices.shutdown(Shutdown::drain()).await?;
    handle.stop(true).await;
    Ok(())
}
