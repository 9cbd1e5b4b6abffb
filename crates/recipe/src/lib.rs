//! Words <-> argument lists and verdicts of foreign tools.
