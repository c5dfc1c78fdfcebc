//! Which functions programs may call.
//!
//! The rule: the same event gives the same fields on every machine at every replay, in time that grows
//! with the event, and nothing outside the event is read or written. What keeps it is in [`OFFERED`];
//! what does not is in [`REFUSED`], so that a program is told why. A function that is in neither (a
//! new version of VRL brings some) is not offered. Functions of the environment, the network, files
//! and secrets are not even built in.

use vrl::compiler::function::closure;
use vrl::compiler::function::{ArgumentList, Compiled, Example, FunctionCompileContext};
use vrl::compiler::{ExpressionError, Function, Parameter, TypeState};
use vrl::diagnostic::Label;
use vrl::value::Value;

/// Functions that programs may call.
pub const OFFERED: &[&str] = &[
    "abs",
    "append",
    "array",
    "assert",
    "assert_eq",
    "basename",
    "bool",
    "camelcase",
    "ceil",
    "chunks",
    "community_id",
    "compact",
    "contains",
    "contains_all",
    "decode_base16",
    "decode_base64",
    "decode_charset",
    "decode_mime_q",
    "decode_percent",
    "decode_punycode",
    "del",
    "dirname",
    "downcase",
    "encode_base16",
    "encode_base64",
    "encode_charset",
    "encode_csv",
    "encode_json",
    "encode_key_value",
    "encode_logfmt",
    "encode_percent",
    "encode_punycode",
    "ends_with",
    "exists",
    "filter",
    "find",
    "flatten",
    "float",
    "floor",
    "for_each",
    "format_int",
    "format_number",
    "format_timestamp",
    "from_entries",
    "from_unix_timestamp",
    "get",
    "haversine",
    "includes",
    "int",
    "ip_aton",
    "ip_cidr_contains",
    "ip_ntoa",
    "ip_ntop",
    "ip_pton",
    "ip_subnet",
    "ip_to_ipv6",
    "ipv6_to_ipv4",
    "is_array",
    "is_boolean",
    "is_empty",
    "is_float",
    "is_integer",
    "is_ipv4",
    "is_ipv6",
    "is_json",
    "is_null",
    "is_nullish",
    "is_object",
    "is_regex",
    "is_string",
    "is_timestamp",
    "join",
    "kebabcase",
    "keys",
    "length",
    "map_keys",
    "map_values",
    "match",
    "match_any",
    "match_array",
    "match_datadog_query",
    "merge",
    "mod",
    "object",
    "object_from_array",
    "parse_apache_log",
    "parse_aws_alb_log",
    "parse_aws_cloudwatch_log_subscription_message",
    "parse_aws_vpc_flow_log",
    "parse_bytes",
    "parse_cbor",
    "parse_cef",
    "parse_common_log",
    "parse_csv",
    "parse_duration",
    "parse_float",
    "parse_glog",
    "parse_influxdb",
    "parse_int",
    "parse_json",
    "parse_key_value",
    "parse_logfmt",
    "parse_nginx_log",
    "parse_query_string",
    "parse_regex",
    "parse_regex_all",
    "parse_timestamp",
    "parse_tokens",
    "parse_url",
    "parse_user_agent",
    "parse_yaml",
    "pascalcase",
    "pop",
    "push",
    "range",
    "redact",
    "remove",
    "replace",
    "replace_with",
    "round",
    "screamingsnakecase",
    "shannon_entropy",
    "sieve",
    "slice",
    "snakecase",
    "split",
    "split_path",
    "starts_with",
    "string",
    "strip_ansi_escape_codes",
    "strip_whitespace",
    "strlen",
    "tag_types_externally",
    "tally",
    "tally_value",
    "timestamp",
    "to_bool",
    "to_entries",
    "to_float",
    "to_int",
    "to_string",
    "to_syslog_facility",
    "to_syslog_facility_code",
    "to_syslog_level",
    "to_syslog_severity",
    "to_unix_timestamp",
    "truncate",
    "type_def",
    "unique",
    "upcase",
    "uuid_from_friendly_id",
    "values",
    "zip",
];

