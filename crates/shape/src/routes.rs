//! routes.tsv: which logsources and categories an event has, by channel and event id.
//!
//! One line: `channel TAB ids TAB condition TAB logsources TAB kind TAB category TAB type TAB action TAB
//! outcome`. Ids: `*`, `1`, `1,4`, `1006-1019`. Condition: `-` or `FIELD=VALUE` on a field below
//! `winlog.event_data.`. Lists are comma separated, `-` is nothing. All lines that fit apply; of the
//! lines that set categories the first wins.

use crate::packs::PackError;
use event::{DictionaryBuilder, FieldId, Kind, RowWriter};
use hashbrown::HashMap;

/// Where the data fields of a Windows event stand.
const DATA_PREFIX: &str = "winlog.event_data.";
/// Most ids in one range, a guard against a typing error.
const RANGE_MAX: u32 = 1_000;

#[derive(Clone, Debug)]
struct Line {
    condition: Option<(String, String)>,
    logsources: Vec<String>,
    kind: String,
    categories: Vec<String>,
    types: Vec<String>,
    action: String,
    outcome: String,
}

/// The table as read.
#[derive(Default)]
pub(crate) struct Routes {
    lines: Vec<Line>,
    /// Folded channel -> (id, or none for all; line).
    by_channel: HashMap<String, Vec<(Option<u32>, usize)>>,
}

impl Routes {
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self, PackError> {
        let mut routes = Routes::default();
        for (number, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |message: String| PackError {
                file: file.into(),
                line: number + 1,
                message,
                hint: "nine columns: channel, ids, condition, logsources, kind, category, type, \
                       action, outcome"
                    .into(),
            };
            let columns: Vec<&str> = line.split('\t').collect();
            let &[channel, ids, condition, sources, kind, category, types, action, outcome] =
                &columns[..]
            else {
                return Err(wrong(format!("{} columns", columns.len())));
            };
            let list = |text: &str| -> Vec<String> {
                text.split(',').filter(|t| *t != "-").map(str::to_owned).collect()
            };
            let one = |text: &str| if text == "-" { String::new() } else { text.to_owned() };
            let condition = match condition {
                "-" => None,
                text => Some(
                    text.split_once('=')
                        .map(|(a, b)| (a.to_owned(), b.to_owned()))
                        .ok_or_else(|| wrong(format!("condition `{text}` has no `=`")))?,
                ),
            };
            let at = routes.lines.len();
            let entry = routes.by_channel.entry(channel.to_ascii_lowercase()).or_default();
            for id in ids_of(ids).ok_or_else(|| wrong(format!("ids `{ids}`")))? {
                entry.push((id, at));
            }
            routes.lines.push(Line {
                condition,
                logsources: list(sources),
                kind: one(kind),
                categories: list(category),
                types: list(types),
                action: one(action),
                outcome: one(outcome),
            });
        }
        Ok(routes)
    }

    pub(crate) fn register(&self, names: &mut DictionaryBuilder) {
        for (field, _) in self.lines.iter().filter_map(|l| l.condition.as_ref()) {
            names.field(&format!("{DATA_PREFIX}{field}"));
        }
    }

    pub(crate) fn logsources(&self) -> impl Iterator<Item = String> {
        self.lines.iter().flat_map(|l| l.logsources.clone())
    }

    /// The table with the ids of a generation; `None` when it is empty.
    pub(crate) fn compile(&self, id: &dyn Fn(&str) -> FieldId) -> Option<CompiledRoutes> {
        if self.lines.is_empty() {
            return None;
        }
        let lines = self.lines.iter().map(|line| {
            let mut cells: Vec<(FieldId, Box<[u8]>)> = Vec::new();
            let mut put = |name: &str, value: &str| {
                if !value.is_empty() {
                    cells.push((id(name), value.as_bytes().into()));
                }
            };
            put("event.kind", &line.kind);
            line.categories.iter().for_each(|v| put("event.category", v));
            line.types.iter().for_each(|v| put("event.type", v));
            put("event.action", &line.action);
            put("event.outcome", &line.outcome);
            CompiledLine {
                condition: line.condition.as_ref().map(|(field, value)| {
                    (id(&format!("{DATA_PREFIX}{field}")), value.as_bytes().into())
                }),
                logsources: line.logsources.iter().map(|l| l.as_bytes().into()).collect(),
                cells,
            }
        });
        Some(CompiledRoutes {
            lines: lines.collect(),
            by_channel: self
                .by_channel
                .iter()
                .map(|(name, routes)| (name.clone().into_bytes(), Channel::of(routes)))
                .collect(),
            channel: id("winlog.channel"),
            event_id: id("winlog.event_id"),
            logsource: id("alcedo.logsource"),
        })
    }
}

