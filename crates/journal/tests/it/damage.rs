//! Bytes that changed on disk.
