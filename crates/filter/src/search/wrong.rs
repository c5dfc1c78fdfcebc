//! Queries as tired people type them. None is understood as something else than it was meant as: each
//! is refused at its column, with what to write.

use super::{parse, parse_filter};

const NOW: i64 = 1_795_800_000_000_000_000;

/// Query, column, part of the message, part of the hint.
const WRONG: &[(&str, usize, &str, &str)] = &[
    // Networks and addresses.
    ("source.ip:10.0.0.0/99", 11, "`10.0.0.0/99` is no network", "at most 32"),
    ("source.ip:10.0.0.0/33 user.name:x", 11, "no network", "at most 32"),
    ("source.ip:10.0.0/8", 11, "no network", "four numbers"),
    ("source.ip:300.1.1.1/8", 11, "no network", "up to 255"),
    ("source.ip:10.0.0.0/", 11, "no network", "10.0.0.0/8"),
    ("source.ip:10.0.0.0/255.0.0.0", 11, "no network", "not the mask"),
    ("source.ip:10.0.0.0/8,192.168.0.0/16", 11, "no network", "(a or b)"),
    ("source.ip:2001:db8::/129", 11, "no network", "at most 128"),
    ("source.ip:10.0.0.1-10.0.0.9", 11, "ranges of addresses", "10.0.0.0/28"),
    ("source.ip=10.0.0.0/40", 11, "no network", "at most 32"),
    ("source.ip:(10.0.0.0/8 or 10.1.0.0/64)", 26, "no network", "at most 32"),
    // Signs of other languages.
    ("a:1 && b:2", 5, "`&`", "`and`"),
    ("a:1 & b:2", 5, "`&`", "`and`"),
    ("a:1 || b:2", 6, "`||`", "`or`"),
    ("!user.name:root", 1, "`!`", "`not`"),
    ("a:1 !(b:2)", 5, "`!`", "`not`"),
    ("-user.name:root", 1, "`-`", "`not`"),
    ("a:1 -event.code>5", 5, "`-`", "`not`"),
    ("+user.name:root", 1, "`+`", "leave it out"),
    ("user.name==root", 11, "`==`", "one `=`"),
    ("source.bytes=>5", 14, "`=>`", ">="),
    ("source.bytes=<5", 14, "`=<`", ">="),
    ("source.bytes<>5", 14, "`<>`", "!="),
    ("user.name=~root", 11, "`=~`", "/expression/"),
    ("user.name!=~root", 12, "`!=~`", "/expression/"),
    ("user.name=(a or b)", 11, "`=(`", "(a or b)"),
    ("user.name in (root, admin)", 11, "`in`", "user.name:(a or b)"),
    ("user.name IN(root)", 11, "`IN`", "user.name:(a or b)"),
    ("a:1 user.name like \"adm%\"", 15, "`like`", "user.name:prefix*"),
    ("process.name contains cmd", 14, "`contains`", "*middle*"),
    ("process.name startswith cmd", 14, "`startswith`", "prefix*"),
    ("process.name endswith .exe", 14, "`endswith`", "*suffix"),
    ("process.name matches ^cmd", 14, "`matches`", "/expression/"),
    ("user.name is null", 11, "`is`", "not user.name:*"),
    ("user.name IS NOT NULL", 11, "`IS`", "user.name:*"),
    ("user.name exists", 11, "`exists`", "user.name:*"),
    ("event.severity between 1 and 5", 16, "`between`", "[1 to 9]"),
    ("_exists_:user.name", 1, "no fields", "user.name:*"),
    ("a:1 _missing_:user.name", 5, "no fields", "not user.name:*"),
    // Colons, quotes, commas.
    ("user.name :root", 11, "before `:`", "no space"),
    (":root", 1, "before `:`", "no space"),
    ("\"user.name\":root", 12, "before `:`", "no quotes"),
    ("user.name:", 11, "value is missing", "quote an empty"),
    ("user.name: ", 12, "value is missing", "quote an empty"),
    ("user.name:'root'", 11, "`'`", "\"two words\""),
    ("user.name:\u{201c}root\u{201d}", 11, "quotes nothing", "straight"),
    ("\u{201e}failed password\u{201c}", 1, "quotes nothing", "straight"),
    ("user.name=\u{2018}root\u{2019}", 11, "quotes nothing", "straight"),
    ("user.name:(root, admin)", 12, "`,` after `root`", "`or`"),
    ("user.name:\"root", 11, "not closed", "add a"),
    ("\"failed password", 1, "not closed", "add a"),
    ("user.name:[root, admin]", 18, "`to` is missing", "(a or b)"),
    // Combination.
    ("a:1 and", 8, "nothing after `and`", "write a term"),
    ("a:1 or", 7, "term is missing", "FIELD:VALUE"),
    ("or a:1", 1, "nothing before `or`", "quote"),
    ("AND a:1", 1, "nothing before `AND`", "quote"),
    ("a:1 or or b:2", 8, "nothing before `or`", "quote"),
    ("a:1 and and b:2", 9, "nothing before `and`", "quote"),
    ("a:1 and or b:2", 8, "nothing after `and`", "write a term"),
    ("not", 4, "term is missing", "FIELD:VALUE"),
    ("a:1 not", 8, "term is missing", "FIELD:VALUE"),
    ("(a:1 or b:2", 12, "`)` is missing", "close the group"),
    ("a:1)", 4, "unexpected `)`", "no group is open"),
    ("()", 2, "term is missing", "FIELD:VALUE"),
    ("user.name:(", 12, "term is missing", "FIELD:VALUE"),
    ("user.name:(a or", 16, "term is missing", "FIELD:VALUE"),
    ("user.name:(a or b", 18, "`)` is missing", "list of values"),
    // Numbers and times.
    ("source.bytes>", 14, "value is missing", "number or a time"),
    ("source.bytes>lots", 14, "neither a number nor a time", "now-15m"),
    ("source.bytes>1,000", 14, "neither a number nor a time", "write 5"),
    ("source.bytes>10k", 14, "neither a number nor a time", "write 5"),
    ("@timestamp>15m", 12, "neither a number nor a time", "now-15m"),
    ("@timestamp>-15m", 12, "neither a number nor a time", "now-15m"),
    ("@timestamp>now-1", 12, "neither a number nor a time", "now-15m"),
    ("@timestamp>now-15min", 12, "neither a number nor a time", "now-15m"),
    ("@timestamp>yesterday", 12, "neither a number nor a time", "now-15m"),
    ("@timestamp>24.11.2026", 12, "neither a number nor a time", "2026-11-24T"),
    ("a:[1 to 9", 10, "`]` is missing", "[1 to 9]"),
    ("a:[1..9]", 8, "`to` is missing", "[1 to 9]"),
    ("a:[1 9]", 6, "`to` is missing", "[1 to 9]"),
    ("a:[low to 9]", 4, "neither a number nor a time", "[1 to 9]"),
    ("a:[1 to high]", 9, "neither a number nor a time", "[1 to 9]"),
    // Expressions.
    ("a:/(/", 3, "regular expression", "look-around"),
    ("a:/x(?=y)/", 3, "regular expression", "look-around"),
    ("/[z-a]/", 1, "regular expression", "look-around"),
    ("a:/(\\w+)\\1/", 3, "regular expression", "look-around"),
    // Pipes.
    ("a:1 |", 6, "a pipe is missing", "pipes are where"),
    ("a:1 | | head 1", 7, "`||`", "`or`"),
    ("a:1 | 5", 7, "no pipe begins with `5`", "pipes are where"),
    ("a:1 | table user.name", 7, "no pipe is called `table`", "fields FIELD"),
    ("a:1 | eval x=1", 7, "no pipe is called `eval`", "SQL"),
    ("a:1 | uniq user.name", 7, "no pipe is called `uniq`", "dedup"),
    ("a:1 | summarize count()", 7, "no pipe is called `summarize`", "stats count()"),
    ("a:1 | head -1", 12, "`-1` is not a number of rows", "head 10"),
    ("a:1 | head", 11, "number of rows is missing", "head 10"),
    ("a:1 | head ten", 12, "`ten` is not a number", "head 10"),
    ("a:1 | head 1.5", 12, "`1.5` is not a number", "head 10"),
    ("a:1 | head 99999999999999999999", 12, "not a number of rows", "head 10"),
    ("a:1 | head 10 20", 15, "`head` does not know `20`", "head 10"),
    ("a:1 | limit=5", 12, "not a number of rows", "limit 10"),
    ("a:1 | top user.name limit 5", 21, "`top` does not know `limit`", "top 10 FIELD"),
    ("a:1 | top 5", 12, "field name is missing", "top 10 FIELD"),
    ("a:1 | top -5 user.name", 11, "`-5` is no field name", "quote"),
    ("a:1 | fields - message", 14, "`-` is no field name", "name the fields"),
    ("a:1 | fields -message", 14, "`-message` is no field name", "name the fields"),
    ("a:1 | fields", 13, "field name is missing", "fields FIELD"),
    ("a:1 | fields a b", 16, "`fields` does not know `b`", "fields FIELD, FIELD"),
    ("a:1 | dedup", 12, "field name is missing", "dedup FIELD"),
    ("a:1 | sort", 11, "field name is missing", "sort -COLUMN"),
    ("a:1 | sort n descending", 14, "`sort` does not know `descending`", "sort -COLUMN"),
    ("a:1 | stats sum by x", 13, "`sum` needs a field", "sum(FIELD)"),
    ("a:1 | stats dc() by x", 13, "`dc` needs a field", "dc(FIELD)"),
    ("a:1 | stats total(x)", 13, "no function is called `total`", "functions are"),
    ("a:1 | stats count( by x", 23, "`)` is missing", "count(FIELD)"),
    ("a:1 | stats count() as", 23, "field name is missing", "stats count()"),
    ("a:1 | stats count() by", 23, "field name is missing", "stats count()"),
    ("a:1 | stats count() by x,", 26, "field name is missing", "stats count()"),
    ("a:1 | stats count() group by x", 21, "`stats` does not know `group`", "by FIELD"),
    ("a:1 | stats count() where n>1", 21, "`stats` does not know `where`", "by FIELD"),
    ("a:1 | timechart count()", 17, "not a bucket width", "timechart 5m"),
    ("a:1 | timechart 5 m count()", 17, "not a bucket width", "timechart 5m"),
    ("a:1 | timechart 0m count()", 17, "not a bucket width", "timechart 5m"),
    ("a:1 | join user.name", 21, "`[` is missing", "write join"),
    ("a:1 | join user.name [b:2", 26, "`]` is missing", "write join"),
    ("a:1 | join user.name [b:2 | nope]", 29, "no pipe is called `nope`", "pipes are"),
    ("a:1 | lookup assets", 20, "field name is missing", "lookup TABLE FIELD"),
    ("a:1 | where", 12, "filter is missing", "where FILTER"),
    ("a:1 | where | head 1", 13, "filter is missing", "where FILTER"),
];

