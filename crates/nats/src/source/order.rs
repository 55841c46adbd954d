//! Which delivery is handed over, which is a copy, and where messages may be missing: the decisions of the reader.

/// Which messages have been passed, and whether a delivery may have been missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    /// Everything up to here has been handed over, settled earlier, or does not exist.
    pub(super) passed: u64,
    /// Everything up to here has settled.
    pub(super) settled: u64,
    /// Messages up to here come from the stream.
    pub(super) from_stream: u64,
    /// The number of the next delivery.
    pub(super) next_delivery: u64,
    /// How often the connection has been made.
    pub(super) connects: u64,
    /// A delivery may have been missed since the last new message.
    pub(super) is_doubtful: bool,
}

/// What a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The next message of the stream.
    Next,
    /// Messages before it may have been missed.
    AfterGap,
    /// A copy of a message that has settled.
    Settled,
    /// A copy of a message that was handed over.
    Copy,
}

impl Order {
    /// Goes on after a message. The consumer has made so many deliveries, and messages up to `from_stream` come from the stream.
    pub(super) fn after(passed: u64, from_stream: u64, deliveries: u64, connects: u64) -> Self {
        let next_delivery = deliveries + 1;
        Self { passed, settled: passed, from_stream, next_delivery, connects, is_doubtful: false }
    }

    /// Says what a delivery is, by the sequence of its message and its number. After [`Delivery::AfterGap`] it is asked again.
    pub(super) fn delivered(&mut self, message: u64, delivery: u64, connects: u64) -> Delivery {
        self.is_doubtful |= delivery != self.next_delivery || connects != self.connects;
        (self.next_delivery, self.connects) = (delivery + 1, connects);
        if message <= self.settled {
            return Delivery::Settled;
        }
        if message <= self.passed {
            return Delivery::Copy;
        }
        if self.is_doubtful && message > self.passed + 1 {
            self.from_stream = message - 1;
            return Delivery::AfterGap;
        }
        self.is_doubtful = false;
        self.passed = message;
        Delivery::Next
    }
}

#[cfg(test)]
mod tests {
    use super::{Delivery, Order};

    /// 10 messages have been handed over by 10 deliveries, and 5 have settled.
    fn order() -> Order {
        Order { passed: 10, settled: 5, from_stream: 0, next_delivery: 11, connects: 1, is_doubtful: false }
    }

    #[test]
    fn the_next_delivery_is_handed_over_although_sequences_are_missing() {
        let mut order = order();
        assert_eq!(order.delivered(14, 11, 1), Delivery::Next);
        assert_eq!((order.passed, order.delivered(15, 12, 1)), (14, Delivery::Next));
    }

    #[test]
    fn copies_are_never_handed_over() {
        let mut order = order();
        assert_eq!(order.delivered(5, 11, 1), Delivery::Settled);
        assert_eq!(order.delivered(6, 12, 1), Delivery::Copy);
        assert_eq!((order.delivered(13, 13, 1), order.passed), (Delivery::Next, 13));
    }

    #[test]
    fn after_a_delivery_that_was_lost_the_stream_is_asked_for_what_is_missing() {
        let mut order = order();
        assert_eq!(order.delivered(13, 13, 1), Delivery::AfterGap);
        assert_eq!((order.passed, order.from_stream), (10, 12));
        order.passed = 12;
        assert_eq!(order.delivered(13, 13, 1), Delivery::Next);
        assert!(!order.is_doubtful);
    }

    #[test]
    fn a_copy_between_does_not_hide_a_lost_delivery() {
        let mut order = order();
        assert_eq!(order.delivered(7, 12, 1), Delivery::Copy);
        assert_eq!(order.delivered(12, 13, 1), Delivery::AfterGap);
    }

    #[test]
    fn a_new_connection_makes_the_next_delivery_doubtful() {
        let mut order = order();
        assert_eq!(order.delivered(12, 11, 2), Delivery::AfterGap);
    }
}
