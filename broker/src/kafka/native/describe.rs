//! Topic identity and partition count: `DescribeTopics` of the admin API.

use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::bindings::*;
use rdkafka::client::Client;
use rdkafka::error::RDKafkaErrorCode;

use crate::TopicFacts;

/// Destroys what a C constructor returned, on every way out.
struct Owned<T>(NonNull<T>, unsafe extern "C" fn(*mut T));

impl<T> Owned<T> {
    fn new(
        pointer: *mut T,
        destroy: unsafe extern "C" fn(*mut T),
    ) -> Result<Owned<T>, RDKafkaErrorCode> {
        NonNull::new(pointer)
            .map(|p| Owned(p, destroy))
            .ok_or(RDKafkaErrorCode::InvalidArgument)
    }

    fn ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the constructor that belongs to this destructor, and is
        // destroyed only here.
        unsafe { (self.1)(self.ptr()) }
    }
}

/// Asks the brokers about one topic. Blocks for at most `timeout`.
pub(crate) fn describe<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> Result<TopicFacts, RDKafkaErrorCode> {
    let name = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let rk = client.native_ptr();
    // SAFETY: `rk` lives as long as `client`. Every object made here is destroyed by its `Owned`, in
    // reverse order, so before the borrow of `client` ends; results borrow from the event and are
    // copied before it goes; counts come with the arrays they belong to; null is checked for.
    unsafe {
        let queue = Owned::new(rd_kafka_queue_new(rk), rd_kafka_queue_destroy)?;
        let options = Owned::new(
            rd_kafka_AdminOptions_new(rk, rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS),
            rd_kafka_AdminOptions_destroy,
        )?;
        let mut why = [0; 256];
        rd_kafka_AdminOptions_set_request_timeout(
            options.ptr(),
            timeout_ms,
            why.as_mut_ptr(),
            why.len(),
        );
        let names = Owned::new(
            rd_kafka_TopicCollection_of_topic_names([name.as_ptr()].as_mut_ptr(), 1),
            rd_kafka_TopicCollection_destroy,
        )?;
        rd_kafka_DescribeTopics(rk, names.ptr(), options.ptr(), queue.ptr());
        // A little longer than the request, so that its own timeout is the answer.
        let event = rd_kafka_queue_poll(queue.ptr(), timeout_ms.saturating_add(500));
        let event = Owned::new(event, rd_kafka_event_destroy)
            .map_err(|_| RDKafkaErrorCode::OperationTimedOut)?;
        good(rd_kafka_event_error(event.ptr()))?;
        let result = rd_kafka_event_DescribeTopics_result(event.ptr());
        if result.is_null() {
            return Err(RDKafkaErrorCode::Fail);
        }
        let mut count = 0;
        let topics = rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if topics.is_null() || count == 0 {
            return Err(RDKafkaErrorCode::UnknownTopicOrPartition);
        }
        let description = *topics;
        let error = rd_kafka_TopicDescription_error(description);
        if !error.is_null() {
            good(rd_kafka_error_code(error))?;
        }
        let mut partitions = 0;
        rd_kafka_TopicDescription_partitions(description, &mut partitions);
        let id = rd_kafka_Uuid_base64str(rd_kafka_TopicDescription_topic_id(description));
        if id.is_null() {
            return Err(RDKafkaErrorCode::UnsupportedFeature);
        }
        Ok(TopicFacts {
            id: CStr::from_ptr(id).to_string_lossy().into_owned(),
            partitions: u32::try_from(partitions).unwrap_or(u32::MAX),
        })
    }
}

fn good(code: rd_kafka_resp_err_t) -> Result<(), RDKafkaErrorCode> {
    match RDKafkaErrorCode::from(code) {
        RDKafkaErrorCode::NoError => Ok(()),
        code => Err(code),
    }
}
