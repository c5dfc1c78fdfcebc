//! The table of products. Adding one = a folder under `packs/` and a line in [`ALL`].

use crate::routes::Routes;
use crate::script::{self, Script, ScriptCompiler};
use crate::spec::{self, Patterns, Spec, StepSpec};
use event::DictionaryBuilder;
use std::path::Path;
use std::sync::Arc;

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
    pack!("sysmon-linux", routes),
    pack!("windows", routes),
    pack!("windows-nps"),
    pack!("windows-dns"),
    pack!("windows-dhcp"),
    pack!("exchange-tracking"),
    pack!("silketw"),
    pack!("aws-cloudtrail"),
    pack!("cisco-asa"),
    pack!("cisco-ios"),
    pack!("cisco-ise"),
    pack!("cisco-meraki"),
    pack!("cisco-esa"),
    pack!("cisco-umbrella"),
    pack!("squid"),
    pack!("paloalto-panos"),
    pack!("fortinet-fortigate"),
    pack!("checkpoint"),
    pack!("f5-bigip"),
    pack!("juniper-srx"),
    pack!("juniper-netscreen"),
    pack!("huawei"),
    pack!("pfsense"),
    pack!("sonicwall"),
    pack!("sophos"),
    pack!("watchguard"),
    pack!("stormshield"),
    pack!("untangle"),
    pack!("barracuda"),
    pack!("citrix-netscaler"),
    pack!("zscaler"),
    pack!("netskope"),
    pack!("haproxy"),
    pack!("powerdns"),
    pack!("infoblox"),
    pack!("dns-servers"),
    pack!("isc-dhcp"),
    pack!("openvpn"),
    pack!("strongswan"),
    pack!("wireguard"),
    pack!("freeradius"),
    pack!("snort"),
    pack!("vmware-esxi"),
    pack!("vmware-appcontrol"),
    pack!("symantec-ep"),
    pack!("symantec-dlp"),
    pack!("symantec-smg"),
    pack!("symantec-proxysg"),
    pack!("trellix-epo"),
    pack!("trellix-epo-cloud"),
    pack!("trellix-nsp"),
    pack!("aruba-os"),
    pack!("aruba-clearpass"),
    pack!("aruba-silverpeak"),
    pack!("ubiquiti-unifi"),
    pack!("forcepoint-web"),
    pack!("forcepoint-smc"),
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
    pack!("apache-ssl-request"),
    pack!("tomcat"),
    pack!("mongodb"),
    pack!("redis"),
    pack!("rails"),
    pack!("exim"),
    pack!("aws-elb"),
    pack!("aws-apigateway"),
    pack!("aws-s3access"),
    pack!("aws-cloudfront"),
    pack!("bacula"),
    pack!("ruby-logger"),
    pack!("zeek-lines"),
    pack!("linux-auth"),
    pack!("proftpd"),
    pack!("mail-servers"),
    pack!("fail2ban"),
    pack!("cron"),
    pack!("iptables"),
    pack!("auditd"),
    pack!("cef"),
    pack!("leef"),
    pack!("jumpcloud"),
    pack!("suricata"),
    pack!("kubernetes-audit"),
    pack!("okta"),
    pack!("ping-one"),
    pack!("microsoft-defender"),
    pack!("gcp-audit"),
    pack!("azure-aks"),
    pack!("azure"),
    pack!("m365"),
    pack!("google-workspace"),
    pack!("aws-guardduty"),
    pack!("aws-securityhub"),
    pack!("aws-waf"),
    pack!("aws-route53-resolver"),
    pack!("aws-vpcflow"),
    pack!("aws-eventbridge"),
    pack!("gcp-log"),
    pack!("crowdstrike-fdr"),
    pack!("cloudflare"),
    pack!("sentinelone"),
    pack!("trend-vision-one"),
    pack!("carbonblack"),
    pack!("duo"),
    pack!("tenable-audit"),
    pack!("1password"),
    pack!("bitwarden"),
    pack!("lastpass"),
    pack!("onelogin"),
    pack!("hashicorp-vault"),
    pack!("hashicorp-log"),
    pack!("auth0"),
    pack!("keycloak"),
    pack!("slack-audit"),
    pack!("salesforce"),
    pack!("snowflake"),
    pack!("zoom"),
    pack!("box"),
    pack!("atlassian"),
    pack!("gitlab"),
    pack!("teleport"),
    pack!("opencanary"),
    pack!("openldap"),
    pack!("databricks-audit"),
    pack!("asana"),
    pack!("wiz-audit"),
    pack!("snyk-audit"),
    pack!("notion"),
    pack!("mongodb-atlas"),
    pack!("tines"),
    pack!("tailscale"),
    pack!("openai-audit"),
    pack!("anthropic-audit"),
    pack!("zendesk"),
    pack!("carbonblack-audit"),
    pack!("proofpoint-tap"),
    pack!("github-audit"),
    pack!("github-webhook"),
    pack!("docker"),
    pack!("journald"),
    pack!("macos"),
    pack!("eslogger"),
    pack!("mongodb-json"),
    pack!("postgresql"),
    pack!("mysql"),
    pack!("mssql"),
    pack!("oracle-audit"),
    pack!("osquery"),
    pack!("falco"),
    pack!("kubernetes-components"),
    pack!("wazuh"),
    pack!("modsecurity"),
    pack!("web-json"),
    pack!("envoy"),
    pack!("nginx-error"),
    pack!("zeek"),
    pack!("iis"),
    pack!("iis-native"),
    pack!("web-access"),
    pack!("splunk-hec"),
    pack!("otlp"),
    pack!("shipper"),
    pack!("kernel"),
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
    /// The compiled program of each step that has one.
    pub(crate) scripts: Vec<Option<Arc<dyn Script>>>,
    /// Every logsource that its events may have, sorted.
    logsources: Vec<String>,
    /// It is the installation's own: asked before all that come with Alcedo.
    pub(crate) is_own: bool,
}

