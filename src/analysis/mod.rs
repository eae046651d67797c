//! What the numbers mean: plausibility, descriptions, references, reconciliation.
