//! Bodies of Elasticsearch's `_bulk`: pairs of lines, one that says what to do and one with a document.
//! Pure.
//!
//! ```text
//! {"create":{"_index":"a"}}\n{"message":"x"}\n  --Operations-->  {"elastic.bulk.index":"a","message":"x"}
//! ```
//!
//! A record is the document as it was sent, with its index and id put in front of its members. Not here:
//! HTTP, tokens, the journal.

use parse::json;
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::ops::Range;

/// Longest name of an index, as there.
pub const INDEX_BYTES_MAX: usize = 255;
/// Longest id, as there. It stands in the record and in the answer.
pub const ID_BYTES_MAX: usize = 512;

/// What a line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Store a document.
    Index,
    /// Store a document that is not there yet.
    Create,
    /// Change a document: here the part that is given is stored.
    Update,
    /// Remove a document, which events are not.
    Delete,
}

impl Action {
    /// Every action by its name.
    pub const ALL: &[(Action, &'static str)] = &[
        (Action::Index, "index"),
        (Action::Create, "create"),
        (Action::Update, "update"),
        (Action::Delete, "delete"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// Why a whole body is not taken: behind such a line nobody knows which lines are documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line} of the body is no action; it has to be like {{\"create\":{{\"_index\":\"logs\"}}}}, with the \
     document on the next line"
)]
pub struct NoAction {
    /// The line, counted from 1.
    pub line: usize,
}

/// Why one operation is not done; the others are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It names no index, neither does the path.
    #[error("the operation names no index; say `_index`, or name it in the path")]
    NoIndex,
    /// Its index has too long a name.
    #[error("an index may have a name of {INDEX_BYTES_MAX} bytes")]
    LongIndex,
    /// Its index is no JSON.
    #[error("`_index` is no valid JSON")]
    BadIndex,
    /// Its id is no JSON.
    #[error("`_id` is no valid JSON")]
    BadId,
    /// Its id is too long.
    #[error("an id may have {ID_BYTES_MAX} bytes")]
    LongId,
    /// It removes something.
    #[error("events are only added; removing one is for retention and deletions")]
    Delete,
    /// It changes something without saying to what.
    #[error("an update needs `doc`; scripts are not run")]
    NoDocument,
    /// The document is no JSON object.
    #[error("the document is no JSON object on a line of its own")]
    NotAnObject,
}

impl Wrong {
    /// The type that clients know such an error by.
    pub fn kind(self) -> &'static str {
        match self {
            Self::NoIndex | Self::NoDocument | Self::LongId => {
                "action_request_validation_exception"
            }
            Self::LongIndex | Self::BadIndex => "invalid_index_name_exception",
            Self::Delete | Self::BadId => "illegal_argument_exception",
            Self::NotAnObject => "mapper_parsing_exception",
        }
    }
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Operation<'a> {
    /// What it asks for.
    pub action: Action,
    /// Its index, as JSON; empty if nobody says one.
    pub index: Cow<'a, [u8]>,
    /// Its id, as JSON, if it has one.
    pub id: Option<&'a [u8]>,
    /// The line behind the action, as it was sent; empty if there is none.
    pub line: &'a [u8],
    /// The document.
    pub document: Result<&'a [u8], Wrong>,
}

impl Operation<'_> {
    /// Writes the record of a document to `out`.
    pub fn write(&self, document: &[u8], out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(b"{\"elastic.bulk.index\":");
        out.extend_from_slice(&self.index);
        if let Some(id) = self.id {
            out.extend_from_slice(b",\"elastic.bulk.id\":");
            out.extend_from_slice(id);
        }
        let members = document[1..].trim_ascii_start();
        out.extend_from_slice(if members.starts_with(b"}") { b"" } else { b"," });
        out.extend_from_slice(members);
    }
}

/// The operations of a body. Ends behind the first line that should be an action and is none.
pub struct Operations<'a> {
    body: &'a [u8],
    at: usize,
    line: usize,
    /// The path's index as JSON; empty if it names none.
    index: Vec<u8>,
    is_over: bool,
}

impl<'a> Operations<'a> {
    /// The operations of `body`; `index` is that of the path.
    pub fn new(body: &'a [u8], index: Option<&str>) -> Self {
        let index = index.map(|name| serde_json::Value::from(name).to_string().into_bytes());
        Self { body, at: 0, line: 0, index: index.unwrap_or_default(), is_over: false }
    }