/// The packs of one generation.
pub struct PackSet {
    pub(crate) packs: Vec<Pack>,
    left_out: Vec<PackError>,
}

impl PackSet {
    /// The packs that come with Alcedo. Errors: a built-in pack is wrong (a test keeps that from
    /// being released).
    pub fn builtin() -> Result<Self, PackError> {
        Self::builtin_with(Patterns::Trusted)
    }

    /// As [`PackSet::builtin`], trying every pattern: for the test that keeps wrong ones out.
    pub fn builtin_tried() -> Result<Self, PackError> {
        Self::builtin_with(Patterns::Tried)
    }

    fn builtin_with(patterns: Patterns) -> Result<Self, PackError> {
        let packs = ALL.iter().map(|f| pack(f.name, f.spec, f.routes, patterns, None));
        Ok(Self { packs: packs.collect::<Result<_, _>>()?, left_out: Vec::new() })
    }

    /// The built-in packs and those of `dir` (one folder each), which are looked at first; one with
    /// a built-in name replaces it. Packs with `vrl` steps are [left out](PackSet::left_out).
    pub fn load(dir: &Path) -> Result<Self, PackError> {
        Self::load_with(dir, None)
    }

    /// As [`PackSet::load`], with what compiles `vrl` steps, if this build has it.
    pub fn load_with(dir: &Path, scripts: Option<&dyn ScriptCompiler>) -> Result<Self, PackError> {
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
        let (mut own, mut rivals) = (Vec::new(), Vec::new());
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
            let text = read("pack.yaml")?;
            let loaded = pack(&path, &text, &routes, Patterns::Tried, scripts)?;
            if scripts.is_none()
                && let Some(step) = loaded.spec.steps.iter().find(|s| !s.vrl.is_empty())
            {
                set.left_out.push(needs_vrl(&path, script::first_line(&text, &step.vrl)));
                continue;
            }
            set.packs.retain(|p| p.spec.pack != loaded.spec.pack);
            for name in &loaded.spec.recognise.unless {
                rivals.push((name.clone(), path.clone(), crate::spec::line_of(&text, name)));
            }
            own.push(Pack { is_own: true, ..loaded });
        }
        own.append(&mut set.packs);
        let is_pack = |name: &String| own.iter().any(|pack| pack.spec.pack == *name);
        if let Some((name, file, line)) = rivals.into_iter().find(|rival| !is_pack(&rival.0)) {
            let message = format!("no pack `{name}`");
            let hint = "`unless` names packs; `alcedo packs list` shows them".into();
            return Err(PackError { file, line, message, hint });
        }
        Ok(Self { packs: own, ..set })
    }

    /// Packs that this build cannot run, each with the step that it lacks a language for. All others
    /// are loaded; where one of these has a built-in pack's name, that pack stays.
    pub fn left_out(&self) -> &[PackError] {
        &self.left_out
    }

    /// Adds to `names` what the packs write: their own fields with types, the ECS fields they map
    /// to, and the Sigma names with the fields that answer to them.
    pub fn register(&self, names: &mut DictionaryBuilder) {
        crate::shaper::register(names);
        crate::tables::register(names);
        crate::redact::register(names);
        for Pack { spec, routes, scripts, logsources, .. } in &self.packs {
            let products = logsources.iter().filter_map(|l| l.split('/').next());
            products.filter(|p| !matches!(*p, "" | "*")).for_each(|p| names.product(p));
            for name in scripts.iter().flatten().flat_map(|script| script.targets()) {
                if !name.starts_with(event::batch::OWN_PREFIX) {
                    names.field(name);
                }
            }
            for (name, kind) in &spec.fields {
                if let Some(kind) = spec::field_type(kind) {
                    names.field_of(&spec.full(name), kind);
                }
            }
            for name in spec.time.iter().flat_map(|t| crate::ops::time_names(t)) {
                names.field(&spec.full(&name));
            }
            for name in &spec.own_names() {
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
                let carried =
                    [&form.inner, &form.inner_program].into_iter().filter(|n| !n.is_empty());
                for name in exact.chain(&form.all).chain(&form.any).chain(carried) {
                    names.field(&spec.full(name));
                }
            }
            for step in &spec.steps {
                for name in crate::ops::names(step, spec) {
                    names.field(&spec.full(&name));
                }
            }
            routes.register(names);
        }
        self.register_sigma(names);
    }

    /// Sigma's names are answered by the value as sent, in whatever product's field it stands, and
    /// only then by ECS fields, which many packs share and fill with normalised values.
    fn register_sigma(&self, names: &mut DictionaryBuilder) {
        for shared in [false, true] {
            for Pack { spec, .. } in &self.packs {
                for (name, fields) in &spec.sigma {
                    let fields = fields.texts().into_iter().map(|f| spec.full(&f));
                    for field in fields.filter(|f| is_ecs(f) == shared) {
                        names.alias(name, &field);
                    }
                }
            }
        }
    }

    /// Adds the answers to a name that a rule mentions: below the prefixes of every product, for
    /// names that no pack lists. `logsource`: the rule's product, category and service, `None` where
    /// it names none; only packs whose events such a rule may see are asked, so that a thousand
    /// rules do not get a hundred answers each. Call it for each field of each live rule after
    /// [`PackSet::register`]; unknown names stay answered by themselves.
    pub fn register_rule_field(
        &self,
        names: &mut DictionaryBuilder,
        logsource: [Option<&str>; 3],
        name: &str,
    ) {
        // Most packs have no prefix: they are not asked.
        let prefixed = self.packs.iter().filter(|p| !p.spec.sigma_prefixes.is_empty());
        for pack in prefixed.filter(|p| p.may_be(logsource)) {
            for prefix in &pack.spec.sigma_prefixes {
                names.alias(name, &format!("{prefix}{name}"));
            }
        }
    }

    /// What the packs are, in the order in which they are looked at.
    pub fn list(&self) -> Vec<PackInfo> {
        let info = |pack: &Pack| PackInfo {
            name: pack.spec.pack.clone(),
            title: pack.spec.title.clone(),
            format: pack.spec.format.clone(),
            logsources: pack.logsources.clone(),
            sigma_names: pack.spec.sigma.len(),
        };
        self.packs.iter().map(info).collect()
    }
}

