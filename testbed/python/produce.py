"""An independent producer: confluent-kafka, nothing of Rivermouth's own.

usage: produce.py BOOTSTRAP TOPIC REGISTRY_URL SCHEMA_FILE KEY

Writes one event in each form of the contract to TOPIC under KEY, in order, and prints one line of JSON for each:
what was meant, and where Kafka put it.
"""

import io
import json
import struct
import sys

import fastavro
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

bootstrap, topic, registry_url, schema_file, key = sys.argv[1:]
schema_text = open(schema_file, encoding="utf-8").read()
schema = fastavro.parse_schema(json.loads(schema_text))

# What the Java client does; librdkafka's own default would put the same key elsewhere.
producer = Producer({
    "bootstrap.servers": bootstrap,
    "partitioner": "murmur2_random",
    "enable.idempotence": True,
})


def send(what, value, headers):
    def delivered(error, message):
        if error is not None:
            raise SystemExit(f"{what['form']}: {error}")
        print(json.dumps({**what, "partition": message.partition(), "offset": message.offset()}), flush=True)

    producer.produce(topic, key=key, value=value, headers=headers, on_delivery=delivered)
    if producer.flush(60) != 0:
        raise SystemExit(f"{what['form']}: not delivered")


def meant(form, event, id, user_id, data):
    return {"form": form, "event": event, "id": id, "userId": user_id, "data": data}


def envelope(what):
    return {"event": what["event"], "data": what["data"], "id": what["id"], "userId": what["userId"], "to": None, "lane": "durable"}


# JSON, with the blanks that json.dumps leaves and a non-ASCII letter.
what = meant("json", "draw", "py-json", "py", '{"x":1.5,"note":"ä b"}')
value = json.dumps({"event": "draw", "id": "py-json", "userId": "py", "data": {"x": 1.5, "note": "ä b"}}, ensure_ascii=False)
send(what, value.encode(), [("content-type", b"application/json")])

# CloudEvents, binary.
what = meant("cloudevents-binary", "note.added", "py-ce-binary", "py", '{"text":"hello"}')
send(what, b'{ "text": "hello" }', [
    ("ce_specversion", b"1.0"), ("ce_type", b"note.added"), ("ce_id", b"py-ce-binary"), ("ce_source", b"/py"),
    ("ce_userid", b"py"), ("ce_time", b"2026-01-01T00:00:00Z"), ("content-type", b"application/json"),
])

# CloudEvents, structured.
what = meant("cloudevents-structured", "note.added", "py-ce-structured", None, '[1,2,{"a":null}]')
value = json.dumps({"specversion": "1.0", "type": "note.added", "id": "py-ce-structured", "source": "/py",
                    "datacontenttype": "application/json", "data": [1, 2, {"a": None}]})
send(what, value.encode(), [("content-type", b"application/cloudevents+json; charset=utf-8")])

# Avro, single object: two bytes, the fingerprint, the datum.
what = meant("avro-single-object", "dice.roll", "py-avro-single", "py", '{"sides":20,"result":17}')
canonical = fastavro.schema.to_parsing_canonical_form(json.loads(schema_text))
fingerprint = bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))
datum = io.BytesIO()
fastavro.schemaless_writer(datum, schema, envelope(what))
send(what, b"\xc3\x01" + fingerprint + datum.getvalue(), [])

# Avro, Confluent framing, by Confluent's own serializer and a registry.
what = meant("avro-confluent", "dice.roll", "py-avro-confluent", None, '{"sides":6,"result":3}')
registry = SchemaRegistryClient({"url": registry_url})
serialize = AvroSerializer(registry, schema_text, lambda value, _: value)
value = serialize(envelope(what), SerializationContext(topic, MessageField.VALUE))
assert value[0] == 0 and struct.unpack(">I", value[1:5])[0] > 0
send(what, value, [])

# No id: the place in the log becomes it.
what = meant("json-without-id", "draw", None, None, "null")
send(what, b'{"event":"draw"}', [])
