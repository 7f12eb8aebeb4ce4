//! The state topic created again: what the topics were is forgotten, and nobody guesses.

use serde_json::json;
use testbed::Bed;

use super::{CHANNEL, refused, stored};
use crate::BINARY;
use crate::talk::{Talk, fill};

#[tokio::test(flavor = "multi_thread")]
async fn f33_a_state_topic_that_has_forgotten_the_pins_is_refused_until_they_are_made_anew() {
    let bed = Bed::on_kafka(BINARY).await;
    let (mut fanout, mut persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    let old = fill(&bed, &fanout, CHANNEL, 3).await;
    stored(&bed, 0, 3).await;
    fanout.terminate().await;
    persister.terminate().await;
    let (state, events) = (bed.broker().topic("state"), bed.broker().topic("events"));
    bed.broker().delete_topic(&state).await;
    bed.broker()
        .create_topic(&state, 4, &[("cleanup.policy", "compact")])
        .await;
    for service in ["fanout", "ingest", "persister"] {
        let said = refused(&bed, service).await;
        assert!(
            said.contains("PINS_LOST") && said.contains("restore"),
            "{said}"
        );
    }
    let doctor = bed.run(&["doctor"]).await;
    assert!(
        doctor
            .output
            .contains(&format!("refused  PINS_LOST {state}")),
        "{}",
        doctor.output
    );
    // Only that topic can be meant.
    let wrong = bed.run(&["repin", "--topic", &events, "--yes"]).await;
    assert!(wrong.output.contains("PINS_LOST"), "{}", wrong.output);
    let anew = bed.run(&["repin", "--topic", &state, "--yes"]).await;
    assert!(anew.status.success(), "{}", anew.output);

    let (fanout, _persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    let mut talk = Talk::open(&fanout, &bed.gm("u1")).await;
    let since = json!({"channel": CHANNEL, "since": old[0].cursor});
    let refusal = talk.call("subscribe", since).await.unwrap_err();
    assert_eq!(
        refusal.name, "CURSOR_INVALID",
        "another key signs cursors now"
    );
    // The topics are the same, so what was published is all there, and its rows go on.
    let everything = json!({"channel": CHANNEL, "since": "earliest"});
    talk.subscribe(everything).await;
    let again = talk.events(3).await;
    assert!(
        old.iter()
            .zip(&again)
            .all(|(old, again)| old.id == again.id && old.data == again.data)
    );
    talk.caught_up(CHANNEL).await;
    fill(&bed, &fanout, CHANNEL, 2).await;
    stored(&bed, 0, 5).await;
}
