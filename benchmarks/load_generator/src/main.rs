//! A closed-loop load generator: it has one thread and one epoll set, so that it is faster than a server on another
//! processor.
//!
//! ```text
//! load-generator echo  HOST:PORT [--connections N] [--bytes N] [--seconds S]   each sends, awaits the echo, sends again
//! load-generator churn HOST:PORT [--connections N] [--seconds S]               connects, awaits the end, connects again
//! load-generator drain HOST:PORT                                               receives all that one connection brings
//! load-generator hold  HOST:PORT [--connections N] [--bytes N]                 one echo each, then idle until stdin ends
//! ```
//!
//! It prints one line of JSON. After an error it exits with status 1 and prints the reason on stderr.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

mod churn;
mod drain;
mod echo;
mod hold;
mod poll;
mod report;

/// The parameters of a run, from the command line.
#[derive(Debug)]
pub struct Plan {
    address: SocketAddr,
    connections: usize,
    bytes: usize,
    seconds: Duration,
}

impl Plan {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<(String, Self), Box<dyn Error>> {
        let mode = words.next().ok_or("no mode given")?;
        let mut plan = Plan {
            address: words.next().ok_or("no address given")?.parse()?,
            connections: 1,
            bytes: 64,
            seconds: Duration::from_secs(1),
        };
        while let Some(option) = words.next() {
            let value = words.next().ok_or("an option lacks its value")?;
            match option.as_str() {
                "--connections" => plan.connections = value.parse()?,
                "--bytes" => plan.bytes = value.parse()?,
                "--seconds" => plan.seconds = Duration::try_from_secs_f64(value.parse()?)?,
                _ => return Err(format!("unknown option {option}").into()),
            }
        }
        Ok((mode, plan))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mode, plan) = Plan::parse(std::env::args().skip(1))?;
    match mode.as_str() {
        "echo" => echo::run(&plan)?.print(),
        "churn" => churn::run(&plan)?.print(),
        "drain" => drain::run(&plan)?,
        "hold" => hold::run(&plan)?,
        _ => return Err(format!("unknown mode {mode}").into()),
    }
    Ok(())
}
