//! Holds idle connections, after an echo on each has shown that it works.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::Plan;

/// Opens the connections, has one message echoed on each, reports that on stdout, and holds them until stdin ends.
///
/// # Errors
/// Returns the error of a connection.
pub fn run(plan: &Plan) -> io::Result<()> {
    let message = vec![b'x'; plan.bytes];
    let mut room = vec![0; plan.bytes];
    let mut connections = Vec::with_capacity(plan.connections);
    for _ in 0..plan.connections {
        let mut stream = TcpStream::connect(plan.address)?;
        stream.write_all(&message)?;
        stream.read_exact(&mut room)?;
        connections.push(stream);
    }
    println!(r#"{{"connections": {}}}"#, connections.len());
    io::stdout().flush()?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}
