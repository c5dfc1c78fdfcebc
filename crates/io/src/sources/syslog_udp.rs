//! Syslog datagrams (RFC 5426): one datagram, one message. Nobody can be told anything, so what
//! the kernel drops is read from `/proc/net/udp*`, counted, and journaled as a gap record.

use crate::framing;
use crate::intake::{Context, wall_ns};
use crate::running::Running;
use crate::stats::SourceStats;
use event::{Certainty, Envelope, Gap, GapCause, Protocol, RawBatch};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

/// How long a socket is read on after a stop: who floods it does not hold the stop.
const DRAIN_WAIT: Duration = Duration::from_secs(2);

/// Settings of a socket.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Receive buffer asked of the kernel (it may give less: `net.core.rmem_max`).
    pub receive_buffer_bytes: usize,
}

impl Config {
    /// Defaults: a buffer that rides out a 50 ms stall at 100 MB/s.
    pub fn on(listen: SocketAddr) -> Self {
        Self { listen, receive_buffer_bytes: 8 << 20 }
    }
}

/// No datagram is longer than this.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// One batch takes at most this many datagrams or bytes, so that other tasks get their turn.
const BATCH: (usize, usize) = (1024, 256 << 10);
/// Senders whose envelopes are kept ready; forged addresses must not fill memory.
const PEERS_MAX: usize = 4096;
/// How often the kernel's drop counter is read.
const DROPS_EVERY: Duration = Duration::from_secs(1);

/// Binds and starts reading.
///
/// # Errors
/// When the address cannot be bound.
pub async fn start(context: Context, config: Config) -> std::io::Result<Running> {
    use socket2::{Domain, Protocol, Socket, Type};
    let raw = Socket::new(Domain::for_address(config.listen), Type::DGRAM, Some(Protocol::UDP))?;
    raw.set_nonblocking(true)?;
    // Best effort: the kernel caps it, and drops are counted either way.
    let _ = raw.set_recv_buffer_size(config.receive_buffer_bytes);
    raw.bind(&config.listen.into())?;
    let socket = UdpSocket::from_std(raw.into())?;
    let running = Running::new("syslog_udp", socket.local_addr()?, context.budget.clone());
    let stop = running.stop.clone();
    running.tasks.spawn(context.clone().tell_open(event::Protocol::SyslogUdp, stop));
    let reader = Reader::new(context, socket);
    running.tasks.spawn(reader.run(running.stop.clone()));
    Ok(running)
}

struct Reader {
    context: Context,
    socket: UdpSocket,
    buffer: Vec<u8>,
    peers: HashMap<IpAddr, Arc<Envelope>>,
    inode: Option<u64>,
    drops: u64,
    drops_read_ns: i64,
}

impl Reader {
    fn new(context: Context, socket: UdpSocket) -> Self {
        let inode = socket_inode(&socket);
        if inode.is_none() {
            tracing::warn!(source = %context.name, "kernel drops of this socket cannot be read");
        }
        let buffer = vec![0; DATAGRAM_BYTES_MAX];
        let (peers, drops_read_ns) = (HashMap::new(), wall_ns());
        Self { context, socket, buffer, peers, inode, drops: 0, drops_read_ns }
    }

    async fn run(mut self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(DROPS_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let stopping = tokio::select! {
                biased;
                () = stop.cancelled() => true,
                _ = tick.tick() => { self.report_drops(&stop).await; continue; }
                ready = self.socket.readable() => { if ready.is_err() { continue } false }
            };
            let late = Instant::now() + DRAIN_WAIT;
            loop {
                let batch = self.read_batch();
                if batch.is_empty() {
                    break;
                }
                let count = batch.records.len() as u64;
                if self.context.submit(batch, &stop, |_| ()).await.is_err() {
                    self.tell(GapCause::Refused, Certainty::Known, count, &stop).await;
                    break;
                }
                if !stopping {
                    break;
                }
                if Instant::now() >= late {
                    self.tell(GapCause::Unread, Certainty::Possible, 0, &stop).await;
                    break;
                }
            }
            if stopping {
                return self.report_drops(&stop).await;
            }
        }
    }

