//! `anomalyzer demo`: an application that fails in four ways. The demo shows the reaction of the
//! host to each failure, and the controls for people. It runs embedded, or on the real services
//! that the environment names.

pub mod app;
mod args;
mod environment;
pub mod load;
mod narrator;
mod operator_steps;
mod run;
mod scenario;
mod scene;
mod scene_context;
mod traffic;

pub use args::DemoArgs;
pub use run::run;