    /// The next line without white space around it; empty ones too.
    fn line(&mut self) -> Option<&'a [u8]> {
        let rest = self.body.get(self.at..).filter(|rest| !rest.is_empty())?;
        let len = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        self.at += len + 1;
        self.line += 1;
        Some(rest[..len].trim_ascii())
    }

    fn operation(&mut self, said: &'a [u8]) -> Option<Operation<'a>> {
        let named = whole_object(said)?.next()?.ok()?;
        let name = unescaped(&said[named.key])?;
        let all = Action::ALL.iter();
        let action = all.copied().find(|(_, known)| known.as_bytes() == &*name)?.0;
        let Target { index, id, wrong } = Target::of(&said[named.value])?;
        let index = index.map_or_else(|| Cow::Owned(self.index.clone()), Cow::Borrowed);
        let wrong = wrong.or(index.is_empty().then_some(Wrong::NoIndex));
        let line = match action {
            Action::Delete => b"",
            _ => self.line().unwrap_or_default(),
        };
        let document = document_of(action, line).and_then(|line| wrong.map_or(Ok(line), Err));
        Some(Operation { action, index, id, line, document })
    }
}

/// The document in the line behind an action. It is JSON to the last byte: it becomes a record, and nobody
/// tells the sender later that it was none.
fn document_of(action: Action, line: &[u8]) -> Result<&[u8], Wrong> {
    match action {
        Action::Delete => Err(Wrong::Delete),
        _ if !(line.starts_with(b"{") && is_json(line)) => Err(Wrong::NotAnObject),
        Action::Index | Action::Create => Ok(line),
        Action::Update => {
            let doc = member_of(line, b"doc").map(|place| &line[place]);
            doc.filter(|doc| doc.starts_with(b"{")).ok_or(Wrong::NoDocument)
        }
    }
}

/// Where an action wants its document.
#[derive(Default)]
struct Target<'a> {
    index: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
    /// The first thing that is wrong with it.
    wrong: Option<Wrong>,
}

impl<'a> Target<'a> {
    /// What the object behind an action's name says. `None`: it is no object, or has a name that nobody
    /// can read.
    fn of(object: &'a [u8]) -> Option<Self> {
        let mut target = Self::default();
        for member in whole_object(object)? {
            let member = member.ok()?;
            target.take(&unescaped(&object[member.key])?, &object[member.value]);
        }
        Some(target)
    }

    /// Takes a member in. A value that is wrong is not kept: it would stand in the record and in the
    /// answer.
    fn take(&mut self, name: &[u8], value: &'a [u8]) {
        let found = match name {
            b"_index" => index_of(value).map(|index| self.index = index.or(self.index)),
            b"_id" => id_of(value).map(|id| self.id = id.or(self.id)),
            _ => Ok(()),
        };
        self.wrong = self.wrong.or(found.err());
    }
}

/// The index that a value names, if it names one.
fn index_of(value: &[u8]) -> Result<Option<&[u8]>, Wrong> {
    match is_json(value) {
        false => Err(Wrong::BadIndex),
        true if content_len(value) > INDEX_BYTES_MAX => Err(Wrong::LongIndex),
        true => Ok(Some(value).filter(|value| is_text(value))),
    }
}

/// The id that a value names, if it names one.
fn id_of(value: &[u8]) -> Result<Option<&[u8]>, Wrong> {
    let is_id = is_text(value) || value.iter().all(u8::is_ascii_digit);
    match is_json(value) {
        false => Err(Wrong::BadId),
        true if is_id && content_len(value) > ID_BYTES_MAX => Err(Wrong::LongId),
        true => Ok(Some(value).filter(|_| is_id)),
    }
}

/// The bytes of a text without its quotes and escapes; of other values as they are written.
fn content_len(value: &[u8]) -> usize {
    match value {
        [b'"', text @ .., b'"'] => unescaped(text).map_or(text.len(), |text| text.len()),
        other => other.len(),
    }
}

/// The content of a string without its escapes. `None`: it has some that JSON does not have.
fn unescaped(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    if memchr::memchr(b'\\', text).is_none() {
        return Some(Cow::Borrowed(text));
    }
    let mut plain = Vec::new();
    json::unescape(text, 0, &mut plain).ok()?;
    Some(Cow::Owned(plain))
}

/// Whether a value of JSON is a text with something in it.
fn is_text(value: &[u8]) -> bool {
    value.len() > 2 && value.starts_with(b"\"")
}

/// Whether `text` is one value as RFC 8259 has it. [`json::value_end`] only looks at brackets and quotes.
fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

