//! The `poolscope` binary.
fn main() {}
