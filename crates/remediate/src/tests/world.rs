//! Targets that the test controls.

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{LogRequest, Operation, OperationId, Replicas, Snapshot, Target};
use anomalyzer_operator::{Operator, OperatorError, Performed};

/// Operator of every target. Each target has the same replicas and version, and a mark of its own.
pub struct World {
    version: Mutex<String>,
    replicas: Mutex<u32>,
    rolling_out: AtomicBool,
    gone: AtomicBool,
    changed_by: Mutex<Option<String>>,
    marks: Mutex<HashMap<Target, String>>,
    performed: Mutex<Vec<(OperationId, Operation)>>,
    /// One permit for each operation that may be answered.
    pub answers: Semaphore,
    /// One permit for each operation that has begun.
    pub begun: Semaphore,
}

impl World {
    pub fn new() -> Self {
        Self {
            version: Mutex::new("1".into()),
            replicas: Mutex::new(2),
            rolling_out: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            changed_by: Mutex::default(),
            marks: Mutex::default(),
            performed: Mutex::default(),
            answers: Semaphore::new(1_000),
            begun: Semaphore::new(0),
        }
    }

    fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock()
    }

    pub fn performed(&self) -> Vec<Operation> {
        Self::lock(&self.performed)
            .iter()
            .map(|(_, operation)| operation.clone())
            .collect()
    }

    pub fn replicas(&self) -> u32 {
        *Self::lock(&self.replicas)
    }

    /// Changes every target, as someone else would.
    pub fn change(&self, version: &str) {
        version.clone_into(&mut Self::lock(&self.version));
    }

    /// Deletes every target.
    pub fn delete(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    /// Puts every target back, as a deployment tool would: without our mark.
    pub fn revert(&self, by: &str, replicas: u32) {
        *Self::lock(&self.changed_by) = Some(by.to_owned());
        *Self::lock(&self.replicas) = replicas;
        Self::lock(&self.version).push('!');
        Self::lock(&self.marks).clear();
    }

    /// Begins or ends a rollout of someone else.
    pub fn roll_out(&self, begins: bool) {
        self.rolling_out.store(begins, Ordering::Relaxed);
    }

    pub fn mark(&self, target: &Target, id: &OperationId) {
        Self::lock(&self.marks).insert(target.clone(), id.to_string());
    }
}

#[async_trait]
impl Operator for World {
    fn name(&self) -> &'static str {
        "world"
    }

    fn handles(&self, _: &Target) -> bool {
        true
    }

    async fn inspect(&self, target: &Target) -> Result<Snapshot, OperatorError> {
        if self.gone.load(Ordering::Relaxed) {
            return Err(OperatorError::NotFound(target.clone()));
        }
        Ok(Snapshot {
            target: target.clone(),
            at: now_ms(),
            version: Self::lock(&self.version).clone(),
            replicas: Some(Replicas {
                desired: self.replicas(),
                ready: self.replicas(),
            }),
            rolling_out: self.rolling_out.load(Ordering::Relaxed),
            autoscaler: None,
            managed_by: vec![],
            changed_by: Self::lock(&self.changed_by).clone(),
            last_operation: Self::lock(&self.marks).get(target).cloned(),
            pods: vec![],
            events: vec![],
            raw: Value::Null,
        })
    }

    async fn read_logs(&self, _: &LogRequest) -> Result<Vec<String>, OperatorError> {
        Ok(vec![])
    }

    async fn perform(
        &self,
        id: &OperationId,
        operation: &Operation,
        _: &Snapshot,
    ) -> Result<Performed, OperatorError> {
        Self::lock(&self.performed).push((id.clone(), operation.clone()));
        self.begun.add_permits(1);
        if let Ok(answer) = self.answers.acquire().await {
            answer.forget();
        }
        if let Some(target) = operation.target() {
            self.mark(target, id);
        }
        let before = self.replicas();
        if let Operation::Scale { replicas, .. } = operation {
            *Self::lock(&self.replicas) = *replicas;
            Self::lock(&self.version).push('+');
        }
        let shown = |replicas: u32| Some(json!({"replicas": replicas}));
        let (before, after) = (shown(before), shown(self.replicas()));
        Ok(Performed {
            result: json!("done"),
            before,
            after,
            version: Some(Self::lock(&self.version).clone()),
        })
    }

    async fn check(&self) -> Result<(), OperatorError> {
        Ok(())
    }
}
