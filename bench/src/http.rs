//! A small HTTP/1.1 client: one kept-alive connection, one request at a time, nothing clever that
//! could add to a latency.

use crate::error::BenchError;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longest wait for an answer: the server itself gives up after 30 s.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// A connection that was idle for longer is not used again: servers close theirs after some
/// seconds, and a request must not run into that.
const IDLE_MAX: Duration = Duration::from_secs(3);
/// Bodies up to this size are copied behind the head, so that small requests are one write.
const ONE_WRITE_BYTES: usize = 256 << 10;
/// Largest answer that is read: the metrics page of a busy server is far below.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Status code.
    pub(crate) status: u16,
    /// `Retry-After`, s.
    pub(crate) retry_after_s: Option<u64>,
    /// Body, as sent.
    pub(crate) body: Vec<u8>,
}

/// A client of one server.
pub(crate) struct Client {
    address: SocketAddr,
    token: String,
    connection: Option<(BufReader<TcpStream>, Instant)>,
    out: Vec<u8>,
}

impl Client {
    /// For a server and a bearer token; an empty token sends none. Connects with the first request.
    pub(crate) fn new(address: SocketAddr, token: &str) -> Self {
        Self { address, token: token.to_owned(), connection: None, out: Vec::new() }
    }

    /// `GET`.
    pub(crate) fn get(&mut self, path: &str) -> Result<Answer, BenchError> {
        self.request("GET", path, "", &[])
    }

    /// `POST`; `headers` are whole lines, each with its CRLF.
    pub(crate) fn post(
        &mut self,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Result<Answer, BenchError> {
        self.request("POST", path, headers, body)
    }

    fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Result<Answer, BenchError> {
        let result = self.exchange(method, path, headers, body);
        if result.is_err() {
            self.connection = None;
        }
        result.map_err(BenchError::io(format!("{method} http://{}{path}", self.address)))
    }

    fn exchange(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> std::io::Result<Answer> {
        self.out.clear();
        write!(self.out, "{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}", self.address)?;
        if !self.token.is_empty() {
            write!(self.out, "Authorization: Bearer {}\r\n", self.token)?;
        }
        write!(self.out, "Content-Length: {}\r\n\r\n", body.len())?;
        let mut connection = match self.connection.take() {
            Some((connection, used)) if used.elapsed() < IDLE_MAX => connection,
            _ => connect(self.address)?,
        };
        let stream = connection.get_mut();
        if body.len() <= ONE_WRITE_BYTES {
            self.out.extend_from_slice(body);
            stream.write_all(&self.out)?;
        } else {
            stream.write_all(&self.out)?;
            stream.write_all(body)?;
        }
        let (answer, keep) = read_answer(&mut connection)?;
        if keep {
            self.connection = Some((connection, Instant::now()));
        }
        Ok(answer)
    }
}

fn connect(address: SocketAddr) -> std::io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_WAIT))?;
    Ok(BufReader::new(stream))
}

fn bad(what: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned())
}

/// Reads one answer; the flag says whether the connection may be used again.
fn read_answer(from: &mut impl BufRead) -> std::io::Result<(Answer, bool)> {
    let first = line(from)?;
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| bad("the answer is not HTTP"))?;
    let mut answer = Answer { status, retry_after_s: None, body: Vec::new() };
    let (mut length, mut chunked, mut keep) = (0usize, false, true);
    loop {
        let header = line(from)?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').ok_or_else(|| bad("a header has no colon"))?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().map_err(|_| bad("no content length"))?,
            "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
            "connection" => keep = !value.eq_ignore_ascii_case("close"),
            "retry-after" => answer.retry_after_s = value.parse().ok(),
            _ => {}
        }
    }
    match chunked {
        true => read_chunks(from, &mut answer.body)?,
        false => read_exactly(from, length, &mut answer.body)?,
    }
    Ok((answer, keep))
}

fn read_chunks(from: &mut impl BufRead, body: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let size = line(from)?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| bad("no chunk size"))?;
        read_exactly(from, size, body)?;
        // The line end behind the chunk; behind the last one there are no trailers here.
        line(from)?;
        if size == 0 {
            return Ok(());
        }
    }
}

fn read_exactly(from: &mut impl Read, size: usize, body: &mut Vec<u8>) -> std::io::Result<()> {
    if size.saturating_add(body.len()) > ANSWER_BYTES_MAX {
        return Err(bad("the answer is too large"));
    }
    let at = body.len();
    body.resize(at + size, 0);
    from.read_exact(&mut body[at..])
}

/// One line without its end.
fn line(from: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_both_framings() {
        let plain =
            b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 2\r\nContent-Length: 2\r\n\r\nno";
        let (answer, keep) = read_answer(&mut &plain[..]).unwrap();
        assert_eq!((answer.status, answer.retry_after_s, keep), (429, Some(2), true));
        assert_eq!(answer.body, b"no");

        let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
            3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        let (answer, keep) = read_answer(&mut &chunks[..]).unwrap();
        assert_eq!((answer.body.as_slice(), keep), (&b"abcde"[..], false));
        assert!(read_answer(&mut &b"SSH-2.0\r\n"[..]).is_err());
        assert!(read_answer(&mut &chunks[..70]).is_err());
    }
}
