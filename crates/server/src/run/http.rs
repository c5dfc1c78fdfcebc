//! The HTTP listener, plain or TLS, and who agents are.

use super::{App, cannot_listen};
use crate::api;
use crate::config::Config;
use crate::exit::Failure;
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use io::sources::agent::{AgentGrant, Authenticator, Denied};
use io::tls::ServerFiles;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::Service;
use trust::Permission;

/// Connections open at a time; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 4_096;
/// A client has this long to send its request's head, and to finish a TLS handshake.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

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
pub async fn serve(app: Arc<App>, stop: CancellationToken) -> Result<SocketAddr, Failure> {
    let wanted = app.config.http;
    let listener = TcpListener::bind(wanted).await.map_err(|e| cannot_listen(wanted, &e))?;
    let address = listener.local_addr()?;
    let tls = tls_config(&app.config)?.map(tokio_rustls::TlsAcceptor::from);
    let router = api::router(app);
    tokio::spawn(async move {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = room.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            let Ok((stream, peer)) = accepted else {
                // Out of descriptors: let some connections end.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let (router, tls, stop) = (router.clone(), tls.clone(), stop.clone());
            tokio::spawn(async move {
                connection(stream, peer, router, tls, stop).await;
                drop(permit);
            });
        }
    });
    Ok(address)
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    tls: Option<tokio_rustls::TlsAcceptor>,
    stop: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    match tls {
        None => requests(TokioIo::new(stream), peer, router, stop).await,
        Some(tls) => {
            let handshake = tokio::time::timeout(HEAD_TIMEOUT, tls.accept(stream)).await;
            if let Ok(Ok(stream)) = handshake {
                requests(TokioIo::new(stream), peer, router, stop).await;
            }
        }
    }
}

async fn requests<S>(stream: S, peer: SocketAddr, router: Router, stop: CancellationToken)
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let service =
        hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let mut request: Request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().call(request)
        });
    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.http2().timer(TokioTimer::new());
    let serving = builder.serve_connection_with_upgrades(stream, service);
    tokio::pin!(serving);
    tokio::select! {
        _ = &mut serving => {}
        () = stop.cancelled() => {}
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
