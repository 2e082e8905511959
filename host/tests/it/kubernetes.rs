//! Tests of the operator `kubernetes`, against the real control plane and against a server that
//! refuses, stalls and sends nonsense. A real control plane does not misbehave on demand.

mod login;
mod real;
mod refusals;