#[test]
fn every_wrong_query_is_refused_at_its_column_with_what_to_write() {
    let mut wrong = Vec::new();
    for (text, column, message, hint) in WRONG {
        match parse(text, NOW) {
            Ok(query) => wrong.push(format!("{text}: taken as {:?}", query.filter.root)),
            Err(error) => {
                let told = error.hint.clone().unwrap_or_default();
                let right = error.column == *column
                    && error.message.contains(message)
                    && told.contains(hint);
                if !right {
                    wrong.push(format!("{text}: wanted column {column}, got {error}"));
                }
            }
        }
    }
    assert!(WRONG.len() >= 100 && wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What looks like one of those and is meant as it stands.
#[test]
fn right_queries_stay_right() {
    for text in [
        "source.ip:10.0.0.5/8",
        "source.ip: 10.0.0.0/8",
        "source.ip=10.0.0.0/8",
        "source.ip!=10.0.0.0/8",
        "user.name=svc_*",
        "url.path:/admin/login",
        "message:1/2",
        "file.version:\"1.2.3/4\"",
        "winlog.logon.guid:{00000000-0000-0000-0000-000000000000}",
        "PROGRA~1",
        "c:\\windows\\system32",
        "example.com in the log",
        "update.exe is here",
        "10.0.0.1",
        "10.0.0.0/8",
        "wow!",
        "\"and\" \"or\"",
        "user.name:and",
        "R&D",
        "-enc",
        "- -x --flag",
        "a:-5",
        "a>-5",
        "a:x,y",
        "user.name:(a or b c)",
        "*:*",
        "a:1 | sort by -n, b desc | head 3 | fields a, b",
        "a:1 | stats count() by user.name | where count>5 and not user.name:x | top 3 count",
    ] {
        assert!(parse(text, NOW).is_ok(), "{text}: {:?}", parse(text, NOW));
    }
    assert_eq!(parse("*:*", NOW).unwrap().filter, parse("*", NOW).unwrap().filter);
    let same = |a: &str, b: &str| {
        assert_eq!(parse_filter(a, NOW).unwrap(), parse_filter(b, NOW).unwrap(), "{a}");
    };
    same("source.ip: 10.0.0.0/8", "source.ip:10.0.0.0/8");
    same("source.ip=10.0.0.0/8", "source.ip:10.0.0.0/8");
    same("user.name!=svc_*", "not user.name:svc_*");
}
