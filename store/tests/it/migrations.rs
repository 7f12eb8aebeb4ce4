//! Migrations: by several at once, repeated, and everything they make is explained.

use store::testing::Database;
use store::{Store, StoreOptions, Weakness};

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_instances_may_migrate_at_once() {
    let database = Database::create().await;
    let mut instances = Vec::new();
    for _ in 0..6 {
        let store = database.store().await;
        instances.push(tokio::spawn(async move { store.migrate().await }));
    }
    for instance in instances {
        instance.await.unwrap().unwrap();
    }
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations")).unwrap();
    let applied = database
        .number("select count(*) from rivermouth.schema_migrations where success")
        .await;
    assert_eq!(usize::try_from(applied), Ok(files.count()));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_databases_of_a_cluster_may_be_migrated_at_once() {
    let mut migrating = Vec::new();
    for _ in 0..4 {
        migrating.push(tokio::spawn(Database::migrated()));
    }
    for migrated in migrating {
        let (database, _store) = migrated.await.unwrap();
        let settings = database
            .number("select count(*) from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase where d.datname = current_database()")
            .await;
        assert_eq!(settings, 1);
    }
}

#[tokio::test]
async fn every_table_view_and_column_has_a_comment() {
    let (database, store) = Database::migrated().await;
    store.prepare_days(2).await.unwrap();
    let silent = database
        .rows(
            "select c.oid::regclass::text as relation, a.attname as column
             from pg_class c join pg_namespace n on n.oid = c.relnamespace
             left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
             where n.nspname in ('rivermouth', 'analytics') and c.relkind in ('r', 'v', 'p')
               and (obj_description(c.oid, 'pg_class') is null or col_description(c.oid, a.attnum) is null)",
        )
        .await;
    assert!(silent.is_empty(), "without a comment: {silent:?}");
    let functions = database
        .rows(
            "select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
             where n.nspname in ('rivermouth', 'analytics') and obj_description(p.oid, 'pg_proc') is null",
        )
        .await;
    assert!(functions.is_empty(), "without a comment: {functions:?}");
}

#[tokio::test]
async fn a_database_ahead_of_this_version_is_left_alone() {
    let (database, store) = Database::migrated().await;
    database
        .execute("insert into rivermouth.schema_migrations (version, description, success, checksum, execution_time) values (9999, 'later', true, '', 0)")
        .await;
    store.migrate().await.unwrap();
}

#[tokio::test]
async fn tables_that_are_missing_or_older_are_told_and_those_of_a_later_version_are_not() {
    let database = Database::create().await;
    let store = database.store().await;
    let told = async || store.not_migrated().await.unwrap();
    let missing = told().await.unwrap();
    assert_eq!(
        (missing.code(), missing.to_string().as_str(), missing.mend()),
        (
            "NOT_MIGRATED",
            "the tables are not there",
            "rivermouth migrate"
        )
    );
    assert!(store.weaknesses().await.contains(&missing));
    store.migrate().await.unwrap();
    assert_eq!(told().await, None);
    database
        .execute("insert into rivermouth.schema_migrations (version, description, success, checksum, execution_time) values (9999, 'later', true, '', 0)")
        .await;
    assert_eq!(told().await, None);
    database
        .execute("delete from rivermouth.schema_migrations where version = 3")
        .await;
    let older = told().await.unwrap();
    assert!(
        matches!(older, Weakness::NotMigrated { missing: 1, all } if all > 3),
        "{older:?}"
    );
    assert!(older.to_string().contains("earlier version"), "{older}");
}

#[tokio::test]
async fn a_store_is_made_while_postgresql_is_away_and_says_to_retry() {
    let options = StoreOptions {
        acquire_timeout: std::time::Duration::from_millis(300),
        ..StoreOptions::default()
    };
    // Port 1 of the loopback is nobody's.
    let store = Store::connect("postgres://nobody@127.0.0.1:1/none", options)
        .await
        .unwrap();
    assert!(matches!(
        store.ping().await,
        Err(store::StoreError::Retry { .. })
    ));
    assert!(matches!(
        store.migrate().await,
        Err(store::StoreError::Retry { .. })
    ));
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_text_is_refused_in_words() {
    let database = Database::create().await;
    let name = format!("{}_ascii", database.name());
    database
        .execute(&format!("create database {name} template template0 encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C'"))
        .await;
    let url = database.url().replace(database.name(), &name);
    let store = Store::connect(&url, StoreOptions::default()).await.unwrap();
    let refusal = store.migrate().await.unwrap_err();
    assert!(
        matches!(refusal, store::StoreError::Fatal { .. }),
        "{refusal}"
    );
    assert!(refusal.to_string().contains("UTF8"), "{refusal}");
    store.close().await;
    database.execute(&format!("drop database {name}")).await;
}
