//! Dead letters on their way to a sink that stores them beside its rows.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;

use super::DeadRecord;

/// Dead letters that wait until a sink has stored them.
///
/// The progress that passes a rejected record and the record's letter are stored together: a transactional sink first asks
/// [`Settled`](crate::checkpoint::Settled) how far the run is, then takes the [`pending`](Self::pending) letters, stores both in one
/// transaction, and [`acknowledges`](Self::acknowledge) the letters once it is committed. Several workers may store the same letter, so its
/// row needs a key: pipeline, position, and what rejected it.
#[derive(Debug, Default)]
pub struct DeadLetterQueue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    letters: VecDeque<Arc<DeadRecord>>,
    /// Letters that were acknowledged and have left.
    gone: u64,
}

/// The letters that waited when they were asked for.
#[derive(Debug, Clone, Default)]
pub struct PendingLetters {
    letters: Vec<Arc<DeadRecord>>,
    up_to: u64,
}

impl DeadLetterQueue {
    /// Adds a letter. The run calls it; the test of a sink may too.
    pub fn push(&self, letter: DeadRecord) {
        self.0.lock().letters.push_back(Arc::new(letter));
    }

    /// What waits now. It goes on waiting until it is acknowledged.
    pub fn pending(&self) -> PendingLetters {
        let state = self.0.lock();
        PendingLetters {
            letters: state.letters.iter().cloned().collect(),
            up_to: state.gone + state.letters.len() as u64,
        }
    }

    /// These letters are durable.
    pub fn acknowledge(&self, stored: &PendingLetters) {
        let mut state = self.0.lock();
        while state.gone < stored.up_to && state.letters.pop_front().is_some() {
            state.gone += 1;
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.0.lock().letters.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl PendingLetters {
    /// The letters, in the order of their rejection.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &DeadRecord> {
        self.letters.iter().map(|letter| &**letter)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{DeadLetterQueue, DeadRecord};
    use crate::record::Position;

    fn letter(record: u64) -> DeadRecord {
        DeadRecord {
            pipeline: "p".into(),
            position: Position { record, ..Position::default() },
            origin: String::new(),
            by: "source".into(),
            error: String::new(),
            attempts: 0,
            record: None,
        }
    }

    #[test]
    fn a_letter_waits_until_it_is_acknowledged_and_a_late_acknowledgement_takes_no_other() {
        let queue = DeadLetterQueue::default();
        queue.push(letter(0));
        let (first, again) = (queue.pending(), queue.pending());
        queue.push(letter(1));
        queue.acknowledge(&first);
        queue.acknowledge(&again);
        let left: Vec<_> = queue.pending().iter().map(|letter| letter.position.record).collect();
        assert_eq!(left, [1]);
    }
}
