//! Every (source, host) that ever sent: when, how much, how well, how late.

use crate::finding::{Certainty, Finding, GapCause, Monitor, Tick};
use crate::rate::{Histogram, Rate};
use crate::silence::Silence;
use crate::volume::{Change, Volume, VolumeSettings};
use event::{EventBatch, EventView, FieldId, Marks};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Most hosts kept per source, about 1 KiB each. Host names come from events, so a forger can make
/// up any number; further ones are counted together.
pub const HOSTS_MAX: usize = 10_000;
/// Most sources. They come from configuration; the bound is for safety only.
pub const SOURCES_MAX: usize = 10_000;
/// Name under which hosts (or sources) beyond the bound are counted together.
pub const OVERFLOW_HOST: &str = "(other)";
/// Longest host name kept, bytes: what DNS allows. Longer ones are cut.
pub const HOST_MAX_BYTES: usize = 253;
/// A host is watched for silence after this many events: a name seen once is not a promise.
pub const HOST_EVENTS_MIN: u64 = 20;
/// A host may be silent this much longer than its source is configured to, so that a source that
/// stops as a whole is told once, as a source.
pub const HOST_GRACE_NS: i64 = 10 * event::time::SECOND_NS;
/// Hosts silent at one tick that are told as one finding: this many and this share (percent).
pub const FAN_IN_MIN: usize = 3;
/// See [`FAN_IN_MIN`].
pub const FAN_IN_PERCENT: usize = 30;
/// Fields that name the host, first present one wins; after them the peer's address.
const HOST_FIELDS: [&str; 3] = ["host.name", "host.hostname", "log.syslog.hostname"];
/// Fields that name what a source sends: the pack that read it, else what the event says.
const PRODUCT_FIELDS: [&str; 3] = ["alcedo.pack", "event.module", "observer.product"];

/// What is configured for one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SourceSettings {
    /// Silent after this long, ns; learned when absent.
    pub silent_after_ns: Option<i64>,
}

/// Settings of all monitors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Per source name.
    pub sources: BTreeMap<String, SourceSettings>,
    /// Volume monitor.
    pub volume: VolumeSettings,
    /// Most hosts per source, see [`HOSTS_MAX`].
    pub hosts_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let (sources, volume) = (BTreeMap::new(), VolumeSettings::default());
        Self { sources, volume, hosts_max: HOSTS_MAX }
    }
}

/// What is counted of a source and of each of its hosts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Flow {
    first_wall_ns: i64,
    last_wall_ns: i64,
    events: u64,
    bytes: u64,
    failures: u64,
    rate: Rate,
    failure_rate: Rate,
    lag: Histogram,
    product: String,
    silence: Silence,
}

impl Flow {
    fn add(&mut self, row: &EventView<'_>) {
        let (stream_ns, wall_ns) = (row.stream_ns(), row.received_ns());
        if self.events == 0 {
            self.first_wall_ns = wall_ns;
        }
        self.last_wall_ns = self.last_wall_ns.max(wall_ns);
        self.events += 1;
        self.bytes += row.raw().len() as u64;
        self.rate.add(stream_ns, 1);
        if row.marks().has(Marks::PARSE_FAILED) {
            self.failures += 1;
            self.failure_rate.add(stream_ns, 1);
        }
        // Old events read in bulk are late by intention.
        if !row.marks().has(Marks::BACKFILL) {
            let lag_ns = wall_ns.saturating_sub(row.event_ns()).max(0);
            self.lag.add(lag_ns as u64 / event::time::MILLI_NS as u64);
        }
        self.silence.seen(stream_ns, wall_ns);
    }

    fn status(&self, stream_ns: i64) -> HostStatus {
        let (rate_60s, failed_60s) =
            (self.rate.per_second(stream_ns, 60), self.failure_rate.per_second(stream_ns, 60));
        HostStatus {
            first_wall_ns: self.first_wall_ns,
            last_wall_ns: self.last_wall_ns,
            events: self.events,
            bytes: self.bytes,
            rate_10s: self.rate.per_second(stream_ns, 10),
            rate_60s,
            parse_failures: self.failures,
            parse_failure_share: if rate_60s > 0.0 { failed_60s / rate_60s } else { 0.0 },
            lag_p50_ms: self.lag.quantile(0.5),
            lag_max_ms: self.lag.max(),
            product: self.product.clone(),
            silent: self.silence.is_silent(),
        }
    }
}

