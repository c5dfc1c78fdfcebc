//! One body with many events: a JSON array, or an object around a list, as services deliver them.
//!
//! ```text
//! [{..},{..}]   {"Records":[{..}]}   {"kind":"EventList","metadata":{},"items":[{..}]}
//! ```
//!
//! An object counts as an envelope only when nothing stands beside its list but what the service
//! that uses it writes there ([`LISTS`]): an event that happens to have a list stays one event.
//! An export that wraps every event in an object of its own ([`WRAPS`]) is an envelope of one.
//! Not here: what the elements are.

use parse::json;

/// Most events that one record expands to. CloudTrail delivers at most some thousand in a file; the
/// rest of a longer one stays raw in the last event.
pub const EXPANDED_MAX: usize = 10_000;
/// Most members of an envelope object that are looked at.
const MEMBERS_MAX: usize = 12;

/// What a sender to `_bulk` says of a document stands in it, and may stand beside any list.
const SAID_PREFIX: &[u8] = b"elastic.bulk.";

/// A list by its name, and the names that may stand beside it (`*` at the end: any that start so).
struct List {
    name: &'static str,
    beside: &'static [&'static str],
}

/// The envelopes of services, see their API references.
const LISTS: &[List] = &[
    // AWS files on S3 (CloudTrail, S3 notifications).
    List { name: "Records", beside: &[] },
    // Azure diagnostic settings (event hubs, storage).
    List { name: "records", beside: &[] },
    // Microsoft Graph and Management Activity API.
    List { name: "value", beside: &["@odata.*", "nextLink"] },
    // Kubernetes EventList, Google Workspace reports, 1Password events API.
    List {
        name: "items",
        beside: &[
            "kind",
            "apiVersion",
            "metadata",
            "etag",
            "nextPageToken",
            "cursor",
            "has_more",
            "nextCursor",
        ],
    },
    // Google Cloud Logging, Slack audit logs, Box events.
    List {
        name: "entries",
        beside: &["response_metadata", "ok", "nextPageToken", "chunk_size", "next_stream_position"],
    },
    // Amazon CloudWatch Logs subscriptions.
    List {
        name: "logEvents",
        beside: &["messageType", "owner", "logGroup", "logStream", "subscriptionFilters"],
    },
    // Security Hub and GuardDuty answers.
    List { name: "Findings", beside: &["NextToken"] },
    List { name: "findings", beside: &["nextToken"] },
    // Cloudflare API.
    List { name: "result", beside: &["success", "errors", "messages", "result_info"] },
    // Atlassian, OneLogin.
    List { name: "data", beside: &["meta", "links", "status", "pagination", "page", "@odata.*"] },
    // Zoom reports.
    List {
        name: "operation_logs",
        beside: &["from", "to", "page_size", "next_page_token", "page_count", "total_records"],
    },
    List {
        name: "activity_logs",
        beside: &["from", "to", "page_size", "next_page_token", "page_count", "total_records"],
    },
];

/// Objects around one event, by the name that it has there.
const WRAPS: &[List] = &[
    // Elasticsearch and OpenSearch: search hits, elasticdump.
    List {
        name: "_source",
        beside: &[
            "_index",
            "_type",
            "_id",
            "_score",
            "_version",
            "_routing",
            "_ignored",
            "_seq_no",
            "_primary_term",
            "sort",
            "fields",
            "highlight",
        ],
    },
    // Splunk: search results as JSON.
    List { name: "result", beside: &["preview", "offset", "lastrow"] },
];

