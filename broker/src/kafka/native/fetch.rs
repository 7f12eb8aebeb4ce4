//! Reading partitions into one queue, without a consumer group.
//!
//! librdkafka calls this the simple consumer: each partition is started at an offset and stopped on
//! its own, which touches no other partition, needs no group coordinator and no right to a group.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use rdkafka::bindings::*;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::Notify;

use crate::kafka::context::Context;

/// A consumer whose started partitions all flow into one queue.
pub(crate) struct FetchQueue {
    queue: NonNull<rd_kafka_queue_t>,
    /// One handle for each topic ever started, held to the end so that `rkt` pointers stay valid.
    topics: HashMap<Arc<str>, NonNull<rd_kafka_topic_t>>,
    /// Names by the pointer that messages carry.
    names: HashMap<*mut rd_kafka_topic_t, Arc<str>>,
    started: Vec<(Arc<str>, i32)>,
    batch: Vec<*mut rd_kafka_message_t>,
    wake: Arc<Notify>,
    /// Last: everything above belongs to it. `drop` ends them first.
    consumer: BaseConsumer<Context>,
}

// SAFETY: librdkafka's handles may be used from any thread; the raw pointers are owned by this value
// and only used through it.
unsafe impl Send for FetchQueue {}
// SAFETY: nothing is reachable through `&FetchQueue` but the consumer and the notifier, both `Sync`.
unsafe impl Sync for FetchQueue {}

/// Runs on a thread of librdkafka, under the queue's lock.
unsafe extern "C" fn filled(_: *mut rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: `opaque` is the `Notify` that the queue's owner keeps until it has disabled this call.
    unsafe { &*opaque.cast::<Notify>() }.notify_one();
}

impl FetchQueue {
    /// `wake` is signalled whenever the queue gets its first item.
    pub(crate) fn new(consumer: BaseConsumer<Context>, wake: Arc<Notify>) -> FetchQueue {
        // SAFETY: the client outlives the queue (see `drop`), and never returns null here.
        let queue = unsafe { rd_kafka_queue_new(consumer.client().native_ptr()) };
        let queue = NonNull::new(queue).expect("rd_kafka_queue_new never returns null");
        // SAFETY: `wake` lives in this value until `drop` has disabled the callback; disabling takes
        // the queue's lock, under which the callback runs, so none is running afterwards.
        unsafe {
            rd_kafka_queue_cb_event_enable(
                queue.as_ptr(),
                Some(filled),
                Arc::as_ptr(&wake).cast_mut().cast(),
            );
        }
        FetchQueue {
            queue,
            topics: HashMap::new(),
            names: HashMap::new(),
            started: Vec::new(),
            batch: Vec::new(),
            wake,
            consumer,
        }
    }

    /// Signalled whenever the queue gets its first item.
    pub(crate) fn wake(&self) -> &Arc<Notify> {
        &self.wake
    }

    /// Serves what is not about partitions (log lines, client-wide errors), so that it cannot pile up.
    pub(crate) fn serve(&self) {
        for _ in 0..1000 {
            if self.consumer.poll(std::time::Duration::ZERO).is_none() {
                return;
            }
        }
    }

    /// Starts a partition that is not started, at `offset`.
    pub(crate) fn start(
        &mut self,
        topic: &Arc<str>,
        partition: i32,
        offset: i64,
    ) -> Result<(), RDKafkaErrorCode> {
        let handle = self.topic(topic)?;
        // SAFETY: `handle` and `queue` are alive, and of the same client.
        let code = unsafe {
            rd_kafka_consume_start_queue(handle.as_ptr(), partition, offset, self.queue.as_ptr())
        };
        if code != 0 {
            // SAFETY: reads a thread-local of librdkafka, set by the call just made on this thread.
            return Err(unsafe { rd_kafka_last_error() }.into());
        }
        self.started.push((Arc::clone(topic), partition));
        Ok(())
    }

    /// Stops a partition; its items that are still queued are dropped by librdkafka, except errors.
    pub(crate) fn stop(&mut self, topic: &str, partition: i32) {
        let Some(at) = self
            .started
            .iter()
            .position(|(t, p)| &**t == topic && *p == partition)
        else {
            return;
        };
        self.started.swap_remove(at);
        if let Some(handle) = self.topics.get(topic) {
            // SAFETY: `handle` is alive. Waits only for librdkafka's own thread to take note.
            unsafe { rd_kafka_consume_stop(handle.as_ptr(), partition) };
        }
    }