impl<'a> Iterator for Operations<'a> {
    type Item = Result<Operation<'a>, NoAction>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let said = loop {
            let line = self.line()?;
            if !line.is_empty() {
                break line;
            }
        };
        let line = self.line;
        let found = self.operation(said).ok_or(NoAction { line });
        self.is_over = found.is_err();
        Some(found)
    }
}

/// The members of a text that is one JSON object and nothing else.
fn whole_object(text: &[u8]) -> Option<json::Members<'_>> {
    let is_whole = text.starts_with(b"{") && json::value_end(text, 0) == Ok(text.len());
    is_whole.then(|| json::members(text, 0))
}

fn member_of(object: &[u8], name: &[u8]) -> Option<Range<usize>> {
    let mut members = json::members(object, 0).map_while(Result::ok);
    let is_named = |key: &[u8]| unescaped(key).is_some_and(|key| *key == *name);
    members.find(|member| is_named(&object[member.key.clone()])).map(|member| member.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(body: &str, index: Option<&str>) -> Vec<String> {
        let mut out = Vec::new();
        let show = |operation: Result<Operation<'_>, NoAction>| match operation {
            Ok(operation) => match operation.document {
                Ok(document) => {
                    operation.write(document, &mut out);
                    let record = String::from_utf8(out.clone()).unwrap();
                    serde_json::from_str::<serde_json::Value>(&record).unwrap();
                    format!("{} {record}", operation.action.name())
                }
                Err(wrong) => {
                    let line = String::from_utf8_lossy(operation.line);
                    format!("{} {} {line}", operation.action.name(), wrong.kind())
                }
            },
            Err(NoAction { line }) => format!("line {line}"),
        };
        Operations::new(body.as_bytes(), index).map(show).collect()
    }

    #[test]
    fn each_document_says_its_index_and_id() {
        let body = concat!(
            "{\"create\":{\"_index\":\"a\",\"_id\":\"1\"}}\n{\"m\":1}\n",
            "{ \"index\" : {} }\r\n{ \"m\":2 }\r\n\n",
            "{\"update\":{\"_id\":7,\"routing\":\"r\"}}\n{\"doc_as_upsert\":true,\"doc\":{\"m\":3}}\n",
            "{\"index\":{\"_index\":\"\"}}\n{}",
        );
        assert_eq!(
            records(body, Some("p\"q")),
            [
                r#"create {"elastic.bulk.index":"a","elastic.bulk.id":"1","m":1}"#,
                r#"index {"elastic.bulk.index":"p\"q","m":2 }"#,
                r#"update {"elastic.bulk.index":"p\"q","elastic.bulk.id":7,"m":3}"#,
                r#"index {"elastic.bulk.index":"p\"q"}"#,
            ]
        );
    }

    #[test]
    fn what_is_wrong_with_one_leaves_the_others() {
        let body = concat!(
            "{\"delete\":{\"_index\":\"a\",\"_id\":\"1\"}}\n",
            "{\"index\":{\"_index\":\"a\"}}\n{\"cut\":\n",
            "{\"index\":{\"_index\":\"a\"}}\n[1]\n",
            "{\"update\":{\"_index\":\"a\"}}\n{\"script\":\"x\"}\n",
            "{\"index\":{}}\n{\"m\":1}\n",
            "{\"index\":{\"_index\":\"a\"}}\n{\"m\":2}\n",
            "{\"index\":{\"_index\":\"a\"}}\n",
        );
        assert_eq!(
            records(body, None),
            [
                "delete illegal_argument_exception ",
                "index mapper_parsing_exception {\"cut\":",
                "index mapper_parsing_exception [1]",
                "update action_request_validation_exception {\"script\":\"x\"}",
                "index action_request_validation_exception {\"m\":1}",
                r#"index {"elastic.bulk.index":"a","m":2}"#,
                "index mapper_parsing_exception ",
            ]
        );
    }

    #[test]
    fn what_is_no_json_comes_into_no_record() {
        for (action, document, kind) in [
            ("{\"_index\":\"C:\\app\"}", "{}", "invalid_index_name_exception"),
            ("{\"_index\":nonsense}", "{}", "invalid_index_name_exception"),
            ("{\"_index\":\"a\",\"_id\":\"\\x\"}", "{}", "illegal_argument_exception"),
            ("{\"_index\":\"a\",\"_id\":01}", "{}", "illegal_argument_exception"),
            ("{\"_index\":\"a\"}", "{nonsense}", "mapper_parsing_exception"),
            ("{\"_index\":\"a\"}", "{\"m\":{nonsense}}", "mapper_parsing_exception"),
            ("{\"_index\":\"a\"}", "{\"m\":1.}", "mapper_parsing_exception"),
            ("{\"_index\":\"a\"}", "{\"m\":\"C:\\app\"}", "mapper_parsing_exception"),
        ] {
            let body =
                format!("{{\"index\":{action}}}\n{document}\n{{\"index\":{{\"_id\":7}}}}\n{{}}\n");
            let next = r#"index {"elastic.bulk.index":"p","elastic.bulk.id":7}"#;
            let wrong = format!("index {kind} {document}");
            assert_eq!(records(&body, Some("p")), [wrong.as_str(), next], "{action} {document}");
        }
    }

    #[test]
    fn names_are_seen_however_they_are_written() {
        let body = concat!(
            "{\"\\u0063reate\":{\"\\u005findex\":\"a\",\"_\\u0069d\":\"1\"}}\n{\"m\":1}\n",
            "{\"update\":{\"_index\":\"a\"}}\n{\"d\\u006fc\":{\"m\":2}}\n",
            "{\"index\":{\"_index\":\"a\",\"\\x\":1}}\n{}\n",
        );
        assert_eq!(
            records(body, None),
            [
                r#"create {"elastic.bulk.index":"a","elastic.bulk.id":"1","m":1}"#,
                r#"update {"elastic.bulk.index":"a","m":2}"#,
                "line 5",
            ]
        );
    }

    #[test]
    fn an_id_and_an_index_have_a_longest_length_without_their_escapes() {
        let (id, index) = (ID_BYTES_MAX, INDEX_BYTES_MAX);
        for (name, value, wrong) in [
            ("_id", format!("\"{}\"", "x".repeat(id)), None),
            ("_id", format!("\"{}\"", "\\u0078".repeat(id)), None),
            ("_id", "7".repeat(id), None),
            ("_id", format!("\"{}\"", "x".repeat(id + 1)), Some(Wrong::LongId)),
            ("_id", format!("\"{}\"", "\u{e4}".repeat(id / 2 + 1)), Some(Wrong::LongId)),
            ("_id", "7".repeat(id + 1), Some(Wrong::LongId)),
            ("_index", format!("\"{}\"", "\\u0078".repeat(index)), None),
            ("_index", format!("\"{}\"", "x".repeat(index + 1)), Some(Wrong::LongIndex)),
        ] {
            let body = format!("{{\"index\":{{\"{name}\":{value}}}}}\n{{}}\n");
            let all: Vec<_> = Operations::new(body.as_bytes(), Some("p")).flatten().collect();
            assert_eq!((all.len(), all[0].document.err()), (1, wrong), "{name} {value}");
            assert_eq!(all[0].id.is_some(), name == "_id" && wrong.is_none(), "{name} {value}");
        }
    }

    #[test]
    fn a_line_that_is_no_action_ends_the_body() {
        for (wrong, line) in [
            ("{\"m\":1}", 3),
            ("nonsense", 3),
            ("{\"index\":7}", 3),
            ("{\"index\":{}", 3),
            ("{}", 3),
            ("[]", 3),
        ] {
            let body = format!("{{\"index\":{{\"_index\":\"a\"}}}}\n{{}}\n{wrong}\n{{}}\n");
            let got = records(&body, None);
            assert_eq!(got.last(), Some(&format!("line {line}")), "{wrong}");
            assert_eq!(got.len(), 2);
        }
        assert!(records("\n \n", None).is_empty());
    }

    #[test]
    fn any_bytes_are_cut_into_objects() {
        let seed = b"{\"create\":{\"_index\":\"a\",\"_id\":\"1\"}}\n{\"m\":[1,{}]}\n{\"update\":{}}\n{\"doc\":{\"m\":3}}\n";
        let (mut out, mut written) = (Vec::new(), 0);
        for body in testkit::mistaken(seed, b"{}[]\",:\\n0e-. \n", 20_000) {
            for operation in Operations::new(&body, Some("i")).flatten() {
                let Ok(document) = operation.document else { continue };
                operation.write(document, &mut out);
                let shown = out.escape_ascii();
                let record = serde_json::from_slice::<serde_json::Value>(&out);
                let record = record.unwrap_or_else(|wrong| panic!("{wrong}: {shown}"));
                assert!(record["elastic.bulk.index"].is_string(), "{shown}");
                written += 1;
            }
        }
        assert!(written > 5_000, "{written}");
    }
}
