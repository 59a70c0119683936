//! Interleavings, explored by shuttle: receipts against outcomes, admission against release,
//! cancellation and close, puts against reshards and the end.
//!
//! Every lock of the slots, of admission and of the lanes is a place where another thread may go on
//! (`crate::sync`). Small cases are explored exhaustively, within a bound; larger ones by many random
//! schedules, of which the failing one is printed. A thread that sleeps while nobody is left to wake it
//! is a deadlock, and found as such.
