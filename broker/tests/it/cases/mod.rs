//! The promises of a log, each as one case that knows nothing of the implementation.

mod append;
mod ask;
mod pins;
mod read;

pub use append::*;
pub use ask::*;
pub use pins::*;
pub use read::*;
