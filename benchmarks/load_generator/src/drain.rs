//! Receives on one connection as fast as it can.

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::Instant;

use crate::Plan;

/// The number of bytes that one read asks for.
const ROOM: usize = 256 * 1024;

/// Receives until the server ends the connection, and prints how many bytes came in how many seconds.
///
/// # Errors
/// Returns the error of the connection.
pub fn run(plan: &Plan) -> io::Result<()> {
    let mut stream = TcpStream::connect(plan.address)?;
    let mut room = vec![0; ROOM];
    let begun = Instant::now();
    let mut received = 0;
    loop {
        match stream.read(&mut room)? {
            0 => break,
            count => received += count,
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        r#"{{"bytes": {received}, "seconds": {seconds:.6}, "per_second": {:.1}}}"#,
        received as f64 / seconds
    );
    Ok(())
}
