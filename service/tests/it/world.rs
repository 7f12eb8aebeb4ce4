//! A listener on a free port, stopped at the end of the test, and a client that sends raw bytes.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use service::{Metrics, ServeConfig, ServeError, Shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    pub(crate) metrics: Metrics,
    served: JoinHandle<Result<(), ServeError>>,
}

impl World {
    pub(crate) fn start(app: Router, config: ServeConfig) -> Self {
        let listener = service::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let metrics = Metrics::new();
        let (stop, numbers) = (shutdown.clone(), metrics.clone());
        let served =
            tokio::spawn(
                async move { service::serve(listener, app, config, &numbers, stop).await },
            );
        World {
            address,
            shutdown,
            metrics,
            served,
        }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes and reads until the server closes.
    pub(crate) async fn say(&self, bytes: &str) -> String {
        let mut socket = self.connect().await;
        socket.write_all(bytes.as_bytes()).await.unwrap();
        read_to_end(&mut socket).await
    }

    /// Sends one request that asks to close afterwards, and reads the answer.
    pub(crate) async fn get(&self, path: &str) -> String {
        self.say(&format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        ))
        .await
    }

    pub(crate) async fn stopped(self) -> Result<(), ServeError> {
        self.shutdown.start();
        tokio::time::timeout(DEADLINE, self.served)
            .await
            .unwrap()
            .unwrap()
    }
}

pub(crate) async fn read_to_end(socket: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let read = tokio::time::timeout(DEADLINE, socket.read_to_end(&mut all)).await;
    // A reset after the answer is an end too.
    let _ = read.expect("the server closes in time");
    String::from_utf8_lossy(&all).into_owned()
}

pub(crate) async fn read_until(socket: &mut TcpStream, end: &str) -> String {
    let mut all = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&all).contains(end) {
            let mut byte = [0];
            socket.read_exact(&mut byte).await.unwrap();
            all.push(byte[0]);
        }
    };
    tokio::time::timeout(DEADLINE, read).await.unwrap();
    String::from_utf8_lossy(&all).into_owned()
}
