//! `alcedo certs init`: an authority of one's own and a server certificate.

use super::say;
use crate::cli::Certs;
use crate::exit::Exit;
use crate::exit::{Failure, Outcome};

/// Runs the verb.
pub fn run(verb: &Certs) -> Outcome {
    let Certs::Init { out, host } = verb;
    let failed = |e: io::tls::TlsError| Failure::invalid(e, "check the folder and the names");
    std::fs::create_dir_all(out)?;
    let now_ns = io::intake::wall_ns();
    let authority = io::tls::Authority::new("Alcedo", now_ns).map_err(failed)?;
    let issued = authority.issue(host, io::tls::Purpose::Server, now_ns).map_err(failed)?;
    std::fs::write(out.join("ca.pem"), &authority.cert_pem)?;
    std::fs::write(out.join("cert.pem"), &issued.cert_pem)?;
    io::tls::write_private(&out.join("key.pem"), &issued.key_pem).map_err(failed)?;
    io::tls::write_private(&out.join("ca-key.pem"), &authority.key_pem).map_err(failed)?;
    say(&format!("wrote ca.pem, cert.pem, key.pem and ca-key.pem to {}", out.display()));
    say("senders need ca.pem; keep ca-key.pem off this machine");
    Ok(Exit::Ok)
}
