//! Real servers on free loopback ports, for tests, the demo and evaluation.
//!
//! The servers are Kafka, Prometheus, Ollama with a small model, and a Kubernetes control plane.
//! The node of the control plane is part of this crate: its pods are processes of this machine.
//! Each server is built once per machine into the user's cache folder, keeps its data in a
//! temporary folder, and stops with the process that started it.

pub mod cache;
pub mod doctor;
pub mod http;
pub mod install;
pub mod ports;
pub mod shared;
pub mod tools;

mod control_plane;
mod folder;
mod kafka;
mod kubelet;
mod ollama;
mod process;
mod prometheus;
mod spawner;
mod state;
mod testbed;
mod tls;

pub use control_plane::{ControlPlane, ControlPlaneOptions};
pub use kafka::Kafka;
pub use ollama::Ollama;
pub use prometheus::{Prometheus, PrometheusOptions};
pub use state::{
    KafkaEndpoint, KubernetesEndpoint, OllamaEndpoint, ProcessId, PrometheusEndpoint, State,
};
pub use testbed::{Server, Testbed, TestbedOptions};
