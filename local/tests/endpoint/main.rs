//! The endpoint as its users see it: in process, over sockets, and as a binary.

#[cfg(test)]
mod binary;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod client;
#[cfg(test)]
mod clock;
#[cfg(test)]
mod concurrency;
#[cfg(test)]
mod consumers;
#[cfg(test)]
mod dynamo;
#[cfg(test)]
mod events;
#[cfg(test)]
mod fan_out;
#[cfg(test)]
mod faults;
#[cfg(test)]
#[path = "../support/http2.rs"]
mod http2;
#[cfg(test)]
mod iterators;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod put;
#[cfg(test)]
mod scaling;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod shards;
#[cfg(test)]
mod sockets;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod tags;
#[cfg(test)]
mod wire;
