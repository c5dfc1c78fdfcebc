//! Token texts are hostile input.

use proptest::prelude::*;
use trust::token::{TOKEN_BYTES, TokenText};
use trust::{NewToken, Role, Scope, TokenKind, verify};

fn new_token() -> NewToken {
    let scope =
        Scope { roles: vec![Role::Reader], sources: vec![], networks: vec![], expires_ns: None };
    NewToken::generate(TokenKind::Api, "t", scope, "user:k", 0).unwrap()
}

#[test]
fn a_thousand_tokens_are_different_and_all_read_back() {
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..1_000 {
        let new = new_token();
        let parsed = TokenText::parse(&new.text).unwrap();
        assert_eq!(parsed.id, new.record.id);
        assert_eq!(parsed.secret_hash(), new.record.secret_hash);
        assert!(seen.insert(new.text));
    }
}

proptest! {
    #[test]
    fn arbitrary_text_is_never_a_token(text in any::<String>()) {
        prop_assert!(TokenText::parse(&text).is_none());
    }

    #[test]
    fn text_in_the_shape_of_a_token_needs_its_check(text in "alc_(ing|api|set)_[0-9a-f]{16}_[0-9a-f]{72}") {
        prop_assert_eq!(text.len(), TOKEN_BYTES);
        let body = &text[..TOKEN_BYTES - 8];
        let good = format!("{:08x}", crc32c::crc32c(body.as_bytes())) == text[TOKEN_BYTES - 8..];
        prop_assert_eq!(TokenText::parse(&text).is_some(), good);
        let fixed = format!("{body}{:08x}", crc32c::crc32c(body.as_bytes()));
        prop_assert!(TokenText::parse(&fixed).is_some());
        // A well-formed text with a made-up secret still does not get in.
        let record = new_token().record;
        prop_assert!(verify(&fixed, None, 0, |_| Some(record)).is_err());
    }

    #[test]
    fn bytes_put_into_a_good_token_are_noticed(at in 0usize..TOKEN_BYTES, c in any::<char>()) {
        let new = new_token();
        let mut text = new.text.clone();
        text.replace_range(at..=at, &c.to_string());
        let ok = verify(&text, None, 0, |_| Some(new.record.clone())).is_ok();
        prop_assert_eq!(ok, text == new.text);
    }
}
