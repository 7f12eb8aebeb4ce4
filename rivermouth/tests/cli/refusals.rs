//! Bad settings end in status 64 with a sentence, before anything is started, and never show a secret.

use std::net::TcpListener;

use crate::terminal::{Dir, said};

const SECRET: &str = "3q2+7wAAq83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq80=";
const KAFKA: (&str, &str) = ("KAFKA_BOOTSTRAP", "127.0.0.1:1");
const DATABASE: (&str, &str) = ("DATABASE_URL", "postgres://rm:hunter2@127.0.0.1:1/rm");
const JWT: (&str, &str) = ("JWT_SECRET", SECRET);

#[test]
fn production_refuses_missing_default_and_short_secrets_with_64() {
    for secret in [
        "",
        "short",
        "your-secret-key-change-in-production",
        "00000000000000000000000000000000",
    ] {
        for service in ["ingest", "fanout"] {
            let (status, text) = said(&[service], &[KAFKA, DATABASE, ("JWT_SECRET", secret)]);
            assert_eq!(status, Some(64), "{service} {secret:?}: {text}");
            assert!(text.starts_with("rivermouth: jwt-secret: "), "{text}");
            assert!(secret.is_empty() || !text.contains(secret), "{text}");
        }
    }
}

#[test]
fn every_bad_setting_is_64_and_named() {
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);
    let cases: &[Case<'_>] = &[
        (&["ingest"], &[JWT], "kafka-bootstrap"),
        (
            &["ingest"],
            &[JWT, ("KAFKA_BOOTSTRAP", "kafka")],
            "kafka-bootstrap",
        ),
        (&["persister"], &[KAFKA], "database-url"),
        (
            &["persister"],
            &[KAFKA, ("DATABASE_URL", "mysql://x")],
            "database-url",
        ),
        (
            &["fanout", "--metrics-port", "99999"],
            &[KAFKA, JWT],
            "--metrics-port",
        ),
        (
            &["fanout", "--cors-origins", "*"],
            &[KAFKA, JWT],
            "cors-origins",
        ),
        (
            &["fanout", "--namespaces", "session"],
            &[KAFKA, JWT],
            "namespaces",
        ),
        (
            &["fanout", "--log-level", "fanout=loud"],
            &[KAFKA, JWT],
            "log-level",
        ),
        (
            &["fanout", "--shutdown-deadline", "10"],
            &[KAFKA, JWT],
            "shutdown-deadline",
        ),
        (
            &["fanout", "--topic-prefix", "a b"],
            &[KAFKA, JWT],
            "topic-prefix",
        ),
        (
            &["fanout", "--kafka-config", "no.such.setting=1"],
            &[KAFKA, JWT],
            "kafka-config",
        ),
        (
            &["fanout", "--schema-registry-url", "x"],
            &[KAFKA, JWT],
            "schema-registry-url",
        ),
        (
            &["ingest", "--config", "/does/not/exist"],
            &[],
            "/does/not/exist",
        ),
        (&["migrate"], &[], "database-url"),
        (&["token"], &[], "--sub"),
        (
            &["token", "--sub", "u", "--role", "session.1=king"],
            &[JWT],
            "role",
        ),
        (
            &["tail", "session.1", "--since", "last:0"],
            &[("RIVERMOUTH_TOKEN", "x")],
            "since",
        ),
        (
            &["rebuild", "--topic", "nope"],
            &[KAFKA, DATABASE],
            "topic: nope",
        ),
        (
            &["digest", "--from", "2026-11-02", "--to", "2026-11-01"],
            &[DATABASE],
            "from",
        ),
        (&["nonsense"], &[], "nonsense"),
        (&[], &[], "Usage"),
    ];
    for (arguments, variables, named) in cases {
        let (status, text) = said(arguments, variables);
        assert_eq!(status, Some(64), "{arguments:?}: {text}");
        assert!(
            text.contains(named),
            "{arguments:?} does not name {named}: {text}"
        );
    }
}

#[test]
fn what_makes_no_sense_at_nothing_is_64_and_named_wherever_it_was_set() {
    for flag in [
        "--heartbeat-interval",
        "--heartbeat-timeout",
        "--stuck-timeout",
        "--request-timeout",
        "--topic-check-interval",
        "--settings-check-interval",
        "--events-retention",
        "--signals-retention",
        "--deadletter-retention",
    ] {
        let (status, text) = said(&["fanout", flag, "0s"], &[KAFKA, JWT]);
        assert_eq!(status, Some(64), "{flag}: {text}");
        assert!(
            text.contains(flag) && text.contains("longer than 0"),
            "{flag}: {text}"
        );
    }
    for flag in [
        "--replication",
        "--partitions",
        "--database-connections",
        "--connections-max",
        "--connections-per-ip-max",
        "--publishes-per-second",
        "--publish-burst",
        "--chat-per-minute",
        "--subscriptions-max",
        "--queue-kib",
        "--ring-mib",
    ] {
        let (status, text) = said(&["fanout", flag, "0"], &[KAFKA, JWT]);
        assert_eq!(status, Some(64), "{flag}: {text}");
        assert!(text.contains(flag), "{flag}: {text}");
    }
    let variable = ("RIVERMOUTH_REQUEST_TIMEOUT", "0ms");
    let (status, text) = said(&["fanout"], &[KAFKA, JWT, variable]);
    assert_eq!(status, Some(64), "{text}");
    assert!(text.contains("--request-timeout"), "{text}");
    let dir = Dir::new();
    let file = dir.path().join("rivermouth.toml");
    std::fs::write(&file, "stuck-timeout = \"0s\"").unwrap();
    let (status, text) = said(
        &["fanout", "--config", file.to_str().unwrap()],
        &[KAFKA, JWT],
    );
    assert_eq!(status, Some(64), "{text}");
    assert!(text.contains("--stuck-timeout"), "{text}");
}

