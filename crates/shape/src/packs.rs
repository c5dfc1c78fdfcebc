//! The table of products. Adding one = a folder under `packs/` and a line in [`ALL`].

use crate::routes::Routes;
use crate::spec::{self, Patterns, Spec};
use event::DictionaryBuilder;
use std::path::Path;

/// Largest pack.yaml or routes.tsv that is read: ours have under 40 KB.
const PACK_FILE_BYTES_MAX: u64 = 1 << 20;
/// Most packs in one set, a guard against pointing the setting at a wrong folder.
const PACKS_MAX: usize = 1_024;

/// The text of one pack, embedded.
pub struct PackFiles {
    /// Folder name.
    pub name: &'static str,
    /// pack.yaml.
    pub spec: &'static str,
    /// routes.tsv, or empty.
    pub routes: &'static str,
}

macro_rules! pack {
    ($name:literal) => {
        pack!($name, "")
    };
    ($name:literal, routes) => {
        pack!($name, include_str!(concat!("../../../packs/", $name, "/routes.tsv")))
    };
    ($name:literal, $routes:expr) => {
        PackFiles {
            name: $name,
            spec: include_str!(concat!("../../../packs/", $name, "/pack.yaml")),
            routes: $routes,
        }
    };
}

/// Every built-in pack, in the order in which products are looked for.
pub const ALL: &[PackFiles] = &[
    pack!("alcedo"),
    pack!("windows", routes),
    pack!("aws-cloudtrail"),
    pack!("cisco-asa"),
    pack!("cisco-ios"),
    pack!("cisco-ise"),
    pack!("cisco-meraki"),
    pack!("cisco-esa"),
    pack!("squid"),
    pack!("paloalto-panos"),
    pack!("fortinet-fortigate"),
    pack!("checkpoint"),
    pack!("f5-bigip"),
    pack!("juniper-srx"),
    pack!("juniper-netscreen"),
    pack!("pfsense"),
    pack!("sonicwall"),
    pack!("sophos"),
    pack!("watchguard"),
    pack!("barracuda"),
    pack!("citrix-netscaler"),
    pack!("zscaler"),
    pack!("haproxy"),
    pack!("dns-servers"),
    pack!("isc-dhcp"),
    pack!("infoblox"),
    pack!("openvpn"),
    pack!("snort"),
    pack!("vmware-esxi"),
    pack!("vmware-appcontrol"),
    pack!("symantec-ep"),
    pack!("symantec-dlp"),
    pack!("symantec-smg"),
    pack!("symantec-proxysg"),
    pack!("trellix-epo"),
    pack!("trellix-nsp"),
    pack!("aruba-os"),
    pack!("aruba-clearpass"),
    pack!("aruba-silverpeak"),
    pack!("ubiquiti-unifi"),
    pack!("forcepoint-web"),
    pack!("kaspersky-es"),
    pack!("mikrotik"),
    pack!("pulse-secure"),
    pack!("proofpoint-pps"),
    pack!("ossec"),
    pack!("rsa-securid"),
    pack!("dell-idrac"),
    pack!("dell-networking"),
    pack!("hpe-procurve"),
    pack!("hpe-ilo"),
    pack!("brocade"),
    pack!("tenable"),
    pack!("nutanix"),
    pack!("netapp-ontap"),
    pack!("a10"),
    pack!("alcatel-omniswitch"),
    pack!("avaya-sipmgr"),
    pack!("avi"),
    pack!("beyondtrust-sra"),
    pack!("broadcom-layer7"),
    pack!("symantec-sslva"),
    pack!("cisco-hyperflex"),
    pack!("cisco-collaboration"),
    pack!("cisco-dnac"),
    pack!("clearswift"),
    pack!("cohesity"),
    pack!("cylance"),
    pack!("darktrace"),
    pack!("dell-avamar"),
    pack!("dell-powerstore"),
    pack!("epic-ehr"),
    pack!("fireeye"),
    pack!("ibm-datapower"),
    pack!("netmotion"),
    pack!("polycom-rprm"),
    pack!("qumulo"),
    pack!("radware"),
    pack!("raritan"),
    pack!("ricoh-mfp"),
    pack!("riverbed"),
    pack!("ruckus"),
    pack!("apc"),
    pack!("secureauth"),
    pack!("semperis-dsp"),
    pack!("solace"),
    pack!("spectracom"),
    pack!("stealthbits"),
    pack!("tintri"),
    pack!("vectra"),
    pack!("veeam"),
    pack!("splunk"),
    pack!("syslog-ng-loggen"),
    pack!("apache-error"),
    pack!("tomcat"),
    pack!("mongodb"),
    pack!("redis"),
    pack!("rails"),
    pack!("exim"),
    pack!("aws-elb"),
    pack!("aws-s3access"),
    pack!("aws-cloudfront"),
    pack!("bacula"),
    pack!("ruby-logger"),
    pack!("zeek-lines"),
    pack!("linux-auth"),
    pack!("cron"),
    pack!("iptables"),
    pack!("auditd"),
    pack!("cef"),
    pack!("leef"),
    pack!("web-access"),
    pack!("json"),
    pack!("kv"),
    pack!("syslog"),
    pack!("text"),
];

