//! The operator `kubernetes`: against the real control plane, and, for what a real one does not do
//! on demand, against a server that refuses, stalls and talks nonsense.

mod real;
mod refusals;
