//! Table of the states of the open series, by the id that the host gave them.

/// Maximum number of ids. Ids are small and dense, but never reused. The table costs 4 bytes for
/// each id ever seen. The states themselves cost memory only while their series are open.
const MOST_IDS: u32 = 4_194_304;

const CLOSED: u32 = u32::MAX;

pub(crate) struct SeriesTable<S> {
    slot_of: Vec<u32>,
    slots: Vec<Option<S>>,
    free: Vec<u32>,
}

impl<S> SeriesTable<S> {
    pub(crate) fn new() -> Self {
        Self {
            slot_of: Vec::new(),
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Opens a series. An open series with this id starts anew.
    pub(crate) fn open(&mut self, id: u32, series: S) -> Result<(), String> {
        if id >= MOST_IDS {
            return Err(format!(
                "series id {id} is beyond {MOST_IDS}: open the monitor anew"
            ));
        }
        let at = id as usize;
        if at >= self.slot_of.len() {
            self.slot_of.resize(at + 1, CLOSED);
        }
        if self.slot_of[at] == CLOSED {
            self.slot_of[at] = self.free.pop().unwrap_or_else(|| {
                self.slots.push(None);
                self.slots.len() as u32 - 1
            });
        }
        self.slots[self.slot_of[at] as usize] = Some(series);
        Ok(())
    }

    /// Forgets a series. It is no error if the series is not open, because the result is equal.
    pub(crate) fn close(&mut self, id: u32) {
        if let Some(slot) = self.slot_of.get_mut(id as usize)
            && *slot != CLOSED
        {
            self.slots[*slot as usize] = None;
            self.free.push(*slot);
            *slot = CLOSED;
        }
    }

    /// Returns the state of a series for reading.
    pub(crate) fn peek(&self, id: u32) -> Option<&S> {
        let slot = *self.slot_of.get(id as usize)?;
        self.slots.get(slot as usize)?.as_ref()
    }

    #[inline]
    pub(crate) fn get(&mut self, id: u32) -> Option<&mut S> {
        let slot = *self.slot_of.get(id as usize)?;
        self.slots.get_mut(slot as usize)?.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_series_gives_its_place_to_the_next_and_is_not_found_again() {
        let mut table = SeriesTable::new();
        table.open(0, 'a').unwrap();
        table.open(1, 'b').unwrap();
        table.close(0);
        table.close(0);
        table.open(2, 'c').unwrap();
        assert_eq!(table.get(0), None);
        assert_eq!(table.slots.len(), 2);
        assert_eq!(table.get(2), Some(&mut 'c'));
        assert_eq!(table.get(1), Some(&mut 'b'));
    }

    #[test]
    fn an_id_out_of_range_is_an_error_and_no_allocation() {
        let mut table = SeriesTable::new();
        assert!(table.open(u32::MAX, ()).is_err());
        assert!(table.slot_of.is_empty());
        assert_eq!(table.get(u32::MAX), None);
        table.close(u32::MAX);
    }
}
