//! nginx with nchan: a master and one worker, which does the work. `tcp_nodelay`, the length of buffers and the shared
//! memory are as nginx and nchan set them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use anyhow::Context as _;

use super::Server;
use super::process::{Process, free_port, missing, program};
use crate::dialect::Nchan;

/// Where packages put the module.
const MODULES: [&str; 4] = [
    "/usr/lib/nginx/modules",
    "/usr/lib64/nginx/modules",
    "/usr/local/lib/nginx/modules",
    "/usr/local/lib64/nginx/modules",
];

pub(super) fn start() -> anyhow::Result<Server> {
    let nginx = program("nginx")?;
    let module = MODULES
        .iter()
        .map(|dir| Path::new(dir).join("ngx_nchan_module.so"))
        .find(|file: &PathBuf| file.exists())
        .with_context(|| missing("nginx's module nchan"))?;
    let dir = tempfile::tempdir()?;
    let address = free_port()?;
    let file = dir.path().join("nginx.conf");
    std::fs::write(&file, config(&module, dir.path(), address))?;
    let mut command = Command::new(nginx);
    // The log is named here, too, for what is said before the file is read.
    command.arg("-e").arg("stderr");
    command.arg("-p").arg(dir.path()).arg("-c").arg(&file);
    let mut master = Process::measured("nginx", &mut command, dir.path())?;
    master.until_listening(address)?;
    let pid = master
        .until(|master| child_of(master.pid()))
        .context("nginx's worker")?;
    Ok(Server {
        dialect: Rc::new(Nchan { address }),
        pid,
        redis: None,
        _processes: vec![master],
        _dir: dir,
    })
}

/// A member subscribes and publishes on one connection; a publisher that is none is told of every message what became
/// of it, which cannot be turned off.
fn config(module: &Path, dir: &Path, address: SocketAddr) -> String {
    let (module, dir) = (module.display(), dir.display());
    format!(
        "load_module {module};
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
error_log stderr warn;
pid {dir}/nginx.pid;
events {{ worker_connections 19900; }}
http {{
  access_log off;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  server {{
    listen {address} backlog=4096;
    nchan_channel_id $arg_id;
    nchan_subscriber_first_message newest;
    nchan_websocket_ping_interval 25;
    location = /member {{ nchan_pubsub websocket; }}
    location = /publisher {{ nchan_publisher websocket; }}
  }}
}}
"
    )
}

/// The only child of a process.
fn child_of(pid: i32) -> Option<i32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}