#[test]
fn what_means_something_at_nothing_is_taken() {
    // Nothing but the port that is taken is wrong with it.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let at = ["--metrics-bind", "127.0.0.1", "--metrics-port", &port];
    for (flag, nothing) in [
        ("--drain-pause", "0s"),
        ("--drain-spread", "0s"),
        ("--outage-budget", "0s"),
        ("--shards", "0"),
        ("--realtime-port", "0"),
        ("--replication", "-1"),
    ] {
        let (status, text) = said(
            &[&["fanout"], &at[..], &[flag, nothing]].concat(),
            &[KAFKA, JWT],
        );
        assert_eq!(status, Some(1), "{flag}: {text}");
        assert!(text.contains("cannot listen"), "{flag}: {text}");
    }
}

#[test]
fn bad_settings_are_told_before_a_port_is_bound() {
    // Were the port bound first, this would fail with 1: it is taken.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (status, text) = said(
        &[
            "fanout",
            "--metrics-bind",
            "127.0.0.1",
            "--metrics-port",
            &port,
        ],
        &[KAFKA, ("JWT_SECRET", "short")],
    );
    assert_eq!(status, Some(64), "{text}");
    let (status, text) = said(
        &[
            "fanout",
            "--metrics-bind",
            "127.0.0.1",
            "--metrics-port",
            &port,
        ],
        &[KAFKA, JWT],
    );
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("cannot listen on 127.0.0.1"), "{text}");
    assert!(
        !text.contains("gapless"),
        "what librdkafka says at every start is known: {text}"
    );
}

#[test]
fn no_output_shows_a_secret() {
    let dir = Dir::new();
    let file = dir.path().join("rivermouth.toml");
    std::fs::write(
        &file,
        format!("jwt-secret = \"{SECRET}\"\ndatabase-url = \"postgres://rm:hunter2@h/d\"\n"),
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let password = [(
        "RIVERMOUTH_KAFKA_CONFIG",
        "sasl.password=hunter2,nonsense=hunter2",
    )];
    for arguments in [
        &["fanout", "--help"][..],
        &["fanout", "--config", file, "--help"],
        &["fanout", "--config", file, "--kafka-bootstrap", "x"],
        &[
            "persister",
            "--config",
            file,
            "--kafka-bootstrap",
            "x:1",
            "--kafka-config",
            "hunter2",
        ],
        &[
            "ingest",
            "--config",
            file,
            "--kafka-bootstrap",
            "127.0.0.1:1",
        ],
        &["migrate", "--config", file, "--database-connections", "0"],
    ] {
        let (_, text) = said(arguments, &password);
        assert!(
            !text.contains("hunter2") && !text.contains(SECRET),
            "{arguments:?}: {text}"
        );
    }
}

#[test]
fn a_flag_beats_the_environment_and_the_environment_beats_the_file() {
    let dir = Dir::new();
    let file = dir.path().join("rivermouth.toml");
    std::fs::write(
        &file,
        "kafka-bootstrap = \"from-file\"\nrealtime_port = 1\n",
    )
    .unwrap();
    let config = ["ingest", "--config", file.to_str().unwrap()];
    let (_, text) = said(&config, &[JWT]);
    assert!(text.contains("from-file"), "{text}");
    let (_, text) = said(&config, &[JWT, ("KAFKA_BOOTSTRAP", "from-environment")]);
    assert!(text.contains("from-environment"), "{text}");
    let flag = [&config[..], &["--kafka-bootstrap", "from-flag"]].concat();
    let (_, text) = said(&flag, &[JWT, ("KAFKA_BOOTSTRAP", "from-environment")]);
    assert!(text.contains("from-flag"), "{text}");
    let (_, text) = said(&config, &[JWT, ("KAFKA_BOOTSTRAP", "")]);
    assert!(
        text.contains("from-file"),
        "set to nothing is not set: {text}"
    );
}

#[test]
fn help_teaches_by_example() {
    for command in [
        "dev",
        "ingest",
        "fanout",
        "persister",
        "migrate",
        "token",
        "publish",
        "tail",
    ] {
        let (status, text) = said(&[command, "--help"], &[]);
        assert_eq!(status, Some(0), "{command}");
        assert!(text.contains("Example"), "{command}: {text}");
    }
}
