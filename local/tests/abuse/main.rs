//! Clients that misbehave, by accident or by intent: what they hold is bounded, and the others are
//! served.

#[cfg(test)]
mod client;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod slow;
