//! Registry, silence and volume through `observe` and `tick`.

use crate::{Row, batch};
use event::time::SECOND_NS;
use event::{EventId, Level, Marks};
use watch::{Finding, Monitor, Registry, Settings, SourceSettings, Tick, VolumeSettings};

fn tick(second: i64) -> Tick {
    let ns = second * SECOND_NS;
    Tick { id: EventId::at(1_000_000 + second as u64), stream_ns: ns, wall_ns: ns }
}

fn row(source: &'static str, host: &str, second: i64) -> Row {
    Row { source, host: host.into(), at_ns: second * SECOND_NS, marks: Marks::default() }
}

fn settings(silent_after_s: i64) -> Settings {
    let fw = SourceSettings { silent_after_ns: Some(silent_after_s * SECOND_NS) };
    Settings { sources: [("fw".to_owned(), fw)].into(), ..Settings::default() }
}

#[test]
fn status_shows_counts_rates_failures_and_lag() {
    let mut registry = Registry::new(settings(60));
    let mut rows: Vec<Row> = (0..60).map(|s| row("fw", "a", s)).collect();
    rows[59].marks = Marks::PARSE_FAILED;
    rows.push(row("fw", "b", 59));
    registry.observe(&batch(&rows));
    let status = registry.status(60 * SECOND_NS);
    let [fw] = &status[..] else { panic!("{status:?}") };
    assert_eq!((fw.total.events, fw.total.bytes, fw.total.parse_failures), (61, 610, 1));
    assert_eq!((fw.total.rate_10s, fw.hosts.len()), (1.1, 2));
    let a = &fw.hosts[0].1;
    assert_eq!((a.first_wall_ns, a.last_wall_ns, a.lag_max_ms), (0, 59 * SECOND_NS, 1_500));
    assert!((a.parse_failure_share - 1.0 / 60.0).abs() < 1e-9);
    assert!((1_500..1_900).contains(&a.lag_p50_ms));
}

#[test]
fn a_silent_source_is_told_once_with_its_recovery_and_hosts_do_not_add_noise() {
    let mut registry = Registry::new(settings(60));
    let rows: Vec<Row> =
        (0..100).map(|s| row("fw", if s % 2 == 0 { "a" } else { "b" }, s)).collect();
    registry.observe(&batch(&rows));
    assert_eq!(registry.tick(tick(159)), []);
    let told = registry.tick(tick(160));
    let [Finding::Silent { host: None, level: Level::High, silent_ns, .. }] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(*silent_ns, 61 * SECOND_NS);
    assert_eq!(registry.tick(tick(500)), []);
    registry.observe(&batch(&[row("fw", "a", 501), row("fw", "b", 501)]));
    let told = registry.tick(tick(502));
    let [Finding::Recovered { monitor: Monitor::Silent, lasted_ns, .. }] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(*lasted_ns, 402 * SECOND_NS);
}

#[test]
fn one_silent_host_is_named_and_many_are_one_finding() {
    let mut registry = Registry::new(settings(60));
    let hosts = ["a", "b", "c", "d", "e"];
    let all = |s: i64, hosts: &[&str]| hosts.iter().map(|h| row("fw", h, s)).collect::<Vec<_>>();
    registry.observe(&batch(&(0..30).flat_map(|s| all(s, &hosts)).collect::<Vec<_>>()));
    registry.observe(&batch(&(30..85).flat_map(|s| all(s, &hosts[..4])).collect::<Vec<_>>()));
    let told = registry.tick(tick(100));
    let [Finding::Silent { host: Some(host), .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(host, "e");
    registry.observe(&batch(&(85..155).map(|s| row("fw", "a", s)).collect::<Vec<_>>()));
    let told = registry.tick(tick(156));
    let [Finding::Silent { host: None, hosts_silent: 3, .. }] = &told[..] else {
        panic!("{told:?}")
    };
}

#[test]
fn invented_hosts_are_bounded_and_counted() {
    let mut registry = Registry::new(Settings { hosts_max: 10, ..settings(60) });
    let rows: Vec<Row> = (0..100).map(|n| row("fw", &format!("h{n}"), 1)).collect();
    registry.observe(&batch(&rows));
    let status = &registry.status(2 * SECOND_NS)[0];
    assert_eq!((status.hosts.len(), status.overflow_events, status.total.events), (10, 90, 100));
    // Names seen once never raise an alarm of their own.
    let told = registry.tick(tick(1_000));
    assert!(told.iter().all(|f| matches!(f, Finding::Silent { host: None, .. })), "{told:?}");
}

#[test]
fn a_volume_spike_comes_out_of_tick_and_a_snapshot_goes_on_the_same() {
    let volume =
        VolumeSettings { bucket_ns: SECOND_NS, period_buckets: 7, ..VolumeSettings::default() };
    let settings = Settings { volume, ..settings(3_600) };
    let mut registry = Registry::new(settings.clone());
    let mut told = Vec::new();
    for second in 0..50i64 {
        let n = if (40..45).contains(&second) { 400 } else { 20 };
        registry.observe(&batch(&vec![row("fw", "a", second); n]));
        if second == 41 {
            let text = serde_json::to_string(&registry).unwrap();
            let read: Registry = serde_json::from_str(&text).unwrap();
            let read = read.restored(settings.clone());
            assert_eq!(read, registry);
            registry = read;
        }
        told.extend(registry.tick(tick(second + 1)));
    }
    let kinds: Vec<Monitor> = told.iter().map(Finding::monitor).collect();
    assert_eq!(kinds, [Monitor::Volume, Monitor::Volume], "{told:?}");
    assert!(matches!(&told[0], Finding::Spike { count: 400, expected: 20, .. }));
    assert!(matches!(&told[1], Finding::Recovered { .. }));
    assert_eq!(told[0].to_alert().rule_id, "alcedo.volume_spike");
}