/// Functions that programs may not call, and why.
pub const REFUSED: &[(&str, &str)] = &[
    ("decode_gzip", "packed bytes may be a thousand times as large as they look"),
    ("decode_lz4", "packed bytes may be a thousand times as large as they look"),
    ("decode_snappy", "packed bytes may be a thousand times as large as they look"),
    ("decode_zlib", "packed bytes may be a thousand times as large as they look"),
    ("decode_zstd", "packed bytes may be a thousand times as large as they look"),
    ("encode_gzip", "packed bytes may be a thousand times as large as they look"),
    ("encode_lz4", "packed bytes may be a thousand times as large as they look"),
    ("encode_snappy", "packed bytes may be a thousand times as large as they look"),
    ("encode_zlib", "packed bytes may be a thousand times as large as they look"),
    ("encode_zstd", "packed bytes may be a thousand times as large as they look"),
    ("log", "fields are what a program leaves, there is no log for it to write to"),
    ("now", "the time of an event is its own; the clock tells something else at every replay"),
    ("parse_grok", "its expressions go back and forth without limit; the step `grok` does not"),
    ("parse_groks", "its expressions go back and forth without limit; the step `grok` does not"),
    ("parse_klog", "it takes the year from the clock"),
    (
        "parse_linux_authorization",
        "the header is taken off already (`log.syslog`, `host`, `process`), and it takes the year from the clock",
    ),
    ("parse_ruby_hash", "hashes in each other without limit would end the process"),
    (
        "parse_syslog",
        "the header is taken off already (`log.syslog`, `host`, `process`), and it takes the year from the clock",
    ),
    (
        "parse_xml",
        "elements in each other without limit would end the process; the step `xml` reads them",
    ),
    ("random_bool", "the same event has to give the same fields at every replay"),
    ("random_bytes", "the same event has to give the same fields at every replay"),
    ("random_float", "the same event has to give the same fields at every replay"),
    ("random_int", "the same event has to give the same fields at every replay"),
    (
        "set",
        "an index taken from an event could ask for any amount of memory; use `merge` with `from_entries`",
    ),
    (
        "to_regex",
        "an expression taken from an event could ask for any amount of memory; write it in the program",
    ),
    ("unflatten", "names with dots are nested here already"),
    (
        "unnest",
        "it copies the whole event for every element, which takes the square of an event's size; loop with `for_each`",
    ),
    ("uuid_v4", "the same event has to give the same fields at every replay"),
    ("uuid_v7", "the same event has to give the same fields at every replay"),
];

/// Functions with a parameter `timezone`, in which `local` would be the zone of the machine.
const ZONED: &[&str] = &["format_timestamp", "parse_timestamp"];

/// Functions with a parameter `scale` that says how many zeros they write: an event must not choose it.
const SCALED: &[&str] = &["format_number"];

/// Most decimal places that a program may ask for.
const SCALE_MAX: i64 = 64;

/// Every function of VRL: as it is, or as something that says why it is not offered.
pub(crate) fn all() -> Vec<Box<dyn Function>> {
    let judged = |inner: Box<dyn Function>| -> Box<dyn Function> {
        let name = inner.identifier();
        if ZONED.contains(&name) || SCALED.contains(&name) {
            return Box::new(Guarded { inner, refusal: None });
        }
        if OFFERED.contains(&name) {
            return inner;
        }
        let known = REFUSED.iter().find(|(refused, _)| *refused == name);
        let refusal = Some(known.map_or("nobody has looked at it yet", |(_, why)| why));
        Box::new(Guarded { inner, refusal })
    };
    vrl::stdlib::all().into_iter().map(judged).collect()
}

/// A function whose calls are looked at when a program is compiled.
#[derive(Debug)]
struct Guarded {
    inner: Box<dyn Function>,
    /// Why it is not offered at all; else some values of a parameter are refused.
    refusal: Option<&'static str>,
}

