//! Names of logsources that the specification's taxonomy and SigmaHQ's rules use, to tell an author of one that
//! is nearly one of them: a rule of `windwos` is in force, and no event is ever of it.

use crate::sigma::rule::LogSource;

/// Shortest name of which a slip is told, letters: shorter ones are near too many.
const LETTERS_MIN: usize = 5;
/// Most letters in which a slip differs.
const SLIP_LETTERS_MAX: usize = 2;

/// What is odd in a logsource: the key, the reason, and what to do.
pub(super) fn odd(logsource: &LogSource) -> Vec<(&'static str, String, String)> {
    let keys = [("product", PRODUCTS), ("category", CATEGORIES), ("service", SERVICES)];
    let each = keys.into_iter().zip(logsource.parts());
    each.filter_map(|((key, own), word)| {
        let word = word?.to_ascii_lowercase();
        if own.contains(&word.as_str()) {
            return None;
        }
        let is_other = |kind: &str, names: &[&str]| key != kind && names.contains(&word.as_str());
        let kind = match () {
            () if is_other("category", CATEGORIES) => Some("category"),
            () if key == "category" && is_other("service", SERVICES) => Some("service"),
            () => None,
        };
        if let Some(kind) = kind {
            let reason = format!("`{word}` is known as a {kind}, not as a {key}");
            return Some((key, reason, format!("write `{kind}: {word}` if that is meant")));
        }
        let near = (word.chars().count() >= LETTERS_MIN)
            .then(|| event::text::nearest_within(&word, own.iter().copied(), SLIP_LETTERS_MAX))??;
        let reason = format!("no usual {key} is called `{word}`");
        Some((key, reason, format!("did you mean `{near}`?")))
    })
    .collect()
}

#[rustfmt::skip]
const PRODUCTS: &[&str] = &[
    "apache", "aws", "azure", "bitbucket", "cisco", "django", "dns", "fortigate",
    "fortios", "gcp", "github", "gitlab", "huawei", "juniper", "jvm", "kubernetes", "linux",
    "m365", "macos", "modsecurity", "nodejs", "okta", "onelogin", "opencanary", "paloalto",
    "python", "qualys", "rpc_firewall", "ruby_on_rails", "spring", "sql", "velocity", "windows",
    "zeek",
];

#[rustfmt::skip]
const CATEGORIES: &[&str] = &[
    "antivirus", "appliance", "application", "clipboard_capture", "create_remote_thread",
    "create_stream_hash", "database", "dns", "dns_query", "driver_load", "file_access",
    "file_block_executable", "file_block_shredding", "file_change", "file_delete",
    "file_delete_detected", "file_event", "file_executable_detected", "file_rename", "firewall",
    "image_load", "network_connection", "pipe_created", "process_access", "process_creation",
    "process_tampering", "process_termination", "proxy", "ps_classic_provider_start",
    "ps_classic_script", "ps_classic_start", "ps_module", "ps_script", "raw_access_thread",
    "registry_add", "registry_delete", "registry_event", "registry_rename", "registry_set",
    "sysmon_error", "sysmon_status", "webserver", "wmi_event",
];

#[rustfmt::skip]
const SERVICES: &[&str] = &[
    "aaa", "activitylogs", "apache", "application", "application-experience", "applocker",
    "appmodel-runtime", "appxdeployment-server", "appxpackaging-om", "audit", "auditd",
    "auditlogs", "auth", "bgp", "bitlocker", "bits-client", "capi2",
    "certificateservicesclient-lifecycle-system", "clamav", "cloudtrail",
    "codeintegrity-operational", "cron", "dce_rpc", "dhcp", "diagnosis-scripted", "dns",
    "dns-client", "dns-server", "dns-server-analytic", "dns-server-audit", "driver-framework",
    "duo", "event", "exchange", "firewall-as", "gcp.audit", "globalprotect",
    "google_workspace.admin", "google_workspace.login", "guacamole", "http", "hyper-v-worker",
    "iis-configuration", "kerberos", "kernel-event-tracing", "kernel-shimengine", "ldap", "ldp",
    "lsa-server", "microsoft-servicebus-client", "msexchange-management", "netflow", "nginx",
    "ntfs", "ntlm", "okta", "onelogin.events", "openssh", "pim", "powershell",
    "powershell-classic", "printservice-admin", "printservice-operational", "rdp",
    "riskdetection", "security", "security-mitigations", "sense",
    "shell-core", "signinlogs", "smb_files", "smbclient-connectivity", "smbclient-security",
    "smbserver-connectivity", "sshd", "sslvpnd", "sudo", "syslog", "sysmon", "system",
    "taskscheduler", "terminalservices-localsessionmanager", "threat_detection",
    "threat_management", "vhdmp", "vsftpd", "windefend", "wmi", "x509",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_order_once() {
        for names in [PRODUCTS, CATEGORIES, SERVICES] {
            assert!(names.is_sorted_by(|a, b| a < b));
        }
    }
}
