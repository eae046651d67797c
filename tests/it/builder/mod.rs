//! Machines from the builder, read back: each Windows version, moved structures, damage,
//! and agreement with other readers.

mod eras;
mod machine;
mod moved;
mod nt52;
mod oracle;
mod sessions;
mod survey;
mod trackers;
