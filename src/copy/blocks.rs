//! Blocks of local files, read once and shared by all hosts that are sent them.
