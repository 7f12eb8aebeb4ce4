//! Many clients at once, each with a token of its own and one subscription.

use super::Sitting;
use super::engine::{Engine, Wish};
use super::traffic::micros;
use crate::dialect::Who;
use crate::load::{Load, Storm};
use crate::machine::cpu_of;
use crate::order::Position;

/// How many, and into how many channels.
const CLIENTS: u32 = 5000;
const CHANNELS: u32 = 500;

/// Takes it with every server.
pub(super) async fn take(sitting: &mut Sitting) -> anyhow::Result<()> {
    for engine in sitting.engines_and_peers(&[Engine::Raw, Engine::Rivermouth]) {
        let point = sitting.begin("connect-storm", engine.name());
        let clients = sitting.clients(CLIENTS);
        let wish = Wish::users(clients);
        let running = engine.start(sitting, wish).await?;
        let pid = running.watched[0].pid;
        let mut load = Load::new(std::rc::Rc::clone(&running.dialect))?;
        let group = load.group(clients);
        let crowd = (0..clients).map(|user| {
            let who = Who::member(user, user % CHANNELS);
            (who, group, Position::default())
        });
        let before = cpu_of(pid)?;
        let connected = load.connect(crowd, Storm::default())?;
        let cpu = cpu_of(pid)? - before;
        let each = &connected.each;
        let point = point
            .with(
                "connects_per_s",
                f64::from(clients) / connected.took.as_secs_f64(),
            )
            .with("server_us_per_connect", micros(cpu) / f64::from(clients))
            .with("p50_ms", each.value_at_quantile(0.5) as f64 / 1e6)
            .with("p99_ms", each.value_at_quantile(0.99) as f64 / 1e6);
        let (wrong, complaints) = load.wrong();
        sitting.keep(point.checked(wrong, complaints))?;
    }
    Ok(())
}
