//! More partitions, at as many events a second: what a node costs idle, and what a delivery costs it.

use std::time::Duration;

use super::super::engine::{Engine, Wish, fanout};
use super::super::traffic::{figures, micros, traffic};
use super::super::{Shape, Sitting};
use crate::load::Pace;
use crate::machine::{cpu_of, private_kib};

const PARTITIONS: [u32; 4] = [1, 4, 16, 64];
const SHAPE: Shape = Shape {
    name: "growth-partitions",
    channels: 200,
    members: 5,
    members_publish: true,
    pace: Pace::Rate(2000.0),
};

/// Takes it.
pub(in super::super) async fn take(sitting: &mut Sitting) -> anyhow::Result<()> {
    if sitting.engines(&[Engine::RivermouthKafka]).is_empty() {
        return Ok(());
    }
    let shape = SHAPE.divided(sitting.arguments.divide);
    for partitions in PARTITIONS {
        let name = format!("{}-{partitions}", shape.name);
        let point = sitting.begin(&name, Engine::RivermouthKafka.name());
        let mut bed = sitting.bed().await?;
        bed.set("RIVERMOUTH_PARTITIONS", partitions.to_string());
        let migrated = bed.run(&["migrate"]).await;
        anyhow::ensure!(migrated.status.success(), "{}", migrated.output);
        let wish = Wish {
            linger_ms: 10,
            ..Wish::users(shape.channels * shape.members)
        };
        let mut running = fanout(sitting, bed, wish, true).await?;
        let pid = running.watched[0].pid;
        let (memory, before) = (private_kib(pid)?, cpu_of(pid)?);
        let quiet = sitting.arguments.time;
        tokio::time::sleep(quiet).await;
        let idle = cpu_of(pid)? - before;
        let run = traffic(sitting, &shape, &mut running)?;
        let point = point.with("mib", memory as f64 / 1024.0).with(
            "idle_cpu_us_per_s",
            micros(idle) / quiet.max(Duration::from_millis(1)).as_secs_f64(),
        );
        sitting.keep(figures(point, &run))?;
    }
    Ok(())
}
