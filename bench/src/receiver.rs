//! A webhook receiver: an HTTP server that stamps when each body had arrived and says 200.

use crate::error::BenchError;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

/// Largest body that is taken: one alert is a few KiB.
const BODY_BYTES_MAX: usize = 16 << 20;

/// Called with each body and the moment it was complete. Runs on the connection's thread.
pub(crate) type Received = Arc<dyn Fn(&[u8], Instant) + Send + Sync>;

/// Listens on a free port of 127.0.0.1 for as long as the process lives; gives the address.
pub(crate) fn start(received: Received) -> Result<SocketAddr, BenchError> {
    let what = "webhook receiver";
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(BenchError::io(what))?;
    let address = listener.local_addr().map_err(BenchError::io(what))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let received = received.clone();
            std::thread::spawn(move || {
                // The sender closing its connection ends the loop; nothing else is expected.
                let _ = serve(stream, &received);
            });
        }
    });
    Ok(address)
}

fn serve(stream: TcpStream, received: &Received) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    loop {
        let mut length = 0usize;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        if length > BODY_BYTES_MAX {
            return Ok(());
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        received(&body, Instant::now());
        reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Client;
    use std::sync::Mutex;

    #[test]
    fn bodies_arrive_one_after_another_on_one_connection() {
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let kept = bodies.clone();
        let address =
            start(Arc::new(move |body, _| kept.lock().unwrap().push(body.to_vec()))).unwrap();
        let mut client = Client::new(address, "secret");
        for body in ["one", "", "three"] {
            assert_eq!(client.post("/hook", "", body.as_bytes()).unwrap().status, 200);
        }
        assert_eq!(*bodies.lock().unwrap(), [&b"one"[..], b"", b"three"]);
    }
}