fn ids_of(text: &str) -> Option<Vec<Option<u32>>> {
    if text == "*" {
        return Some(vec![None]);
    }
    let mut out = Vec::new();
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
        if from > to || to - from > RANGE_MAX {
            return None;
        }
        out.extend((from..=to).map(Some));
    }
    Some(out)
}

struct CompiledLine {
    condition: Option<(FieldId, Box<[u8]>)>,
    logsources: Vec<Box<[u8]>>,
    cells: Vec<(FieldId, Box<[u8]>)>,
}

/// The lines of one channel, in order: by event id, and of ids that none names.
struct Channel {
    by_id: HashMap<u32, Box<[usize]>>,
    others: Box<[usize]>,
}

impl Channel {
    /// Of ids (none: all of them) and their lines.
    fn of(routes: &[(Option<u32>, usize)]) -> Self {
        let lines = |wanted: Option<u32>| -> Box<[usize]> {
            let fitting = routes.iter().filter(|(id, _)| id.is_none() || *id == wanted);
            fitting.map(|(_, line)| *line).collect()
        };
        let ids = routes.iter().filter_map(|(id, _)| *id);
        Self { by_id: ids.map(|id| (id, lines(Some(id)))).collect(), others: lines(None) }
    }

    fn lines(&self, event_id: Option<u32>) -> &[usize] {
        event_id.and_then(|id| self.by_id.get(&id)).unwrap_or(&self.others)
    }
}

/// The table for one generation.
pub(crate) struct CompiledRoutes {
    lines: Vec<CompiledLine>,
    by_channel: HashMap<Vec<u8>, Channel>,
    channel: FieldId,
    event_id: FieldId,
    logsource: FieldId,
}

impl CompiledRoutes {
    /// Writes logsources and categories of the row; what its shipper said already stays. `get` finds a
    /// cell's index.
    pub(crate) fn apply(
        &self,
        row: &mut RowWriter<'_>,
        get: &dyn Fn(&RowWriter<'_>, FieldId) -> Option<usize>,
        name: &mut Vec<u8>,
    ) {
        let event_id = get(row, self.event_id)
            .and_then(|i| std::str::from_utf8(row.cell(i).1.bytes).ok()?.parse::<u32>().ok());
        name.clear();
        if let Some(at) = get(row, self.channel) {
            name.extend(row.cell(at).1.bytes.iter().map(u8::to_ascii_lowercase));
        }
        // Splunk's name of a channel.
        let channel = name.strip_prefix(b"wineventlog:").unwrap_or(name);
        let Some(routes) = self.by_channel.get(channel) else {
            let unknown: &[u8] = if name.is_empty() { b"windows/*/*" } else { b"windows//" };
            row.push(self.logsource, Kind::Str, unknown);
            return;
        };
        let mut is_categorised = false;
        for at in routes.lines(event_id) {
            let line = &self.lines[*at];
            if let Some((field, value)) = &line.condition {
                let found = get(row, *field).map(|i| row.cell(i).1.bytes);
                if !found.is_some_and(|v| v.eq_ignore_ascii_case(value)) {
                    continue;
                }
            }
            for logsource in &line.logsources {
                row.push(self.logsource, Kind::Str, logsource);
            }
            if !is_categorised && !line.cells.is_empty() {
                is_categorised = true;
                let (mut current, mut is_said) = (None, false);
                for (field, value) in &line.cells {
                    if current != Some(*field) {
                        current = Some(*field);
                        is_said = get(row, *field).is_some();
                    }
                    if !is_said {
                        row.push(*field, Kind::Str, value);
                    }
                }
            }
        }
    }
}
