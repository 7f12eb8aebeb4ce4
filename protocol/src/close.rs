//! The codes a WebSocket is closed with, and whether a client should come back.

/// Normal end, asked for by the client.
pub const NORMAL: u16 = 1000;
/// Framing against RFC 6455.
pub const PROTOCOL: u16 = 1002;
/// A kind of frame that is not spoken here.
pub const UNSUPPORTED: u16 = 1003;
/// A text frame that is not UTF-8.
pub const BAD_DATA: u16 = 1007;
/// Sustained abuse: the 100th unreadable message in a minute, or a limit ignored.
pub const ABUSE: u16 = 1008;
/// A frame over the limit.
pub const TOO_LARGE: u16 = 1009;
/// A fault of the server.
pub const INTERNAL: u16 = 1011;
/// The node restarts.
pub const RESTART: u16 = 1012;
/// The node is full; another may have room.
pub const TRY_LATER: u16 = 1013;
/// The node is draining; the reason carries a spread in milliseconds.
pub const DRAINING: u16 = 3001;
/// The client reads nothing; the reason carries its cursor.
pub const READS_NOTHING: u16 = 3008;
/// No credential, or one that is not valid.
pub const AUTH: u16 = 3500;
/// The token has expired.
pub const EXPIRED: u16 = 3501;
/// The session is gone; start afresh.
pub const INVALID_SESSION: u16 = 3502;
/// The one subscription this connection was opened for was refused.
pub const SUBSCRIPTION_REFUSED: u16 = 3503;

/// Whether a client that was closed with `code` should reconnect by itself.
///
/// 3000–3499 and 1001, 1006, 1011, 1012, 1013 mean yes; everything else means not until
/// something has changed.
pub fn reconnects(code: u16) -> bool {
    matches!(code, 3000..=3499 | 1001 | 1006 | 1011 | 1012 | 1013)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_passing_troubles_ask_for_a_reconnect() {
        for code in [
            DRAINING,
            READS_NOTHING,
            INTERNAL,
            RESTART,
            TRY_LATER,
            1001,
            1006,
        ] {
            assert!(reconnects(code), "{code}");
        }
        for code in [
            NORMAL,
            PROTOCOL,
            UNSUPPORTED,
            BAD_DATA,
            ABUSE,
            TOO_LARGE,
            AUTH,
            EXPIRED,
            INVALID_SESSION,
            SUBSCRIPTION_REFUSED,
        ] {
            assert!(!reconnects(code), "{code}");
        }
    }
}
