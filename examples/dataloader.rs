//! A page of posts, each with the name of its author: the N+1 query, and how it goes away. Every statement is counted.
//!
//! `cargo run --features cache --example dataloader`

use std::sync::{Arc, Mutex, PoisonError};

use actix_batch::{Cache, prelude::*};
use futures_util::TryStreamExt;
use rusqlite::{Connection, params_from_iter};

struct Post {
    title: String,
    author: i64,
}

#[derive(Clone)]
struct Author {
    id: i64,
    name: String,
}

/// The database, and how often it was asked.
struct Blog {
    connection: Connection,
    queries: usize,
}

impl Blog {
    /// Fifty posts by four authors.
    fn new() -> rusqlite::Result<Self> {
        let connection = Connection::open_in_memory()?;
        connection.execute_batch(
            "CREATE TABLE authors (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
             CREATE TABLE posts (id INTEGER PRIMARY KEY, title TEXT NOT NULL, author INTEGER NOT NULL);
             INSERT INTO authors (name) VALUES ('Ada'), ('Brook'), ('Chen'), ('Dana');
             WITH RECURSIVE n(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n LIMIT 50)
             INSERT INTO posts (title, author) SELECT 'Post ' || n, n * 7 % 4 + 1 FROM n;",
        )?;
        Ok(Self { connection, queries: 0 })
    }

    /// Ten posts.
    fn page(&mut self, page: i64) -> rusqlite::Result<Vec<Post>> {
        self.queries += 1;
        let mut select = self.connection.prepare("SELECT title, author FROM posts ORDER BY id LIMIT 10 OFFSET ?1")?;
        select.query_map([page * 10], |row| Ok(Post { title: row.get(0)?, author: row.get(1)? }))?.collect()
    }

    fn authors(&mut self, ids: &[i64]) -> rusqlite::Result<Vec<Author>> {
        self.queries += 1;
        let marks = vec!["?"; ids.len()].join(", ");
        let mut select = self.connection.prepare(&format!("SELECT id, name FROM authors WHERE id IN ({marks})"))?;
        select.query_map(params_from_iter(ids), |row| Ok(Author { id: row.get(0)?, name: row.get(1)? }))?.collect()
    }

    fn rename(&mut self, author: i64, name: &str) -> rusqlite::Result<usize> {
        self.connection.execute("UPDATE authors SET name = ?2 WHERE id = ?1", (author, name))
    }
}

type SharedBlog = Arc<Mutex<Blog>>;

fn with<T>(blog: &SharedBlog, ask: impl FnOnce(&mut Blog) -> T) -> T {
    ask(&mut blog.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What a caller wants: one author.
struct GetAuthor(i64);

impl Job for GetAuthor {
    type Output = Author;
    type Error = rusqlite::Error;
}

/// What the database sees: one statement for all of them.
struct Authors(SharedBlog);

impl BatchProcessor for Authors {
    type Job = GetAuthor;

    async fn process(&mut self, batch: &Batch<GetAuthor>) -> rusqlite::Result<Outcomes<GetAuthor>> {
        let ids: Vec<i64> = batch.iter().map(|job| job.0).collect();
        let authors = with(&self.0, |blog| blog.authors(&ids))?;
        Ok(Outcomes::by_key(batch, authors, |job| job.0, |author| author.id))
    }
}

/// One query for the page, and one for each of its posts.
fn naive(blog: &mut Blog, page: i64) -> rusqlite::Result<Vec<String>> {
    let posts = blog.page(page)?;
    posts.iter().map(|post| Ok(format!("{} by {}", post.title, blog.authors(&[post.author])?[0].name))).collect()
}

type Failure = Box<dyn std::error::Error>;

/// The same page, and the code still asks for one author for each post.
async fn loaded(blog: &SharedBlog, authors: &Collector<GetAuthor>, page: i64) -> Result<Vec<String>, Failure> {
    let posts = with(blog, |blog| blog.page(page))?;
    let names: Vec<Author> = authors.submit_all(posts.iter().map(|post| GetAuthor(post.author))).try_collect().await?;
    Ok(posts.iter().zip(names).map(|(post, author)| format!("{} by {}", post.title, author.name)).collect())
}

#[actix::main]
async fn main() -> Result<(), Failure> {
    let blog = Arc::new(Mutex::new(Blog::new()?));
    let queries = |what: &str| {
        let queries = with(&blog, |blog| std::mem::take(&mut blog.queries));
        println!("{what:<40} {queries:>2} queries");
        queries
    };

    let expected = [with(&blog, |blog| naive(blog, 0))?, with(&blog, |blog| naive(blog, 1))?];
    assert_eq!(queries("two pages, one by one"), 22);

    let shared = Arc::clone(&blog);
    let authors = Collector::builder(move || Authors(Arc::clone(&shared)))
        .name("authors")
        // Ten posts by four authors ask for four rows.
        .coalesce_by(|job| job.0)
        // And the next page asks for none that are known.
        .cache(|job| job.0, Cache::new(10_000))
        .start()?;
    assert_eq!(loaded(&blog, &authors, 0).await?, expected[0]);
    assert_eq!(queries("the first page, with a collector"), 2);
    assert_eq!(loaded(&blog, &authors, 1).await?, expected[1]);
    assert_eq!(queries("the second page: its authors are known"), 1);

    // Whoever writes says what is not true any more.
    with(&blog, |blog| blog.rename(1, "Ada L."))?;
    authors.clear(&GetAuthor(1));
    assert!(loaded(&blog, &authors, 1).await?.iter().any(|line| line.ends_with("by Ada L.")));
    assert_eq!(queries("again, after an author was renamed"), 2);
    authors.shutdown(Shutdown::drain()).await?;
    Ok(())
}
