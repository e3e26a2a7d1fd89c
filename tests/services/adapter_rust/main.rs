//! Answers the commands of client.py for Rust: `client deadpool|r2d2|reqwest`, lines as in adapter.py.

use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Told = Result<(), Box<dyn std::error::Error>>;
const REDIS: &str = "127.0.0.1:6379";
const PING: &[u8] = b"PING\r\n";

trait Client {
    fn bound(&self) -> String;
    async fn burst(&self, count: usize) -> Told;
    async fn leak(&mut self) -> Told;
}

struct Deadpool {
    pool: deadpool::managed::Pool<Connector>,
    kept: Vec<deadpool::managed::Object<Connector>>,
}

struct Connector;

impl deadpool::managed::Manager for Connector {
    type Type = tokio::net::TcpStream;
    type Error = std::io::Error;

    async fn create(&self) -> Result<Self::Type, Self::Error> {
        tokio::net::TcpStream::connect(REDIS).await
    }

    async fn recycle(&self, one: &mut Self::Type, _: &deadpool::managed::Metrics) -> deadpool::managed::RecycleResult<Self::Error> {
        ask(one).await.map_err(Into::into)
    }
}

async fn ask(one: &mut tokio::net::TcpStream) -> std::io::Result<()> {
    one.write_all(PING).await?;
    one.read_exact(&mut [0; 7]).await.map(|_| ())
}

impl Client for Deadpool {
    fn bound(&self) -> String {
        format!("{} here (4 for each core), then waits", self.pool.status().max_size)
    }

    async fn burst(&self, count: usize) -> Told {
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(self.pool.get().await?);
        }
        for one in &mut all {
            ask(one).await?;
        }
        Ok(())
    }

    async fn leak(&mut self) -> Told {
        self.kept.push(self.pool.get().await?);
        Ok(())
    }
}

struct R2d2 {
    pool: r2d2::Pool<Maker>,
    kept: Vec<r2d2::PooledConnection<Maker>>,
}

struct Maker;

impl r2d2::ManageConnection for Maker {
    type Connection = TcpStream;
    type Error = std::io::Error;

    fn connect(&self) -> Result<TcpStream, std::io::Error> {
        TcpStream::connect(REDIS)
    }

    fn is_valid(&self, one: &mut TcpStream) -> Result<(), std::io::Error> {
        one.write_all(PING)?;
        one.read_exact(&mut [0; 7])
    }

    fn has_broken(&self, _: &mut TcpStream) -> bool {
        false
    }
}

impl Client for R2d2 {
    fn bound(&self) -> String {
        format!("{}, all opened at the start, then waits 30 s", self.pool.max_size())
    }

    async fn burst(&self, count: usize) -> Told {
        let all = (0..count).map(|_| self.pool.get()).collect::<Result<Vec<_>, _>>()?;
        drop(all);
        Ok(())
    }

    async fn leak(&mut self) -> Told {
        self.kept.push(self.pool.get()?);
        Ok(())
    }
}

struct Reqwest {
    client: reqwest::Client,
    kept: Vec<reqwest::Response>,
}

impl Client for Reqwest {
    fn bound(&self) -> String {
        "none; idle ones without bound too, pool_idle_timeout 90 s".to_owned()
    }

    async fn burst(&self, count: usize) -> Told {
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(self.client.get("http://127.0.0.1:8080/big").send().await?);
        }
        for one in all {
            one.bytes().await?;
        }
        Ok(())
    }

    async fn leak(&mut self) -> Told {
        self.kept.push(self.client.get("http://127.0.0.1:8080/big").send().await?);
        Ok(())
    }
}

async fn serve(mut client: impl Client) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let (word, rest) = line.split_once(' ').unwrap_or((&line, "1"));
        let done = match word {
            "bound" => {
                println!("{}", client.bound());
                continue;
            }
            "leak" => client.leak().await,
            _ => client.burst(rest.parse().unwrap_or(1)).await,
        };
        match done {
            Ok(()) => println!("ok"),
            Err(why) => println!("error: {why}"),
        }
    }
}

#[tokio::main]
async fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("deadpool") => {
            let pool = deadpool::managed::Pool::builder(Connector).build().expect("a pool without time-outs");
            serve(Deadpool { pool, kept: Vec::new() }).await;
        }
        Some("r2d2") => {
            let pool = r2d2::Pool::builder().connection_timeout(Duration::from_secs(30)).build(Maker).expect("a server");
            serve(R2d2 { pool, kept: Vec::new() }).await;
        }
        _ => serve(Reqwest { client: reqwest::Client::new(), kept: Vec::new() }).await,
    }
}
