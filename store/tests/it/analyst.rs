//! The contract with analysts: the views, and a role that can read them and nothing else.

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use store::testing::Database;

use crate::sample::{NOON_MS, event, place, stored};

async fn as_analyst(database: &Database) -> PgConnection {
    use sqlx::postgres::PgConnectOptions;
    let options: PgConnectOptions = database.url().parse().unwrap();
    // A password, because how the cluster lets roles in is not ours to know. Once: the role is the whole cluster's, and
    // PostgreSQL does not let two sessions alter it at the same time.
    static PASSWORD: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    PASSWORD
        .get_or_init(|| {
            database.execute("alter role rivermouth_analyst password 'look-but-do-not-touch'")
        })
        .await;
    PgConnection::connect_with(
        &options
            .username("rivermouth_analyst")
            .password("look-but-do-not-touch"),
    )
    .await
    .unwrap()
}

async fn refusal(analyst: &mut PgConnection, sql: &str) -> String {
    let error = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(analyst)
        .await
        .unwrap_err();
    error
        .as_database_error()
        .unwrap()
        .code()
        .unwrap()
        .into_owned()
}

#[tokio::test]
async fn the_analyst_reads_views_and_nothing_else() {
    let (database, store) = Database::migrated().await;
    stored(&store, vec![event("session.42", 0, NOON_MS)]).await;
    let mut analyst = as_analyst(&database).await;

    let (channel, topic): (String, String) = sqlx::query_as("select channel, topic from events")
        .fetch_one(&mut analyst)
        .await
        .unwrap();
    assert_eq!(
        (channel.as_str(), topic.as_str()),
        ("session.42", place().topic.as_str())
    );

    assert_eq!(
        refusal(&mut analyst, "select * from rivermouth.events").await,
        "42501"
    );
    assert_eq!(refusal(&mut analyst, "create table t ()").await, "25006");
    assert_eq!(
        refusal(&mut analyst, "delete from analytics.jobs").await,
        "42501"
    );
    // Even a session that lifts its own read-only default has no right to write.
    assert_eq!(
        refusal(
            &mut analyst,
            "set default_transaction_read_only = off; delete from analytics.jobs"
        )
        .await,
        "42501"
    );
}

#[tokio::test]
async fn the_analyst_makes_no_temporary_tables_however_they_try() {
    let (database, store) = Database::migrated().await;
    let attempt = "set transaction read write; create temp table t (a int)";
    let mut analyst = as_analyst(&database).await;
    assert_eq!(refusal(&mut analyst, attempt).await, "42501");
    analyst.close().await.unwrap();

    // The right comes with a database restored elsewhere; the next migration takes it away again.
    database
        .execute(&format!(
            "grant temporary on database {} to public",
            database.name()
        ))
        .await;
    store.migrate().await.unwrap();
    let mut analyst = as_analyst(&database).await;
    assert_eq!(refusal(&mut analyst, attempt).await, "42501");
}

#[tokio::test]
async fn the_analysts_long_query_is_cut() {
    let (database, _store) = Database::migrated().await;
    let mut analyst = as_analyst(&database).await;
    let setting = async |analyst: &mut PgConnection, name: &str| {
        let (value,): (String,) = sqlx::query_as("select current_setting($1)")
            .bind(name)
            .fetch_one(analyst)
            .await
            .unwrap();
        value
    };
    assert_eq!(setting(&mut analyst, "statement_timeout").await, "1min");
    assert_eq!(setting(&mut analyst, "lock_timeout").await, "5s");
    assert_eq!(
        setting(&mut analyst, "idle_in_transaction_session_timeout").await,
        "1min"
    );
    assert_eq!(
        setting(&mut analyst, "default_transaction_read_only").await,
        "on"
    );
    analyst.close().await.unwrap();

    // A setting an administrator has changed stays, and counts.
    database
        .execute(&format!(
            "alter role rivermouth_analyst in database {} set statement_timeout = '100ms'",
            database.name()
        ))
        .await;
    database.store().await.migrate().await.unwrap();
    let mut analyst = as_analyst(&database).await;
    assert_eq!(refusal(&mut analyst, "select pg_sleep(30)").await, "57014");
}

