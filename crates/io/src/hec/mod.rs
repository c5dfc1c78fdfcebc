//! Splunk's HTTP event collector: what its bodies hold, what it answers, and its acknowledgements. Pure.
//!
//! ```text
//! {"time":1,"host":"a","event":"x"}{"event":"y"}  --Events-->  one record per event
//!                                                              (what the first said of itself holds on)
//! batch durable --> Acks::note --> ackId;   /ack --> Acks::take --> true, once
//! ```
//!
//! Not here: HTTP, tokens, the journal.

mod acks;
mod events;

pub use acks::{
    ALL_CHANNELS_MAX, ALL_IDS_MAX, Acks, CHANNEL_BYTES_MAX, CHANNEL_IDLE, CHANNELS_MAX, IDS_MAX,
    PRINCIPALS_MAX,
};
pub use events::{Event, Events, RawLine, Refused, SAID, Wrong};

/// What a request is answered, by the number that clients look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// All that was sent is durable.
    Success = 0,
    /// The token was revoked, or its time is over.
    TokenDisabled = 1,
    /// There is no token.
    TokenRequired = 2,
    /// There is an authorization, but none that is understood.
    InvalidAuthorization = 3,
    /// Nobody has this token, or it may not write here.
    InvalidToken = 4,
    /// The body is empty.
    NoData = 5,
    /// The body cannot be read from some event on.
    InvalidFormat = 6,
    /// The index is no text.
    IncorrectIndex = 7,
    /// A mistake of ours.
    Internal = 8,
    /// Not now: send it again.
    Busy = 9,
    /// A question about acknowledgements names no channel.
    ChannelMissing = 10,
    /// The channel's name is none.
    InvalidChannel = 11,
    /// An object has no `event`.
    EventRequired = 12,
    /// An `event` is empty.
    EventBlank = 13,
    /// Acknowledgements are switched off; here they never are.
    AckDisabled = 14,
    /// `fields` is no object.
    InvalidFields = 15,
    /// Tokens in the query are not taken; here they always are.
    QueryTokenDisabled = 16,
    /// The collector takes events.
    Healthy = 17,
}

impl Code {
    /// Every code with its HTTP status and the text that clients know it by.
    pub const ALL: &[(Code, u16, &'static str)] = &[
        (Code::Success, 200, "Success"),
        (Code::TokenDisabled, 403, "Token disabled"),
        (Code::TokenRequired, 401, "Token is required"),
        (Code::InvalidAuthorization, 401, "Invalid authorization"),
        (Code::InvalidToken, 403, "Invalid token"),
        (Code::NoData, 400, "No data"),
        (Code::InvalidFormat, 400, "Invalid data format"),
        (Code::IncorrectIndex, 400, "Incorrect index"),
        (Code::Internal, 500, "Internal server error"),
        (Code::Busy, 503, "Server is busy"),
        (Code::ChannelMissing, 400, "Data channel is missing"),
        (Code::InvalidChannel, 400, "Invalid data channel"),
        (Code::EventRequired, 400, "Event field is required"),
        (Code::EventBlank, 400, "Event field cannot be blank"),
        (Code::AckDisabled, 400, "ACK is disabled"),
        (Code::InvalidFields, 400, "Error in handling indexed fields"),
        (Code::QueryTokenDisabled, 400, "Query string authorization is not enabled"),
        (Code::Healthy, 200, "HEC is healthy"),
    ];

    /// The HTTP status it is sent with.
    pub fn status(self) -> u16 {
        Self::ALL[self as usize].1
    }

    /// Its text.
    pub fn text(self) -> &'static str {
        Self::ALL[self as usize].2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_at_their_numbers() {
        for (number, (code, ..)) in Code::ALL.iter().enumerate() {
            assert_eq!(*code as usize, number);
        }
        assert_eq!((Code::Healthy as usize, Code::ALL.len()), (17, 18));
        assert_eq!((Code::Busy.status(), Code::Busy.text()), (503, "Server is busy"));
    }
}
