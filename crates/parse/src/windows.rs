//! The shapes in which Windows events travel, told apart by field names, and the XML form.

use crate::ParseError;
use event::RowWriter;

/// How an event log record was turned into names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WindowsShape {
    /// `Event.System.*`, `Event.EventData.*`, `Event.UserData.*` (evtx_dump, and our XML reader).
    EvtxDump,
    /// `winlog.event_id`, `winlog.event_data.*` (winlogbeat 7 and later, Elastic Agent).
    Winlogbeat,
    /// `event_id`, `event_data.*` at the top (winlogbeat 6).
    Winlogbeat6,
    /// `EventID`, `Channel`, `SourceName`, `EventTime` beside the data's own names (NXLog).
    Nxlog,
    /// `EventID` and the data's own names, nothing of a shipper (Sysmon exports, Sigma samples).
    Flat,
}

/// Tells the shape from field names, in any order.
pub fn shape_of<'n>(names: impl Iterator<Item = &'n str>) -> Option<WindowsShape> {
    let _ = names;
    None
}

/// Reads `<Event xmlns=...>` XML into the names of [`WindowsShape::EvtxDump`].
pub fn xml(text: &[u8], row: &mut RowWriter<'_>) -> Result<usize, ParseError> {
    let _ = (text, row);
    Err(ParseError::Expected { format: "Windows event XML", at: 0, expected: "<Event>" })
}
