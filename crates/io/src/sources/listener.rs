//! Accepting TCP connections under caps: in all and per peer address.

use crate::intake::Context;
use crate::running::Running;
use crate::stats::SourceStats;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Numbers connections within this process run; 0 means none.
static CONNECTION: AtomicU64 = AtomicU64::new(1);

/// Caps of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// Open connections in all.
    pub total: usize,
    /// Open connections of one peer address.
    pub per_peer: usize,
}

impl Default for Caps {
    fn default() -> Self {
        // Thousands of devices, and room for a relay that opens one connection per worker.
        Self { total: 4096, per_peer: 256 }
    }
}

/// Open connections, shared by the accept loop and the connections' own tasks.
#[derive(Default)]
struct Open {
    by_peer: parking_lot::Mutex<HashMap<IpAddr, usize>>,
}

/// An open connection's place under the caps; dropping it frees the place.
pub struct Place {
    open: Arc<Open>,
    stats: Arc<SourceStats>,
    peer: IpAddr,
    pub(super) number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_peer = self.open.by_peer.lock();
        if let Some(n) = by_peer.get_mut(&self.peer) {
            *n -= 1;
            if *n == 0 {
                by_peer.remove(&self.peer);
            }
        }
        self.stats.connections.fetch_sub(1, Relaxed);
    }
}

impl Open {
    fn place(
        self: &Arc<Self>,
        peer: IpAddr,
        caps: Caps,
        stats: &Arc<SourceStats>,
    ) -> Option<Place> {
        let mut by_peer = self.by_peer.lock();
        let total: usize = usize::try_from(stats.connections.load(Relaxed)).unwrap_or(usize::MAX);
        let own = by_peer.get(&peer).copied().unwrap_or(0);
        if total >= caps.total || own >= caps.per_peer {
            SourceStats::add(&stats.connections_refused, 1);
            return None;
        }
        by_peer.insert(peer, own + 1);
        SourceStats::add(&stats.connections, 1);
        SourceStats::add(&stats.connections_total, 1);
        let (open, stats) = (Arc::clone(self), Arc::clone(stats));
        Some(Place { open, stats, peer, number: CONNECTION.fetch_add(1, Relaxed) })
    }
}

/// Binds `address` and serves each connection that fits under the caps in a task of its own, which
/// is given the peer's address and told when to stop.
pub(super) async fn start<F: Future<Output = ()> + Send + 'static>(
    kind: &'static str,
    address: SocketAddr,
    caps: Caps,
    context: &Context,
    mut serve: impl FnMut(TcpStream, IpAddr, Place, CancellationToken) -> F + Send + 'static,
) -> std::io::Result<Running> {
    let listener = TcpListener::bind(address).await?;
    let running = Running::new(kind, listener.local_addr()?, context.budget.clone());
    let (tasks, stop) = (running.tasks.clone(), running.stop.clone());
    let spawn = move |stream, peer: SocketAddr, place| {
        tasks.spawn(serve(stream, peer.ip().to_canonical(), place, stop.clone()));
    };
    let stats = Arc::clone(&context.stats);
    running.tasks.spawn(accept(listener, caps, stats, running.stop.clone(), spawn));
    Ok(running)
}

/// After a stop, connections that the kernel took in our name are accepted, too: their senders may have sent
/// already. They come at once; this is for the reactor's turn.
const LAST_WAIT: Duration = Duration::from_millis(10);
/// As many as a kernel holds for a listener: who goes on connecting does not hold a stop.
const LAST_CONNECTIONS_MAX: usize = 1024;
/// For all of them together: who connects again and again, each time within the wait for one, does not either.
const LAST_WAIT_IN_ALL: Duration = Duration::from_millis(200);

/// Accepts until `stop`, and what the kernel holds then, giving each connection that fits under the caps to
/// `serve`.
pub async fn accept(
    listener: TcpListener,
    caps: Caps,
    stats: Arc<SourceStats>,
    stop: CancellationToken,
    mut serve: impl FnMut(TcpStream, SocketAddr, Place),
) {
    let open = Arc::new(Open::default());
    let mut admit = |(stream, peer): (TcpStream, SocketAddr)| {
        if let Some(place) = open.place(peer.ip().to_canonical(), caps, &stats) {
            let _ = stream.set_nodelay(true);
            serve(stream, peer, place);
        }
    };
    loop {
        // The stop first: a connection that is ready behind it is one of the last, which are counted.
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => admit(accepted),
            Err(error) => {
                // Out of descriptors, mostly: waiting lets connections close.
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    let _ = timeout(LAST_WAIT_IN_ALL, accept_last(&listener, admit)).await;
}

/// Accepts what comes at once.
async fn accept_last(listener: &TcpListener, mut admit: impl FnMut((TcpStream, SocketAddr))) {
    for _ in 0..LAST_CONNECTIONS_MAX {
        let Ok(Ok(accepted)) = timeout(LAST_WAIT, listener.accept()).await else { return };
        admit(accepted);
    }
}