/// What is wrong with a pack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message} ({hint})")]
pub struct PackError {
    /// File.
    pub file: String,
    /// Line from 1; 0 when it is not known.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// What there is to say about a pack in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackInfo {
    /// Name.
    pub name: String,
    /// Title for people.
    pub title: String,
    /// Where the format is specified.
    pub format: Vec<String>,
    /// Logsources that its events may have.
    pub logsources: Vec<String>,
    /// Number of Sigma names it answers.
    pub sigma_names: usize,
}

pub(crate) struct Pack {
    pub(crate) spec: Spec,
    pub(crate) routes: Routes,
}

/// The packs of one generation.
pub struct PackSet {
    pub(crate) packs: Vec<Pack>,
}

impl PackSet {
    /// The packs that come with Alcedo. Errors: a built-in pack is wrong (a test keeps that from
    /// being released).
    pub fn builtin() -> Result<Self, PackError> {
        let packs = ALL.iter().map(|f| pack(f.name, f.spec, f.routes, Patterns::Trusted));
        Ok(Self { packs: packs.collect::<Result<_, _>>()? })
    }

    /// As [`PackSet::builtin`], trying every pattern: for the test that keeps wrong ones out.
    pub fn builtin_tried() -> Result<Self, PackError> {
        let packs = ALL.iter().map(|f| pack(f.name, f.spec, f.routes, Patterns::Tried));
        Ok(Self { packs: packs.collect::<Result<_, _>>()? })
    }

    /// The built-in packs and those of `dir` (one folder each), which are looked at first; one with
    /// a built-in name replaces it.
    pub fn load(dir: &Path) -> Result<Self, PackError> {
        let mut set = Self::builtin()?;
        let unreadable = |path: &Path, error: &dyn std::fmt::Display| PackError {
            file: path.display().to_string(),
            line: 0,
            message: format!("cannot be read: {error}"),
            hint: "check the path and its permissions".into(),
        };
        let entries = std::fs::read_dir(dir).map_err(|e| unreadable(dir, &e))?;
        let mut folders: Vec<_> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
        folders.retain(|p| p.join("pack.yaml").is_file());
        folders.sort();
        folders.truncate(PACKS_MAX);
        let mut own = Vec::new();
        for folder in folders {
            let read = |name: &str| -> Result<String, PackError> {
                let path = folder.join(name);
                let size = std::fs::metadata(&path).map_err(|e| unreadable(&path, &e))?.len();
                if size > PACK_FILE_BYTES_MAX {
                    let error = format!("larger than {PACK_FILE_BYTES_MAX} bytes");
                    return Err(unreadable(&path, &error));
                }
                std::fs::read_to_string(&path).map_err(|e| unreadable(&path, &e))
            };
            let routes = folder.join("routes.tsv").is_file();
            let routes = if routes { read("routes.tsv")? } else { String::new() };
            let path = folder.display().to_string();
            let loaded = pack(&path, &read("pack.yaml")?, &routes, Patterns::Tried)?;
            set.packs.retain(|p| p.spec.pack != loaded.spec.pack);
            own.push(loaded);
        }
        own.append(&mut set.packs);
        Ok(Self { packs: own })
    }

