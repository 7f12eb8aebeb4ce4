//! Reading headers.
