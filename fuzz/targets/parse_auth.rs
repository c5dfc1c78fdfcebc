//! Any bytes as a message about a log-in.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for program in ["sshd", "sudo", "su", "CRON", "systemd-logind", "useradd", "login"] {
        let _ = parse::auth::parse(program.as_bytes(), bytes);
    }
});
