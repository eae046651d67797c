//! Machines that the builder makes, read back: each era, what moves in it, what is broken
//! in it, and what readers that are not ours say.

mod eras;
mod machine;
mod moved;
mod nt52;
mod oracle;
mod sessions;
mod survey;
mod trackers;
