//! The forms a record may have.
