//! History of decisions, their reasons and their outcomes. SQLite makes a record durable before it
//! is acknowledged, and allows reads during writes.
//!
//! One task writes (WAL, `synchronous=FULL`, `BEGIN IMMEDIATE`, group commit). All other code reads
//! through connections that cannot write.

mod anchoring;
mod audit;
mod backup;
mod chain;
mod chains;
mod columns;
mod cuts;
mod derived;
mod derived_cuts;
mod differs;
mod earlier_schema;
mod error;
mod event;
mod filter;
mod full_text;
mod heads;
mod health;
mod history;
mod integrity;
mod log;
mod options;
mod plugins;
mod prune;
mod read;
mod rebuild;
mod retention;
mod retention_config;
mod row_order;
mod rows;
mod schema;
mod verification;
mod walked;
mod word_index;
mod writer;

pub use anchoring::{AnchorConfig, anchor};
pub use audit::{ChainHead, Exported};
pub use backup::restore;
pub use chains::{Anchor, Break, Chain, Difference};
pub use cuts::CutRules;
pub use earlier_schema::open_any_version;
pub use error::HistoryError;
pub use event::{Asked, DecisionEvent, DecisionEventKind, Input};
pub use filter::{Filter, Order, Page, TimeError, parse_time};
pub use heads::HEADS_FILE_NAME;
pub use health::HistoryHealth;
pub use history::{FILE_NAME, History};
pub use integrity::verify;
pub use options::HistoryOptions;
pub use read::{HistoryReader, PastOperation, RecordedEvent, SearchLimits};
pub use rebuild::{Rebuilt, rebuild};
pub use retention::{retain, retain_once};
pub use retention_config::RetentionConfig;
pub use verification::{AuditConfig, OnMismatch, Verification};
pub use walked::Walked;
