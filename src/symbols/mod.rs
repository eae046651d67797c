//! Names to addresses and offsets: nt's PDB, or the built-in tables.
