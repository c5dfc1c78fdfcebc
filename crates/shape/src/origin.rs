//! What the envelope knows of where a record stood: the file that an agent read, the topic that it was taken from.

use crate::native::Ids;
use event::{Kind, Protocol, RowWriter};
use std::sync::Arc;

/// Writes it beside what the record says itself.
pub(crate) fn write(row: &mut RowWriter<'_>, ids: &Ids) {
    let envelope = row.envelope();
    if envelope.path.is_empty() {
        return;
    }
    match envelope.protocol {
        Protocol::Agent => {
            let path = Arc::clone(&envelope.path);
            row.push(ids.log_path, Kind::Str, path.as_bytes());
        }
        Protocol::Kafka => {
            let path = Arc::clone(&envelope.path);
            let (topic, partition) = path.rsplit_once('/').unwrap_or((&path, ""));
            row.push(ids.kafka_topic, Kind::Str, topic.as_bytes());
            row.push(ids.kafka_partition, Kind::Int, partition.as_bytes());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::packs::PackSet;
    use crate::shaper::{Scratch, Settings, Shaper};
    use crate::tables::Tables;
    use event::{DictionaryBuilder, Envelope, EventBatch, EventId, Protocol, RowHead};
    use std::sync::Arc;

    #[test]
    fn a_file_and_a_topic_are_fields_of_their_own() {
        let packs = PackSet::builtin().unwrap();
        let mut names = DictionaryBuilder::new();
        packs.register(&mut names);
        let dict = names.build();
        let (tables, settings) = (Arc::new(Tables::default()), Arc::new(Settings::default()));
        let shaper = Shaper::new(Arc::new(packs), dict.clone(), tables, settings);
        let said = |protocol, path: &str| {
            let envelope = Arc::new(Envelope { path: path.into(), ..Envelope::of("s", protocol) });
            let mut batch = EventBatch::new(dict.clone());
            let head = RowHead { id: EventId::at(0), received_ns: 0, stream_ns: 0, envelope };
            shaper.shape(head, b"x", &mut batch, &mut Scratch::default());
            let names = ["log.file.path", "kafka.topic", "kafka.partition"];
            names.map(|name| batch.row(0).text(name).map(|text| text.to_string()))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(said(Protocol::Agent, "/var/log/x"), [some("/var/log/x"), None, None]);
        assert_eq!(said(Protocol::Kafka, "a/b/12"), [None, some("a/b"), some("12")]);
        assert_eq!(said(Protocol::Http, ""), [None, None, None]);
    }
}
