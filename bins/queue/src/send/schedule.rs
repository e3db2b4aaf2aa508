//! Messages and the times at which something is to be done with them.

use queue::layout::MessNum;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A heap of (time, arrival, message): of two with the same time the one that was added first comes first.
#[derive(Default)]
pub struct Schedule {
    heap: BinaryHeap<Reverse<(u64, u64, MessNum)>>,
    arrivals: u64,
}

impl Schedule {
    /// Adds message `n` at `time` (seconds since 1970).
    pub fn add(&mut self, time: u64, n: MessNum) {
        self.arrivals += 1;
        self.heap.push(Reverse((time, self.arrivals, n)));
    }

    /// The earliest time.
    pub fn first(&self) -> Option<u64> {
        self.heap.peek().map(|&Reverse((time, _, _))| time)
    }

    /// Takes the earliest message out if its time has come.
    pub fn take_due(&mut self, now: u64) -> Option<MessNum> {
        if self.first()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, _, n))| n)
    }

    /// Sets every time to `now`, keeping the order.
    pub fn all_at(&mut self, now: u64) {
        let heap = std::mem::take(&mut self.heap);
        self.heap = heap.into_iter().map(|Reverse((_, arrival, n))| Reverse((now, arrival, n))).collect();
    }

    /// Takes everything out.
    pub fn drain(&mut self) -> impl Iterator<Item = (u64, MessNum)> + '_ {
        self.heap.drain().map(|Reverse((time, _, n))| (time, n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_messages_come_in_the_order_of_time_then_arrival() {
        let mut s = Schedule::default();
        for (time, n) in [(5, 1), (3, 2), (5, 3), (9, 4)] {
            s.add(time, MessNum(n));
        }
        assert_eq!(s.first(), Some(3));
        let due: Vec<_> = std::iter::from_fn(|| s.take_due(5)).map(|n| n.0).collect();
        assert_eq!(due, [2, 1, 3]);
        s.all_at(4);
        assert_eq!(s.take_due(4), Some(MessNum(4)));
        assert_eq!(s.take_due(99), None);
    }
}
