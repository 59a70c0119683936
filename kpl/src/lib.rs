//! kpl