#[tokio::test]
async fn views_have_the_columns_of_the_contract() {
    let (database, _store) = Database::migrated().await;
    let contract = [
        (
            "events",
            "channel event event_id user_id data at cursor topic partition offset",
        ),
        (
            "activity",
            "channel event event_id user_id data at cursor topic partition offset session_id username",
        ),
        (
            "jobs",
            "job_id kind owner_id status progress message error_code error_message created_at updated_at finished_at cursor",
        ),
        (
            "job_history",
            "job_id status progress message error_code at cursor",
        ),
        (
            "completeness",
            "topic partition complete_to_offset complete_to_at updated_at",
        ),
        (
            "quarantine",
            "topic partition offset at reason detail key value headers",
        ),
        (
            "deliveries",
            "user_id channel durable cursor acked_at topic partition acked_to_offset last_offset behind",
        ),
    ];
    for (view, columns) in contract {
        for column in columns.split(' ') {
            let found = database
                .number(&format!(
                    "select count(*) from information_schema.columns
                     where table_schema = 'analytics' and table_name = '{view}' and column_name = '{column}'"
                ))
                .await;
            assert_eq!(found, 1, "{view}.{column}");
        }
    }
    let tables = database
        .number("select count(*) from information_schema.tables where table_schema = 'analytics' and table_type <> 'VIEW'")
        .await;
    assert_eq!(tables, 0);
}

#[tokio::test]
async fn activity_is_the_sessions_activity_types() {
    let (database, store) = Database::migrated().await;
    let named = |name: &str, channel: &str, offset: i64, data: &'static str| {
        let mut event = event(channel, offset, NOON_MS);
        event.name = name.into();
        event.data = data.as_bytes().into();
        event
    };
    let mut whispered = named("chat.message", "session.42", 4, "{}");
    whispered.to = Some(vec!["u2".into()]);
    stored(
        &store,
        vec![
            named(
                "chat.message",
                "session.42",
                0,
                r#"{"username":"Ada","text":"hi"}"#,
            ),
            named("draw", "session.42", 1, "{}"),
            named("chat.message", "user.u1", 2, "{}"),
            named("dice.roll", "session.7", 3, "[6]"),
            whispered,
        ],
    )
    .await;
    let rows = database
        .rows("select session_id, event, username from analytics.activity order by \"offset\"")
        .await;
    assert_eq!(
        serde_json::Value::from(rows),
        serde_json::json!([
            {"session_id": "42", "event": "chat.message", "username": "Ada"},
            {"session_id": "7", "event": "dice.roll", "username": null},
        ])
    );
    let types: Vec<String> = schemas::ACTIVITY_TYPES
        .iter()
        .map(|name| format!("'{name}'"))
        .collect();
    let definition = database
        .rows("select pg_get_viewdef('analytics.activity') as text")
        .await;
    for name in types {
        assert!(
            definition[0]["text"].as_str().unwrap().contains(&name),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_question_about_one_day_reads_that_day_only() {
    let (database, store) = Database::migrated().await;
    let day = store::DAY_MS;
    stored(
        &store,
        (0..3)
            .map(|n| event("session.42", n, NOON_MS - (2 - n) * day))
            .collect(),
    )
    .await;
    database.execute("analyze").await;
    let mut analyst = as_analyst(&database).await;
    let plan: Vec<(String,)> = sqlx::query_as(
        "explain select count(*) from analytics.events where at >= '2026-11-20' and at < '2026-11-21'",
    )
    .fetch_all(&mut analyst)
    .await
    .unwrap();
    let plan: String = plan.into_iter().map(|(line,)| line + "\n").collect();
    assert!(
        plan.contains("events_p20261120") && !plan.contains("events_p20261121"),
        "{plan}"
    );
}
