//! `anomalyzer demo-load`: open-loop traffic. A clock triggers the requests, and not the response
//! to the previous request. Real visitors, who know nothing of each other, behave in the same way:
//! a service that slows down gets no relief from its load.

mod args;
mod control;
mod running;
mod server;
mod settings;
mod shape;
mod status;
mod traffic;

pub use args::DemoLoadArgs;
pub use running::Load;
pub use server::{run, serve};
pub use settings::LoadSettings;
pub use shape::Shape;
pub use status::LoadStatus;