impl Guarded {
    /// Why this call cannot be compiled.
    fn problem(&self, state: &TypeState, arguments: &ArgumentList) -> Option<String> {
        let name = self.inner.identifier();
        if let Some(why) = self.refusal {
            return Some(format!("`{name}` is not offered: {why}"));
        }
        match SCALED.contains(&name) {
            true => scale_problem(name, state, arguments),
            false => zone_problem(name, state, arguments),
        }
    }
}

fn zone_problem(name: &str, state: &TypeState, arguments: &ArgumentList) -> Option<String> {
    let is_local = |zone: &Value| {
        let zone = zone.coerce_to_bytes();
        zone.is_empty() || zone.eq_ignore_ascii_case(b"local")
    };
    match arguments.optional_literal("timezone", state) {
        Ok(Some(zone)) if is_local(&zone) => {
            Some(format!("`{name}`: the zone of the machine must not matter; name a zone"))
        }
        Err(_) => Some(format!("`{name}`: write the time zone as text in quotes")),
        Ok(_) => None,
    }
}

fn scale_problem(name: &str, state: &TypeState, arguments: &ArgumentList) -> Option<String> {
    match arguments.optional_literal("scale", state) {
        Ok(None) => None,
        Ok(Some(Value::Integer(scale))) if (0..=SCALE_MAX).contains(&scale) => None,
        _ => Some(format!("`{name}`: write `scale` as a number from 0 to {SCALE_MAX}")),
    }
}

impl Function for Guarded {
    fn identifier(&self) -> &'static str {
        self.inner.identifier()
    }

    fn usage(&self) -> &'static str {
        self.inner.usage()
    }

    fn category(&self) -> &'static str {
        self.inner.category()
    }

    fn return_kind(&self) -> u16 {
        self.inner.return_kind()
    }

    fn pure(&self) -> bool {
        self.inner.pure()
    }

    fn examples(&self) -> &'static [Example] {
        self.inner.examples()
    }

    fn parameters(&self) -> &'static [Parameter] {
        self.inner.parameters()
    }

    fn closure(&self) -> Option<closure::Definition> {
        self.inner.closure()
    }

    fn compile(
        &self,
        state: &TypeState,
        context: &mut FunctionCompileContext,
        arguments: ArgumentList,
    ) -> Compiled {
        match self.problem(state, &arguments) {
            None => self.inner.compile(state, context, arguments),
            Some(message) => {
                let labels = vec![Label::primary("this call", context.span())];
                Err(Box::new(ExpressionError::Error { message, labels, notes: Vec::new() }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_judged_once() {
        let mut judged: Vec<&str> = REFUSED.iter().map(|(name, _)| *name).collect();
        judged.extend(OFFERED);
        judged.sort_unstable();
        let mut known: Vec<&str> = vrl::stdlib::all().iter().map(|f| f.identifier()).collect();
        known.sort_unstable();
        assert_eq!(judged, known);
        assert!(ZONED.iter().all(|name| OFFERED.contains(name)));
    }

    /// What takes a time zone is guarded: `local` is a place outside the event.
    #[test]
    fn every_zone_is_guarded() {
        for function in vrl::stdlib::all() {
            let has_zone = function.parameters().iter().any(|p| p.keyword == "timezone");
            let name = function.identifier();
            assert!(!has_zone || ZONED.contains(&name) || !OFFERED.contains(&name), "{name}");
        }
    }

    /// What takes a scale is guarded: it is written out in zeros.
    #[test]
    fn every_scale_is_guarded() {
        for function in vrl::stdlib::all() {
            let has_scale = function.parameters().iter().any(|p| p.keyword == "scale");
            let name = function.identifier();
            assert!(!has_scale || SCALED.contains(&name) || !OFFERED.contains(&name), "{name}");
        }
    }
}
