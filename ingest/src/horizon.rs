//! Ids that carry their time (UUIDv7): one that the acceptance rule may have forgotten is refused at the
//! door, so that a retry is never silently stored twice (D3).

use protocol::ProtocolError;
use uuid::{Uuid, Variant};

/// How far ahead of our clock an id may be, ms.
const AHEAD_MAX_MS: i64 = 60_000;

/// Refuses a UUIDv7 older than the horizon or too far ahead. Other ids carry no time and pass.
pub(crate) fn check(id: &str, now_ms: i64) -> Result<(), ProtocolError> {
    let Some(made_ms) = uuid_v7_ms(id) else {
        return Ok(());
    };
    if now_ms.saturating_sub(made_ms) > state::HORIZON_MS {
        return Err(ProtocolError::invalid(
            "id is a UUIDv7 older than 10 minutes: whether it was published before is forgotten by now",
        ));
    }
    if made_ms.saturating_sub(now_ms) > AHEAD_MAX_MS {
        return Err(ProtocolError::invalid("id is a UUIDv7 of the future"));
    }
    Ok(())
}

/// A new UUIDv7: sorts by time within this process.
pub(crate) fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// The time in a UUIDv7, Unix ms. Only the usual spelling with hyphens counts: 32 hexadecimal digits alone
/// may be a hash of anything.
fn uuid_v7_ms(id: &str) -> Option<i64> {
    if id.len() != 36 {
        return None;
    }
    let uuid = Uuid::try_parse(id).ok()?;
    if uuid.get_version_num() != 7 || uuid.get_variant() != Variant::RFC4122 {
        return None;
    }
    i64::try_from(uuid.as_u128() >> 80).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_763_683_200_123;

    fn v7(ms: i64) -> String {
        let ms = u128::try_from(ms).unwrap();
        Uuid::from_u128((ms << 80) | (0x7 << 76) | (0b10 << 62) | 12_345).to_string()
    }

    #[test]
    fn the_edges_of_the_horizon_are_ten_minutes_behind_and_one_ahead() {
        assert!(check(&v7(NOW - 600_000), NOW).is_ok());
        assert!(check(&v7(NOW - 600_001), NOW).is_err());
        assert!(check(&v7(NOW + 60_000), NOW).is_ok());
        assert!(check(&v7(NOW + 60_001), NOW).is_err());
        assert!(check(&v7(0), NOW).is_err());
    }

    #[test]
    fn ids_that_carry_no_time_pass() {
        for id in [
            "order-1",
            "9b2e1d34-0000-4000-8000-000000000000",
            "00000000-0000-7000-c000-000000000000",
            "000000000000700080000000000000ff",
            "d41d8cd98f00720498ecf8427e000000",
        ] {
            assert!(check(id, NOW).is_ok(), "{id}");
        }
    }

    #[test]
    fn our_own_ids_are_uuid_v7_of_now() {
        let now = service::http::now_ms();
        let id = new_id();
        assert!((uuid_v7_ms(&id).unwrap() - now).abs() < 5_000);
        assert!(schemas::valid_id(&id));
    }

    proptest! {
        #[test]
        fn the_time_in_an_id_decides_and_nothing_else(ms in 0i64..(1 << 48), upper: bool) {
            let id = if upper { v7(ms).to_uppercase() } else { v7(ms) };
            prop_assert_eq!(uuid_v7_ms(&id), Some(ms));
            prop_assert_eq!(check(&id, NOW).is_ok(), (NOW - 600_000..=NOW + 60_000).contains(&ms));
        }
    }
}
