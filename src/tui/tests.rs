//! Screens and journeys, without a terminal and without a dump.
