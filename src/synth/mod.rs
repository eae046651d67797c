//! Builds dumps: a small Windows-like machine laid down as real structures.
