//! Whether a record that could not be delivered may nevertheless be in the log.

use rdkafka::bindings::{rd_kafka_message_status, rd_kafka_msg_status_t};
use rdkafka::message::BorrowedMessage;

/// False only when librdkafka knows that no attempt reached the log.
pub(crate) fn maybe_stored(message: &BorrowedMessage<'_>) -> bool {
    // SAFETY: the borrow keeps the message alive; the call only reads it.
    let status = unsafe { rd_kafka_message_status(message.ptr()) };
    !matches!(
        status,
        rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED
    )
}
