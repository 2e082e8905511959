//! Groups of siblings: series whose labels differ only in the labels that tell replicas apart.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use anomalyzer_plugin_sdk::UnixMs;

/// Last samples of the members of a group.
#[derive(Default)]
pub(crate) struct Group {
    members: Vec<Option<Said>>,
    free: Vec<usize>,
}

/// Last sample of a series, and the sample before it.
#[derive(Clone, Copy)]
struct Said {
    last: (UnixMs, f64),
    before: Option<(UnixMs, f64)>,
}

impl Said {
    /// Returns the value of the sample that is nearer to `at`. Returns none if it is more than
    /// `most` milliseconds away.
    fn at(&self, at: UnixMs, most: i64) -> Option<f64> {
        let off = |sample: &(UnixMs, f64)| sample.0.saturating_sub(at).saturating_abs();
        let nearest = self
            .before
            .filter(|before| off(before) < off(&self.last))
            .unwrap_or(self.last);
        (off(&nearest) <= most).then_some(nearest.1)
    }
}

/// Place of a series in its group. The series leaves the group when this value is dropped.
pub(crate) struct Member {
    group: Rc<RefCell<Group>>,
    place: usize,
}

/// All groups that have a member, by the labels that their members share.
#[derive(Default)]
pub(crate) struct Groups(RefCell<HashMap<String, Weak<RefCell<Group>>>>);

impl Groups {
    /// Adds a series with these labels to its group. `by` are the labels that tell replicas apart.
    pub(crate) fn join(&self, labels: &[(String, String)], by: &[String]) -> Member {
        let mut key = String::new();
        for (name, value) in labels.iter().filter(|(name, _)| !by.contains(name)) {
            // No label contains these bytes, so they keep the parts apart.
            key.extend([name.as_str(), "\u{1}", value, "\u{2}"]);
        }
        let mut groups = self.0.borrow_mut();
        let group = match groups.get(&key).and_then(Weak::upgrade) {
            Some(group) => group,
            None => {
                // Each new group removes the groups without members, so that these never pile up.
                groups.retain(|_, group| group.strong_count() > 0);
                let group = Rc::<RefCell<Group>>::default();
                groups.insert(key, Rc::downgrade(&group));
                group
            }
        };
        let place = group.borrow_mut().place();
        Member { group, place }
    }
}

impl Group {
    fn place(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.members.push(None);
            self.members.len() - 1
        })
    }
}

impl Member {
    /// Records a sample of this member. Returns the member's previous value, and writes the values
    /// of the siblings at that previous time into `others`. Leaves out the siblings without a
    /// sample within `most` milliseconds of that time. The previous sample is compared because some
    /// siblings have not reported for the present time yet.
    pub(crate) fn say(
        &self,
        at: UnixMs,
        value: f64,
        most: i64,
        others: &mut Vec<f64>,
    ) -> Option<f64> {
        let mut group = self.group.borrow_mut();
        let own = group.members.get_mut(self.place)?;
        let before = own.map(|said| said.last);
        *own = Some(Said {
            last: (at, value),
            before,
        });
        others.clear();
        let (then, was) = before?;
        let said = group
            .members
            .iter()
            .enumerate()
            .filter(|(place, _)| *place != self.place);
        others.extend(said.filter_map(|(_, said)| said.as_ref()?.at(then, most)));
        Some(was)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut group = self.group.borrow_mut();
        if let Some(place) = group.members.get_mut(self.place) {
            *place = None;
        }
        group.free.push(self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn siblings_share_all_labels_but_those_of_the_replica() {
        let (groups, by) = (Groups::default(), ["pod".to_owned()]);
        let join = |pod, job| groups.join(&labels(&[("job", job), ("pod", pod)]), &by);
        let (a, b, other) = (join("a", "shop"), join("b", "shop"), join("c", "mail"));
        let mut others = Vec::new();
        assert_eq!(
            a.say(0, 1.0, 5, &mut others),
            None,
            "of the first sample it is not known yet what the others say"
        );
        b.say(1, 2.0, 5, &mut others);
        other.say(1, 3.0, 5, &mut others);
        assert_eq!(
            (a.say(10, 4.0, 5, &mut others), &others[..]),
            (Some(1.0), &[2.0][..])
        );
        b.say(11, 5.0, 5, &mut others);
        b.say(21, 6.0, 5, &mut others);
        assert_eq!(
            (a.say(20, 7.0, 5, &mut others), &others[..]),
            (Some(4.0), &[5.0][..]),
            "of the same time"
        );
        a.say(50, 8.0, 5, &mut others);
        assert_eq!(
            (a.say(60, 8.0, 5, &mut others), others.len()),
            (Some(8.0), 0),
            "what b said is too old"
        );
        drop(b);
        a.say(61, 8.0, 100, &mut others);
        assert!(others.is_empty(), "b is gone");
        drop((a, other));
        drop(join("a", "new"));
        assert_eq!(
            groups.0.borrow().len(),
            1,
            "groups without members are forgotten"
        );
    }
}