/// Finds the elements of a JSON array or of an envelope in [`LISTS`]. Out: where the part that is no
/// element starts, and why, if there is one. No pieces = the record is one event.
pub(crate) fn expand(
    raw: &[u8],
    start: usize,
    pieces: &mut Vec<(usize, usize)>,
) -> Option<(usize, &'static str)> {
    let at = json::skip_space(raw, start);
    let list = match raw.get(at)? {
        b'[' => at,
        // Nearly every event's first name is none of an envelope's: that is told once for all of them.
        b'{' if !first_name(raw, at).is_some_and(is_known_or_said) => return None,
        b'{' => match member_of(raw, at, LISTS, b'[') {
            Some(list) => list,
            None => {
                let event = member_of(raw, at, WRAPS, b'{')?;
                pieces.push((event, json::value_end(raw, event).ok()?));
                return None;
            }
        },
        _ => return None,
    };
    let mut at = json::skip_space(raw, list + 1);
    if raw.get(at) != Some(&b'{') {
        return None;
    }
    loop {
        if pieces.len() == EXPANDED_MAX {
            return Some((at, "more events in one record than are taken apart"));
        }
        let Ok(end) = json::value_end(raw, at) else {
            return rest_of(pieces, at, "the list of events is cut or not valid JSON");
        };
        pieces.push((at, end));
        at = json::skip_space(raw, end);
        match raw.get(at) {
            Some(b',') => at = json::skip_space(raw, at + 1),
            Some(b']') => return None,
            _ => return rest_of(pieces, at, "the list of events is cut or not valid JSON"),
        }
    }
}

/// The malformed rest, or nothing when there is no element before it: then the record stays whole.
fn rest_of(
    pieces: &mut [(usize, usize)],
    at: usize,
    why: &'static str,
) -> Option<(usize, &'static str)> {
    (!pieces.is_empty()).then_some((at, why))
}

/// Where the list (or object, as `opening` says) of an envelope starts, if the object at `at` is one
/// of these envelopes.
fn member_of(raw: &[u8], at: usize, envelopes: &[List], opening: u8) -> Option<usize> {
    let mut seen: [&[u8]; MEMBERS_MAX] = [b""; MEMBERS_MAX];
    let mut at = at;
    let (mut member, mut found) = (None, 0);
    for slot in &mut seen {
        at = json::skip_space(raw, at + 1);
        let name = name_at(raw, at)?;
        let colon = json::skip_space(raw, at + name.len() + 2);
        if raw.get(colon)? != &b':' {
            return None;
        }
        let value = json::skip_space(raw, colon + 1);
        let is_said = name.starts_with(SAID_PREFIX);
        if !is_known_or_said(name) {
            return None;
        }
        let known = envelopes.iter().position(|l| l.name.as_bytes() == name);
        match known.filter(|_| member.is_none() && raw.get(value) == Some(&opening)) {
            Some(which) => (member, found) = (Some(which), value),
            None if is_said => {}
            None if !envelopes.iter().any(|l| l.allows(name)) => return None,
            None => *slot = name,
        }
        let Ok(end) = json::value_end(raw, value) else { break };
        at = json::skip_space(raw, end);
        if raw.get(at) != Some(&b',') {
            break;
        }
    }
    let envelope = &envelopes[member?];
    seen.iter().all(|n| n.is_empty() || envelope.allows(n)).then_some(found)
}

/// The first name in the object at `at`.
fn first_name(raw: &[u8], at: usize) -> Option<&[u8]> {
    name_at(raw, json::skip_space(raw, at + 1))
}

fn is_known_or_said(name: &[u8]) -> bool {
    may_be_known(name) || name.starts_with(SAID_PREFIX)
}

/// One bit per length and first byte of a name that a list has or allows beside it: nearly every event's
/// first name is none, which this tells at once.
const KNOWN: [u64; 4] = {
    let mut bits = [0; 4];
    let mut at = 0;
    while at < LISTS.len() + WRAPS.len() {
        let list = if at < LISTS.len() { &LISTS[at] } else { &WRAPS[at - LISTS.len()] };
        bits = with(bits, list.name.as_bytes());
        let mut beside = 0;
        while beside < list.beside.len() {
            bits = with(bits, list.beside[beside].as_bytes());
            beside += 1;
        }
        at += 1;
    }
    bits
};

