//! What is told of trouble with brokers: librdkafka's words, and which setting of ours they are about.

/// Words of librdkafka and OpenSSL that are there together, and where to look then. The first that fits.
const HINTS: &[(&[&str], &str)] = &[
    (
        &["certificate verify failed"],
        "look whether `tls: {ca: ...}` has its authority, and its certificate the name that it is reached by",
    ),
    (&[" alert ", "certificate"], CERTIFICATE),
    (&[" alert ", "unknown ca"], CERTIFICATE),
    (&[" alert ", "handshake failure"], CERTIFICATE),
    (&["ssl://", "Disconnected", "in state APIVERSION_QUERY"], CERTIFICATE),
    (&["Disconnected", "in state APIVERSION_QUERY"], TLS),
    (&["connecting to a PLAINTEXT broker listener?"], NO_TLS),
    (&["timed out in state SSL_HANDSHAKE"], NO_TLS),
    (&["might require SASL"], "it may want a login: `sasl: {mechanism, user, password_file}`"),
    (&["SASL authentication error"], "`sasl` is read when the server starts"),
];
const CERTIFICATE: &str =
    "it may not take our certificate, or want one: `tls: {cert: ..., key: ...}`";
const TLS: &str = "it may want TLS: `tls: true`";
const NO_TLS: &str = "it may speak no TLS at this port";

/// librdkafka's words with a hint. That no broker is there comes without why: `cause` is then what its log
/// had last.
pub(crate) fn told(reason: &str, cause: &str) -> String {
    let text = if cause.is_empty() { reason.to_owned() } else { format!("{reason}: {cause}") };
    let fits = |words: &&[&str]| words.iter().all(|word| text.contains(word));
    match HINTS.iter().find(|(words, _)| fits(words)) {
        Some((_, hint)) => format!("{text}; {hint}"),
        None => text,
    }
}

/// Whether one side does not take the other's certificate. That has no code of its own where it comes with the
/// broker's first answer, as it does in TLS 1.3.
pub(crate) fn is_refused_certificate(reason: &str) -> bool {
    let words = ["certificate verify failed", " alert "];
    reason.contains("SSL routines") && words.iter().any(|word| reason.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What librdkafka said, and what the hint is about.
    const SAID: &[(&str, &str, bool)] = &[
        (
            "ssl://k1:9093/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate \
             verify failed: broker certificate could not be verified, verify that ssl.ca.location is \
             correctly configured (after 10ms in state SSL_HANDSHAKE)",
            "`tls: {ca: ...}`",
            true,
        ),
        (
            "ssl://k1:9093/bootstrap: Receive failed: error:0A00045C:SSL routines::tlsv13 alert \
             certificate required: SSL alert number 116 (after 3ms in state APIVERSION_QUERY)",
            "`tls: {cert: ..., key: ...}`",
            true,
        ),
        (
            "k1:9093/bootstrap: Disconnected: requesting ApiVersion: might be caused by incorrect \
             security.protocol configuration (connecting to a SSL listener?) or broker version is \
             < 0.10 (after 3ms in state APIVERSION_QUERY)",
            "`tls: true`",
            false,
        ),
        (
            "ssl://k1:9093/bootstrap: Disconnected: connection reset by peer (after 3ms in state \
             APIVERSION_QUERY)",
            "`tls: {cert: ..., key: ...}`",
            false,
        ),
        (
            "ssl://k1:9092/bootstrap: Connection setup timed out in state SSL_HANDSHAKE",
            "no TLS",
            false,
        ),
        (
            "k1:9092/bootstrap: Disconnected: verify that security.protocol is correctly configured, \
             broker might require SASL authentication",
            "a login",
            false,
        ),
        (
            "sasl_ssl://k1:9093/bootstrap: SASL authentication error: Authentication failed",
            "when the server starts",
            false,
        ),
    ];

    #[test]
    fn a_hint_names_the_setting_that_words_are_about() {
        for (said, hint, is_refused) in SAID {
            let alone = told(said, "");
            assert!(alone.starts_with(said) && alone[said.len()..].contains(hint), "{alone}");
            assert_eq!(is_refused_certificate(said), *is_refused, "{said}");
            let down = told("1/1 brokers are down", said);
            assert!(down.starts_with("1/1 brokers are down: ") && down.contains(hint), "{down}");
        }
        assert_eq!(told("1/1 brokers are down", ""), "1/1 brokers are down");
        let closed = "error:0A000126:SSL routines::unexpected eof while reading";
        assert!(!is_refused_certificate(closed) && told(closed, "") == closed);
    }
}
