//! The HTTP listener, plain or TLS, and who agents are.

use super::patience::{Answer, Counted, FIRST_WAIT, Pulse, Upload};
use super::places::CONNECTION_BYTES;
use super::{App, cannot_listen};
use crate::api;
use crate::config::Config;
use crate::exit::Failure;
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use io::SourceStats;
use io::sources::agent::{AgentGrant, Authenticator, Denied};
use io::sources::listener::{Caps, accept};
use io::tls::ServerFiles;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::Service;
use trust::Permission;

/// Requests of one HTTP/2 connection at a time.
const STREAMS_MAX: u32 = 100;
/// A client takes this long at most to read the end of what it was answered, when it is sent away.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// TLS for all listeners, if it is configured.
pub fn tls_config(config: &Config) -> Result<Option<Arc<rustls::ServerConfig>>, Failure> {
    let Some(tls) = &config.tls else { return Ok(None) };
    let files = ServerFiles {
        cert: tls.cert.clone(),
        key: tls.key.clone(),
        client_ca: tls.client_ca.clone(),
    };
    let made = io::tls::server_config(&files);
    made.map(Some).map_err(|e| Failure::invalid(e, "`alcedo certs init` makes a pair"))
}

/// Starts serving; returns the bound address.
pub async fn serve(
    app: Arc<App>,
    caps: Caps,
    stop: CancellationToken,
) -> Result<SocketAddr, Failure> {
    let wanted = app.config.http;
    let listener = TcpListener::bind(wanted).await.map_err(|e| cannot_listen(wanted, &e))?;
    let address = listener.local_addr()?;
    let tls = tls_config(&app.config)?.map(tokio_rustls::TlsAcceptor::from);
    // A proxy stands before many clients; half of the places are left to others.
    let caps = Caps { per_peer: caps.total / 2, ..caps };
    let stats = app.http_stats.clone();
    let (router, ending) = (api::router(app), stop.clone());
    let counts = stats.clone();
    let open = move |stream, peer, place| {
        let (router, tls, stats) = (router.clone(), tls.clone(), counts.clone());
        let stop = ending.clone();
        tokio::spawn(async move {
            connection(stream, peer, router, tls, &stats, stop).await;
            drop(place);
        });
    };
    tokio::spawn(accept(listener, caps, stats, stop, open));
    Ok(address)
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    tls: Option<tokio_rustls::TlsAcceptor>,
    stats: &SourceStats,
    stop: CancellationToken,
) {
    match tls {
        None => requests(TokioIo::new(stream), peer, router, stats, stop).await,
        Some(tls) => match tokio::time::timeout(FIRST_WAIT, tls.accept(stream)).await {
            Ok(Ok(stream)) => requests(TokioIo::new(stream), peer, router, stats, stop).await,
            Ok(Err(_)) | Err(_) => {
                stats.auth_failures.fetch_add(1, Relaxed);
            }
        },
    }
}

async fn requests<S>(
    stream: S,
    peer: SocketAddr,
    router: Router,
    stats: &SourceStats,
    stop: CancellationToken,
) where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let pulse = Pulse::begin();
    let stream = Counted::new(stream, &pulse);
    let asked = pulse.clone();
    let service =
        hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let owed = asked.request();
            let mut request: Request = request.map(|body| axum::body::Body::new(Upload::new(body)));
            request.extensions_mut().insert(ConnectInfo(peer));
            let answering = router.clone().call(request);
            async move {
                let made: Result<Response, Infallible> = answering.await;
                made.map(|answer| answer.map(|body| Answer::new(body, owed)))
            }
        });
    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(FIRST_WAIT);
    builder.http1().max_buf_size(CONNECTION_BYTES);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS_MAX);
    let serving = builder.serve_connection_with_upgrades(stream, service);
    tokio::pin!(serving);
    tokio::select! {
        _ = &mut serving => {}
        () = stop.cancelled() => {}
        () = pulse.stalls() => {
            stats.connections_idle.fetch_add(1, Relaxed);
            serving.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(LAST_WAIT, serving).await;
        }
    }
}

/// Lets agents in: by a token that may write to the source.
pub struct AgentGate {
    /// The server.
    pub app: Arc<App>,
    /// The agents' source.
    pub source: String,
}

impl Authenticator for AgentGate {
    fn agent(&self, token: &str, peer: IpAddr) -> Result<AgentGrant, Denied> {
        let denied = |reason: &str| Denied { reason: reason.to_owned() };
        let principal = self
            .app
            .principal_of_token(token, Some(peer))
            .map_err(|_| denied(trust::AuthError::PUBLIC))?;
        if !principal.may(Permission::EventsWrite) || !principal.may_write(&self.source) {
            return Err(denied("the token may not write to the agents' source"));
        }
        let (source, identity) = (self.source.as_str().into(), principal.identity.as_str().into());
        Ok(AgentGrant { source, identity })
    }
}