    /// Adds to `names` what the packs write: their own fields with types, the ECS fields they map
    /// to, and the Sigma names with the fields that answer to them.
    pub fn register(&self, names: &mut DictionaryBuilder) {
        crate::shaper::register(names);
        crate::tables::register(names);
        for Pack { spec, routes } in &self.packs {
            for (name, kind) in &spec.fields {
                if let Some(kind) = spec::field_type(kind) {
                    names.field_of(&spec.full(name), kind);
                }
            }
            for name in spec.time.iter().flat_map(|t| crate::ops::time_names(t)) {
                names.field(&spec.full(&name));
            }
            for name in &spec.known {
                if !spec.prefix.is_empty() {
                    names.field(&format!("{}.{name}", spec.prefix));
                }
                for form in &spec.shapes {
                    if !form.rest.is_empty() {
                        names.field(name);
                    }
                    let below = format!("{}.", spec.prefix);
                    let moves = form.moves.iter().filter(|m| m.1 == below && !m.0.contains('*'));
                    for (from, _) in moves {
                        names.field(&format!("{from}{name}"));
                    }
                }
            }
            for form in &spec.shapes {
                let exact = form.names.iter().flat_map(|(a, b)| [a, b]);
                for name in exact.chain(&form.all).chain(&form.any) {
                    names.field(&spec.full(name));
                }
            }
            for step in &spec.steps {
                for name in crate::ops::names(step, spec) {
                    names.field(&spec.full(&name));
                }
            }
            routes.register(names);
            for (name, fields) in &spec.sigma {
                for field in fields.texts() {
                    names.alias(name, &spec.full(&field));
                }
            }
        }
    }

    /// Adds the answers to a name that a rule mentions: below the prefixes of every product, for
    /// names that no pack lists. Call it for each field of each live rule after
    /// [`PackSet::register`]; unknown names stay answered by themselves.
    pub fn register_rule_field(&self, names: &mut DictionaryBuilder, name: &str) {
        for Pack { spec, .. } in &self.packs {
            for prefix in &spec.sigma_prefixes {
                names.alias(name, &format!("{prefix}{name}"));
            }
        }
    }

    /// What the packs are, in the order in which they are looked at.
    pub fn list(&self) -> Vec<PackInfo> {
        let info = |Pack { spec, routes }: &Pack| {
            let steps = spec.steps.iter().flat_map(|s| s.logsource.clone());
            let mut logsources: Vec<_> =
                spec.logsource.iter().cloned().chain(steps).chain(routes.logsources()).collect();
            logsources.sort();
            logsources.dedup();
            PackInfo {
                name: spec.pack.clone(),
                title: spec.title.clone(),
                format: spec.format.clone(),
                logsources,
                sigma_names: spec.sigma.len(),
            }
        };
        self.packs.iter().map(info).collect()
    }
}

fn pack(file: &str, spec: &str, routes: &str, patterns: Patterns) -> Result<Pack, PackError> {
    let spec = Spec::parse(&format!("{file}/pack.yaml"), spec, patterns)?;
    if spec.routes == routes.is_empty() {
        return Err(PackError {
            file: format!("{file}/pack.yaml"),
            line: 0,
            message: "`routes` and routes.tsv do not agree".into(),
            hint: "`routes: true` goes with a routes.tsv beside pack.yaml".into(),
        });
    }
    let routes = Routes::parse(&format!("{file}/routes.tsv"), routes)?;
    Ok(Pack { spec, routes })
}
