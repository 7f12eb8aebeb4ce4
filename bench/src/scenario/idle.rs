//! Many clients with one subscription each, to whom nothing happens.

use std::time::Duration;

use super::Sitting;
use super::engine::{Engine, Wish};
use super::traffic::micros;
use crate::dialect::Who;
use crate::load::{Load, Storm};
use crate::machine::{Slab, cpu_of, private_kib};
use crate::order::Position;

/// How many; each end of a connection counts, and a process has at most 20 000.
const CLIENTS: u32 = 10_000;
const CHANNELS: u32 = 1000;
/// Comes and goes before the others, so that what a server keeps ready for anybody is not charged to the clients.
const FIRST: u32 = 200;
/// As long as two pings and a half.
const HOLD: Duration = Duration::from_secs(60);

/// Takes it with every server.
pub(super) async fn take(sitting: &mut Sitting) -> anyhow::Result<()> {
    for engine in sitting.engines_and_peers(&[Engine::Raw, Engine::Rivermouth]) {
        let point = sitting.begin("idle", engine.name());
        let clients = sitting.clients(CLIENTS);
        let wish = Wish::users(clients + FIRST);
        let running = engine.start(sitting, wish).await?;
        let pid = running.watched[0].pid;
        let mut load = Load::new(std::rc::Rc::clone(&running.dialect))?;
        let group = load.group(clients);
        let crowd = |users: std::ops::Range<u32>| {
            users.map(|user| {
                let who = Who::member(user, user % CHANNELS);
                (who, group, Position::default())
            })
        };
        load.connect(crowd(clients..clients + FIRST), Storm::default())?;
        load.idle(Duration::from_secs(1))?;
        let (memory, slab) = (private_kib(pid)?, Slab::now()?);
        load.connect(crowd(0..clients), Storm::default())?;
        load.idle(Duration::from_secs(2))?;
        let memory = private_kib(pid)?.saturating_sub(memory);
        let slab = Slab::now()?.kib.saturating_sub(slab.kib);
        let hold = HOLD / sitting.arguments.divide;
        let before = cpu_of(pid)?;
        load.idle(hold)?;
        let cpu = cpu_of(pid)? - before;
        let count = f64::from(clients);
        let point = point
            .with("kib_per_connection", memory as f64 / count)
            .with("slab_kib_per_connection_both_ends", slab as f64 / count)
            .with(
                "cpu_us_per_connection_s",
                micros(cpu) / count / hold.as_secs_f64(),
            );
        let (wrong, complaints) = load.wrong();
        sitting.keep(point.checked(wrong, complaints))?;
    }
    Ok(())
}