const fn with(mut bits: [u64; 4], name: &[u8]) -> [u64; 4] {
    let bit = known_bit(name);
    bits[bit / 64] |= 1 << (bit % 64);
    bits
}

const fn known_bit(name: &[u8]) -> usize {
    (name[0] as usize + 37 * name.len()) % 256
}

/// Whether a list may have a member of this name. Names with signs in front are looked up at once:
/// some lists allow any that start so.
fn may_be_known(name: &[u8]) -> bool {
    let Some(first) = name.first() else { return false };
    let bit = known_bit(name);
    *first == b'@' || KNOWN[bit / 64] & (1 << (bit % 64)) != 0
}

impl List {
    fn allows(&self, name: &[u8]) -> bool {
        self.beside.iter().any(|b| match b.strip_suffix('*') {
            Some(head) => name.starts_with(head.as_bytes()),
            None => b.as_bytes() == name,
        })
    }
}

/// The name (without escapes) in quotes at `at`.
fn name_at(raw: &[u8], at: usize) -> Option<&[u8]> {
    let rest = raw.get(at..)?.strip_prefix(b"\"")?;
    let len = memchr::memchr2(b'"', b'\\', rest)?;
    (rest[len] == b'"').then_some(&rest[..len])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> usize {
        let mut pieces = Vec::new();
        expand(text.as_bytes(), 0, &mut pieces);
        pieces.len()
    }

    #[test]
    fn every_name_of_an_envelope_is_known() {
        for list in LISTS.iter().chain(WRAPS) {
            for name in list.beside.iter().chain([&list.name]) {
                assert!(may_be_known(name.as_bytes()), "{name}");
                assert!(!name.ends_with('*') || name.starts_with('@'), "{name}");
            }
        }
        for name in ["Event", "EventTime", "eventVersion", "timestamp", ""] {
            assert!(!may_be_known(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn envelopes_are_taken_apart_and_events_with_lists_are_not() {
        for (text, events) in [
            (r#"[{"a":1}, {"a":2}]"#, 2),
            (r#"{"Records":[{"a":1},{"a":2}]}"#, 2),
            (r#" { "records" : [ {"a":[1]} ] }"#, 1),
            (r#"{"elastic.bulk.index":"i","Records":[{"a":1},{"a":2}]}"#, 2),
            (r#"{"elastic.bulk.index":"i","elastic.bulk.id":"7","_source":{"a":1}}"#, 1),
            (r#"{"elastic.bulk.index":"i","a":1}"#, 0),
            (r#"{"@odata.context":"x","value":[{},{}],"@odata.nextLink":"y"}"#, 2),
            (r#"{"kind":"EventList","apiVersion":"v1","metadata":{},"items":[{}]}"#, 1),
            (r#"{"messageType":"DATA_MESSAGE","logEvents":[{"id":"1"},{}]}"#, 2),
            (r#"{"_index":"x","_id":"1","_source":{"a":1}}"#, 1),
            (r#"{"preview":false,"result":{"_raw":"x","_time":"y"}}"#, 1),
            (r#"{"_source":{"a":1},"user":"x"}"#, 0),
            (r#"{"result":{"a":1},"outcome":"x"}"#, 0),
            (r#"{"_index":"x","_source":{"a""#, 0),
            (r#"{"user":"x","items":[{"sku":1}]}"#, 0),
            (r#"{"":[{}]}"#, 0),
            (r#"{"items":[{"sku":1}],"user":"x"}"#, 0),
            (r#"{"items":[1,2]}"#, 0),
            (r#"{"Records":[{"a":1},{"b"#, 1),
            (r#"{"value":[{}],"Records":[{}]}"#, 0),
            ("{", 0),
            ("{\"Records\"", 0),
            ("[", 0),
            ("[1]", 0),
            ("", 0),
        ] {
            assert_eq!(count(text), events, "{text}");
        }
    }
}