    /// How many items are queued, those of stopped partitions included.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: the queue is alive; librdkafka locks it.
        unsafe { rd_kafka_queue_length(self.queue.as_ptr()) }
    }

    /// Hands at most `max` queued items to `take`, without waiting; returns how many there were.
    pub(crate) fn drain(&mut self, max: usize, mut take: impl FnMut(Raw<'_>)) -> usize {
        self.batch.clear();
        self.batch.resize(max, std::ptr::null_mut());
        // SAFETY: the array has room for `max` pointers; the queue is alive.
        let count = unsafe {
            rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, self.batch.as_mut_ptr(), max)
        };
        let count = usize::try_from(count).unwrap_or(0);
        for index in 0..count {
            let pointer = self.batch[index];
            // SAFETY: librdkafka filled `count` entries with messages that are ours to destroy.
            let message = unsafe { &*pointer };
            let topic = self.name(message.rkt);
            take(Raw {
                message,
                topic: &topic,
                _alive: PhantomData,
            });
            // SAFETY: as above, once each; nothing borrows it any more.
            unsafe { rd_kafka_message_destroy(pointer) };
        }
        self.batch.clear();
        count
    }

    fn name(&mut self, rkt: *mut rd_kafka_topic_t) -> Arc<str> {
        if let Some(name) = self.names.get(&rkt) {
            return Arc::clone(name);
        }
        if rkt.is_null() {
            return Arc::from("");
        }
        // SAFETY: the message that carried `rkt` is alive; the name is a C string owned by the topic.
        let name = unsafe { CStr::from_ptr(rd_kafka_topic_name(rkt)) }.to_string_lossy();
        let name = match self.topics.get_key_value(&*name) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(&*name),
        };
        self.names.insert(rkt, Arc::clone(&name));
        name
    }

    fn topic(&mut self, topic: &Arc<str>) -> Result<NonNull<rd_kafka_topic_t>, RDKafkaErrorCode> {
        if let Some(handle) = self.topics.get(topic) {
            return Ok(*handle);
        }
        let name = CString::new(&**topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
        // SAFETY: the client is alive; without a configuration the client's own topic settings apply.
        let handle = unsafe {
            rd_kafka_topic_new(
                self.consumer.client().native_ptr(),
                name.as_ptr(),
                std::ptr::null_mut(),
            )
        };
        let handle = NonNull::new(handle).ok_or(RDKafkaErrorCode::InvalidTopic)?;
        self.topics.insert(Arc::clone(topic), handle);
        Ok(handle)
    }
}

impl Drop for FetchQueue {
    fn drop(&mut self) {
        // SAFETY: the callback is off before `wake` goes; partitions stop before their queue and
        // topics go; all of them go before the client, which is dropped after this body.
        unsafe {
            rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, std::ptr::null_mut());
            for (topic, partition) in self.started.drain(..) {
                if let Some(handle) = self.topics.get(&topic) {
                    rd_kafka_consume_stop(handle.as_ptr(), partition);
                }
            }
            rd_kafka_queue_destroy(self.queue.as_ptr());
            for (_, handle) in self.topics.drain() {
                rd_kafka_topic_destroy(handle.as_ptr());
            }
        }
    }
}

/// One item of the queue, valid while it is being looked at: a record, an end, or an error.
pub(crate) struct Raw<'a> {
    message: &'a rd_kafka_message_t,
    pub(crate) topic: &'a Arc<str>,
    _alive: PhantomData<&'a ()>,
}

impl<'a> Raw<'a> {
    pub(crate) fn code(&self) -> RDKafkaErrorCode {
        self.message.err.into()
    }

    pub(crate) fn partition(&self) -> i32 {
        self.message.partition
    }

    /// Of a record its own; of an end or an error the position it happened at.
    pub(crate) fn offset(&self) -> i64 {
        self.message.offset
    }

    pub(crate) fn key(&self) -> Option<&'a [u8]> {
        // SAFETY: parts of a message that is alive for 'a.
        unsafe { bytes(self.message.key, self.message.key_len) }
    }

    /// Of an error: its text.
    pub(crate) fn value(&self) -> Option<&'a [u8]> {
        // SAFETY: parts of a message that is alive for 'a.
        unsafe { bytes(self.message.payload, self.message.len) }
    }

    pub(crate) fn timestamp_ms(&self) -> i64 {
        // SAFETY: the message is alive; the kind of time is not asked for.
        unsafe { rd_kafka_message_timestamp(self.message, std::ptr::null_mut()) }
    }

    /// Name and value of each header, in order.
    pub(crate) fn headers(&self, mut each: impl FnMut(&[u8], &[u8])) {
        let mut headers = std::ptr::null_mut();
        // SAFETY: the message is alive and keeps the headers; names are C strings, values come with
        // their length and may be null.
        unsafe {
            if !matches!(
                rd_kafka_message_headers(self.message, &mut headers),
                rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
            ) {
                return;
            }
            let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
            let mut index = 0;
            while matches!(
                rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size),
                rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
            ) {
                each(
                    CStr::from_ptr(name).to_bytes(),
                    bytes(value.cast_mut(), size).unwrap_or_default(),
                );
                index += 1;
            }
        }
    }
}

/// # Safety
/// `pointer` is null, or `len` bytes may be read from it for 'a.
unsafe fn bytes<'a>(pointer: *mut c_void, len: usize) -> Option<&'a [u8]> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { std::slice::from_raw_parts(pointer.cast::<u8>().cast_const(), len) })
}