impl Pack {
    /// Whether a rule of this logsource may see its events. A pack that names none is asked always.
    fn may_be(&self, wanted: [Option<&str>; 3]) -> bool {
        let fits = |logsource: &String| {
            // By byte: asked for each field of each rule, and looking for a character costs more.
            let mut parts = logsource.as_bytes().split(|byte| *byte == b'/');
            wanted.iter().all(|want| {
                let have = parts.next().unwrap_or_default();
                want.is_none_or(|w| have == b"*" || have.eq_ignore_ascii_case(w.as_bytes()))
            })
        };
        self.logsources.is_empty() || self.logsources.iter().any(fits)
    }
}

/// Whether the name is one of ECS.
pub(crate) fn is_ecs(name: &str) -> bool {
    static ECS: std::sync::LazyLock<hashbrown::HashSet<&'static str>> =
        std::sync::LazyLock::new(|| event::field::ecs_fields().map(|(name, _)| name).collect());
    ECS.contains(name)
}

fn needs_vrl(folder: &str, line: usize) -> PackError {
    PackError {
        file: format!("{folder}/pack.yaml"),
        line,
        message: "this build has no VRL, so the pack is left out".into(),
        hint: "build with `cargo build --release --features vrl`, or say it in other steps".into(),
    }
}

/// Programs stay uncompiled where there is nothing to compile them with.
fn pack(
    file: &str,
    text: &str,
    routes: &str,
    patterns: Patterns,
    scripts: Option<&dyn ScriptCompiler>,
) -> Result<Pack, PackError> {
    let spec = Spec::parse(&format!("{file}/pack.yaml"), text, patterns)?;
    if spec.routes == routes.is_empty() {
        return Err(PackError {
            file: format!("{file}/pack.yaml"),
            line: 0,
            message: "`routes` and routes.tsv do not agree".into(),
            hint: "`routes: true` goes with a routes.tsv beside pack.yaml".into(),
        });
    }
    let routes = Routes::parse(&format!("{file}/routes.tsv"), routes)?;
    let steps = spec.steps.iter().flat_map(|s| s.logsource.clone());
    let fixed = spec.logsource.iter().cloned();
    let mut logsources: Vec<_> = fixed.chain(steps).chain(routes.logsources()).collect();
    logsources.sort();
    logsources.dedup();
    let compile = |step: &StepSpec| {
        let compiler = scripts.filter(|_| !step.vrl.is_empty());
        let compile =
            |c: &dyn ScriptCompiler| c.compile(&step.vrl, script::first_line(text, &step.vrl));
        compiler.map(compile).transpose().map_err(|error| PackError {
            file: format!("{file}/pack.yaml"),
            line: error.line,
            message: error.message,
            hint: error.hint,
        })
    };
    let scripts = spec.steps.iter().map(compile).collect::<Result<_, _>>()?;
    Ok(Pack { spec, routes, scripts, logsources, is_own: false })
}
