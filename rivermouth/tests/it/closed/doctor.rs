//! Settings that lose events: found by the doctor, refused or shouted at by services, and mended by what is named.

use testbed::{Bed, until};

use super::{metrics, refused, said};
use crate::BINARY;

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_every_dangerous_setting_with_a_code_and_services_refuse_it() {
    let bed = Bed::on_kafka(BINARY).await;
    let mut fanout = bed.start("fanout").await;
    fanout.terminate().await;
    let topic = bed.broker().topic("events");
    let healthy = bed.run(&["doctor"]).await;
    assert!(healthy.status.success(), "{}", healthy.output);
    assert!(
        healthy.output.contains(&format!("ok       {topic}\n")),
        "{}",
        healthy.output
    );
    for (key, value, code) in [
        ("cleanup.policy", "compact", "TOPIC_COMPACTED"),
        ("unclean.leader.election.enable", "true", "UNCLEAN_ELECTION"),
        ("message.timestamp.type", "CreateTime", "TIMESTAMP_TYPE"),
        ("max.message.bytes", "100000", "MESSAGE_SIZE"),
    ] {
        bed.broker().set_topic(&topic, &[(key, value)]).await;
        let doctor = until("the doctor to see it", || async {
            let doctor = bed.run(&["doctor"]).await;
            doctor.output.contains(code).then_some(doctor)
        })
        .await;
        assert_eq!(doctor.status.code(), Some(1));
        let line = doctor.output.lines().find(|line| line.contains(code));
        let line = line.unwrap_or_else(|| panic!("{code}: {}", doctor.output));
        assert!(
            line.starts_with(&format!("refused  {code} {topic}: ")),
            "{line}"
        );
        let mends = format!("--entity-name {topic} --add-config {key}=");
        assert!(
            line.contains("kafka-configs.sh") && line.contains(&mends),
            "{line}"
        );
        for service in ["ingest", "persister"] {
            assert!(refused(&bed, service).await.contains(code));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_changed_under_a_running_service_are_shouted_until_they_are_mended() {
    let mut bed = Bed::on_kafka(BINARY).await;
    bed.set("RIVERMOUTH_SETTINGS_CHECK_INTERVAL", "500ms");
    let mut persister = bed.start("persister").await;
    let topic = bed.broker().topic("events");
    let finding = |code: &str, on: u8| {
        format!("rivermouth_findings{{code=\"{code}\",about=\"{topic}\"}} {on}\n")
    };
    let wait = async |code: &str, on: u8| {
        until("a finding to be shown", || async {
            metrics(&persister)
                .await
                .contains(&finding(code, on))
                .then_some(())
        })
        .await;
    };
    bed.broker()
        .set_topic(
            &topic,
            &[("cleanup.policy", "compact"), ("max.message.bytes", "1000")],
        )
        .await;
    for code in ["TOPIC_COMPACTED", "MESSAGE_SIZE"] {
        wait(code, 1).await;
    }
    until("health to show all of it", || async {
        let settings = said(&persister, "settings").await;
        let reason = settings["reason"].as_str()?;
        let codes = ["TOPIC_COMPACTED", "MESSAGE_SIZE", "FSYNC_OFF"];
        (settings["ok"] == false && codes.iter().all(|code| reason.contains(code))).then_some(())
    })
    .await;
    // Kept for an hour, where persisters may be away for a day.
    bed.broker()
        .set_topic(&topic, &[("retention.ms", "3600000")])
        .await;
    wait("TOPIC_COMPACTED", 0).await;
    wait("MESSAGE_SIZE", 0).await;
    wait("OUTAGE_BUDGET", 1).await;
    bed.broker().set_topic(&topic, &[]).await;
    wait("OUTAGE_BUDGET", 0).await;
    let output = persister.process().output();
    assert!(
        output.contains("this must not be") && output.contains("this is mended"),
        "{output}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_tells_what_is_away_and_what_postgres_risks() {
    let mut bed = Bed::on_kafka(BINARY).await;
    let strict = bed.run(&["doctor", "--strict"]).await;
    // The servers of the tests keep nothing, and nothing has been started yet.
    for code in ["FSYNC_OFF", "FULL_PAGE_WRITES_OFF", "TOPIC_MISSING"] {
        assert!(strict.output.contains(code), "{}", strict.output);
    }
    assert_eq!(strict.status.code(), Some(1));
    bed.set("KAFKA_BOOTSTRAP", "127.0.0.1:1");
    bed.set("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing");
    let away = bed.run(&["doctor"]).await;
    assert_eq!(away.status.code(), Some(1));
    for code in [
        "refused  LOG_AWAY brokers",
        "warn     POSTGRES_AWAY postgres",
    ] {
        assert!(away.output.contains(code), "{}", away.output);
    }
    let topic = bed.broker().topic("events");
    assert!(
        away.output.contains(&format!("unknown  {topic}\n"))
            && !away.output.lines().any(|line| line.starts_with("ok")),
        "nobody has looked at a topic: {}",
        away.output
    );
    bed.set("KAFKA_BOOTSTRAP", "nowhere");
    assert_eq!(bed.run(&["doctor"]).await.status.code(), Some(64));
}