    /// Takes what the kernel has, without waiting.
    fn read_batch(&mut self) -> RawBatch {
        let mut batch = RawBatch::default();
        let mut last: Option<(IpAddr, u32)> = None;
        let mut seen: HashMap<IpAddr, u32> = HashMap::new();
        let now = wall_ns();
        for _ in 0..BATCH.0 {
            let Ok((n, peer)) = self.socket.try_recv_from(&mut self.buffer) else { break };
            let peer = peer.ip().to_canonical();
            let index = match last {
                Some((ip, index)) if ip == peer => index,
                _ => match seen.get(&peer) {
                    Some(index) => *index,
                    None => {
                        let index = u32::try_from(batch.envelopes.len()).unwrap_or(0);
                        batch.envelopes.push(self.envelope(peer));
                        seen.insert(peer, index);
                        index
                    }
                },
            };
            last = Some((peer, index));
            let message = framing::trim(&self.buffer[..n]);
            if !message.is_empty() {
                batch.push_as(event::RecordKind::Data, index, now, message);
            }
            if batch.bytes.len() >= BATCH.1 {
                break;
            }
        }
        batch
    }

    fn envelope(&mut self, peer: IpAddr) -> Arc<Envelope> {
        if let Some(known) = self.peers.get(&peer) {
            return Arc::clone(known);
        }
        if self.peers.len() >= PEERS_MAX {
            self.peers.clear();
        }
        let mut envelope = self.context.envelope(Protocol::SyslogUdp);
        envelope.peer = peer.to_string().into();
        let envelope = Arc::new(envelope);
        self.peers.insert(peer, Arc::clone(&envelope));
        envelope
    }

    /// Journals that datagrams were not taken, or may not have been.
    async fn tell(
        &self,
        cause: GapCause,
        certainty: Certainty,
        count: u64,
        stop: &CancellationToken,
    ) {
        let gap = Gap { count, ..Gap::at(cause, certainty, &self.context.name, wall_ns()) };
        self.journal(gap, stop).await;
    }

    async fn journal(&self, gap: Gap, stop: &CancellationToken) {
        let gap = Gap { protocol: Some(Protocol::SyslogUdp), ..gap };
        let mut batch = RawBatch::of(Arc::new(self.context.envelope(Protocol::SyslogUdp)));
        gap.push_to(&mut batch, 0);
        let _ = self.context.submit(batch, stop, |_| ()).await;
    }

    /// Journals what the kernel dropped since the last look.
    async fn report_drops(&mut self, stop: &CancellationToken) {
        let Some(drops) = self.inode.and_then(kernel_drops) else { return };
        let (count, from_ns, to_ns) =
            (drops.saturating_sub(self.drops), self.drops_read_ns, wall_ns());
        (self.drops, self.drops_read_ns) = (drops, to_ns);
        if count == 0 {
            return;
        }
        SourceStats::add(&self.context.stats.kernel_drops, count);
        let gap = Gap {
            count,
            from_ns,
            ..Gap::at(GapCause::UdpDrop, Certainty::Known, &self.context.name, to_ns)
        };
        self.journal(gap, stop).await;
    }
}

fn socket_inode(socket: &UdpSocket) -> Option<u64> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).ok()?;
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The kernel's drop counter of the socket with this inode.
fn kernel_drops(inode: u64) -> Option<u64> {
    ["/proc/net/udp", "/proc/net/udp6"].iter().find_map(|path| {
        let table = std::fs::read_to_string(path).ok()?;
        drops_in(&table, inode)
    })
}

/// Column 10 is the inode, the last one the drops.
fn drops_in(table: &str, inode: u64) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let found = columns.nth(9)?.parse::<u64>().ok()? == inode;
        found.then(|| columns.last()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_found_by_inode() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n  1: 0100007F:0202 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000 17\n";
        assert_eq!(drops_in(table, 4711), Some(17));
        assert_eq!(drops_in(table, 4712), None);
    }
}