/// One source or host, for pages and metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostStatus {
    /// First event, wall ns since 1970-01-01 UTC.
    pub first_wall_ns: i64,
    /// Last event.
    pub last_wall_ns: i64,
    /// Events so far.
    pub events: u64,
    /// Raw bytes so far.
    pub bytes: u64,
    /// Events per second over 10 s.
    pub rate_10s: f64,
    /// Events per second over 60 s.
    pub rate_60s: f64,
    /// Events that could not be parsed, so far.
    pub parse_failures: u64,
    /// Their share (0..=1) over the last 60 s.
    pub parse_failure_share: f64,
    /// Half of all events came within this long after they happened, ms.
    pub lag_p50_ms: u64,
    /// The latest came this long after it happened, ms.
    pub lag_max_ms: u64,
    /// Product or pack last seen; empty when unknown.
    pub product: String,
    /// Whether it counts as silent.
    pub silent: bool,
}

/// One source with its hosts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Source name.
    pub source: String,
    /// All hosts together.
    pub total: HostStatus,
    /// Per host, by name.
    pub hosts: Vec<(String, HostStatus)>,
    /// Events of hosts beyond the bound.
    pub overflow_events: u64,
    /// Whether a volume spike is on.
    pub spiking: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Source {
    name: Arc<str>,
    flow: Flow,
    volume: Volume,
    names: Vec<String>,
    hosts: Vec<Flow>,
    overflow_events: u64,
    /// Derived from `names`. std's map is keyed at random: host names are an attacker's choice.
    #[serde(skip)]
    by_name: HashMap<String, usize>,
}

impl Source {
    /// Index of a host, `None` once there are too many.
    fn host(&mut self, name: &str, hosts_max: usize) -> Option<usize> {
        if let Some(at) = self.by_name.get(name) {
            return Some(*at);
        }
        if self.hosts.len() >= hosts_max {
            return None;
        }
        self.by_name.insert(name.to_owned(), self.hosts.len());
        self.names.push(name.to_owned());
        self.hosts.push(Flow::default());
        Some(self.hosts.len() - 1)
    }
}

/// The registry; serialise it to snapshot, [`Registry::restored`] after reading it back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Registry {
    settings: Settings,
    sources: Vec<Source>,
    #[serde(skip)]
    by_name: HashMap<Arc<str>, usize>,
}

impl Registry {
    /// A registry that has seen nothing.
    pub fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// A registry read from a snapshot, with the settings of now and its look-ups rebuilt.
    pub fn restored(mut self, settings: Settings) -> Self {
        self.settings = settings;
        for (at, source) in self.sources.iter_mut().enumerate() {
            self.by_name.insert(source.name.clone(), at);
            let names = source.names.iter().cloned().zip(0..);
            source.by_name = names.collect();
        }
        self
    }

    /// Counts a batch: constant work per row, no allocation for hosts that are known.
    pub fn observe(&mut self, batch: &EventBatch) {
        let host_fields: Vec<FieldId> = HOST_FIELDS.iter().filter_map(|n| batch.id(n)).collect();
        let product_fields: Vec<FieldId> =
            PRODUCT_FIELDS.iter().filter_map(|n| batch.id(n)).collect();
        for row in batch.rows() {
            let at = self.source(&row.envelope().source);
            let hosts_max = self.settings.hosts_max;
            let source = &mut self.sources[at];
            source.flow.add(&row);
            source.volume.add(&self.settings.volume, row.stream_ns(), 1);
            let product = product_fields.iter().find_map(|f| row.get(*f)).map(|v| v.bytes);
            let product = product.unwrap_or(row.envelope().pack.as_bytes());
            remember(&mut source.flow.product, product);
            let Some(host) = host_name(&row, &host_fields) else { continue };
            match source.host(&host, hosts_max) {
                Some(index) => {
                    let flow = &mut source.hosts[index];
                    flow.add(&row);
                    remember(&mut flow.product, product);
                }
                None => source.overflow_events += 1,
            }
        }
    }

    /// Time passes: what begins and what is over. In order of source and host of first appearance.
    pub fn tick(&mut self, tick: Tick) -> Vec<Finding> {
        let mut out = Vec::new();
        for source in &mut self.sources {
            let settings = self.settings.sources.get(&*source.name).copied().unwrap_or_default();
            tick_silence(source, settings.silent_after_ns, tick, &mut out);
            let name = || source.name.to_string();
            match source.volume.close(&self.settings.volume, tick.stream_ns) {
                Some(Change::Spike { count, expected }) => out.push(Finding::Spike {
                    source: name(),
                    count,
                    expected,
                    bucket_ns: self.settings.volume.bucket_ns,
                    tick,
                }),
                Some(Change::Over { lasted_ns }) => out.push(Finding::Recovered {
                    monitor: Monitor::Volume,
                    source: name(),
                    host: None,
                    lasted_ns,
                    tick,
                }),
                None => {}
            }
        }
        out
    }

