//! Callboard's programs seen from outside.