    /// A loss that intake, the journal or an agent reports.
    pub fn gap(
        &self,
        source: &str,
        cause: GapCause,
        count: Option<u64>,
        certainty: Certainty,
        tick: Tick,
    ) -> Finding {
        Finding::Gap { source: source.to_owned(), cause, count, certainty, tick }
    }

    /// All sources as they stand at `stream_ns`, by name.
    pub fn status(&self, stream_ns: i64) -> Vec<SourceStatus> {
        let mut out: Vec<SourceStatus> = self
            .sources
            .iter()
            .map(|source| {
                let names = source.names.iter().cloned();
                let mut hosts: Vec<(String, HostStatus)> =
                    names.zip(source.hosts.iter().map(|h| h.status(stream_ns))).collect();
                hosts.sort_by(|a, b| a.0.cmp(&b.0));
                SourceStatus {
                    source: source.name.to_string(),
                    total: source.flow.status(stream_ns),
                    hosts,
                    overflow_events: source.overflow_events,
                    spiking: source.volume.is_spiking(),
                }
            })
            .collect();
        out.sort_by(|a, b| a.source.cmp(&b.source));
        out
    }

    fn source(&mut self, name: &Arc<str>) -> usize {
        if let Some(at) = self.by_name.get(name) {
            return *at;
        }
        if self.sources.len() >= SOURCES_MAX && &**name != OVERFLOW_HOST {
            return self.source(&OVERFLOW_HOST.into());
        }
        self.by_name.insert(name.clone(), self.sources.len());
        self.sources.push(Source { name: name.clone(), ..Source::default() });
        self.sources.len() - 1
    }
}

/// Judges a source and its hosts. A silent source says it all; many silent hosts say it in one.
fn tick_silence(
    source: &mut Source,
    configured_ns: Option<i64>,
    tick: Tick,
    out: &mut Vec<Finding>,
) {
    let name = source.name.to_string();
    let silent =
        |host: Option<String>, hosts_silent, flow: &Flow, overdue: crate::silence::Overdue| {
            Finding::Silent {
                source: name.clone(),
                host,
                hosts_silent,
                last_wall_ns: flow.silence.last_wall_ns(),
                silent_ns: overdue.silent_ns,
                threshold_ns: overdue.threshold_ns,
                level: overdue.level,
                tick,
            }
        };
    let recovered = |host: Option<String>, lasted_ns| Finding::Recovered {
        monitor: Monitor::Silent,
        source: name.clone(),
        host,
        lasted_ns,
        tick,
    };
    let flow = &mut source.flow;
    out.extend(flow.silence.recovered().map(|lasted_ns| recovered(None, lasted_ns)));
    if let Some(overdue) = flow.silence.check(configured_ns, tick.stream_ns, tick.wall_ns) {
        out.push(silent(None, 0, flow, overdue));
    }
    let whole_source = source.flow.silence.is_silent();
    let hosts = source.hosts.len();
    let host_ns = configured_ns.map(|ns| ns.saturating_add(HOST_GRACE_NS));
    let mut newly = Vec::new();
    for (host, flow) in source.names.iter().zip(&mut source.hosts) {
        if let Some(lasted_ns) = flow.silence.recovered() {
            out.push(recovered(Some(host.clone()), lasted_ns));
        }
        if whole_source || flow.events < HOST_EVENTS_MIN {
            continue;
        }
        if let Some(overdue) = flow.silence.check(host_ns, tick.stream_ns, tick.wall_ns) {
            newly.push((host, &*flow, overdue));
        }
    }
    let many = newly.len() >= FAN_IN_MIN && newly.len() * 100 >= hosts * FAN_IN_PERCENT;
    match newly.first() {
        Some((_, flow, overdue)) if many => out.push(silent(None, newly.len(), flow, *overdue)),
        _ => out.extend(newly.into_iter().map(|(h, f, o)| silent(Some(h.clone()), 1, f, o))),
    }
}

/// The host of a row: the first of these fields that says one, else the peer; at most
/// [`HOST_MAX_BYTES`] of it.
pub fn host_name<'a>(row: &EventView<'a>, fields: &[FieldId]) -> Option<Cow<'a, str>> {
    let named = fields.iter().find_map(|f| row.get(*f)).filter(|v| !v.bytes.is_empty());
    let bytes = named.or_else(|| row.get(FieldId::PEER))?.bytes;
    Some(String::from_utf8_lossy(&bytes[..bytes.len().min(HOST_MAX_BYTES)]))
}

fn remember(kept: &mut String, seen: &[u8]) {
    let seen = &seen[..seen.len().min(HOST_MAX_BYTES)];
    if !seen.is_empty() && kept.as_bytes() != seen {
        *kept = String::from_utf8_lossy(seen).into_owned();
    }
}
