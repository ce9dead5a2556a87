// SPDX-License-Identifier: GPL-2.0-only

//! The loop of one thread: submit a batch, wait for a batch, context after context.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, Result};

use crate::clock::ticks;
use crate::histogram::Histogram;
use crate::place::{Content, Places};
use crate::queue::{Direction, Queue};
use crate::slots::{Slot, Slots};

/// A queue, and the slots that its thread owns at the moment.
pub struct Lane<Q> {
    queue: Q,
    slots: Arc<Slots>,
    free: Vec<Slot>,
}

impl<Q: Queue> Lane<Q> {
    /// A lane for `queue`, that starts with these of its slots.
    pub fn new(queue: Q, slots: Arc<Slots>, own: std::ops::Range<Slot>) -> Self {
        Self {
            queue,
            slots,
            free: own.collect(),
        }
    }
}

/// What a worker does.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// I/Os submitted and reaped at once.
    pub batch: usize,
    /// Whether it writes.
    pub direction: Direction,
    /// Whether each I/O's latency is measured.
    pub latency: bool,
    /// Whether the content of what was read is checked.
    pub verify: bool,
    /// What blocks hold.
    pub content: Content,
}

/// How long a worker is at it.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// So many I/Os, rounded up to whole batches.
    Ios(u64),
    /// So long.
    Time(Duration),
}

/// I/Os between two looks at the clock.
const CLOCK_INTERVAL: u64 = 64;

/// One thread with its lanes.
pub struct Worker<Q> {
    task: Task,
    lanes: Vec<Lane<Q>>,
    next_lane: usize,
    row: Places,
    places: Places,
    submitted: u64,
    latencies: Histogram,
}

impl<Q: Queue> Worker<Q> {
    /// A worker that has all its slots yet to submit.
    pub fn new(task: Task, mut lanes: Vec<Lane<Q>>, places: Places) -> Self {
        for lane in &mut lanes {
            lane.queue.set_direction(task.direction);
        }
        Self {
            task,
            lanes,
            next_lane: 0,
            row: places.clone(),
            places,
            submitted: 0,
            latencies: Histogram::new(),
        }
    }

    /// Submits all I/Os but the last batch of each lane.
    pub fn fill(&mut self) -> Result<()> {
        for index in 0..self.lanes.len() {
            let lane = &mut self.lanes[index];
            let mut waiting = std::mem::take(&mut lane.free);
            // All slots can come back to one lane, and nothing is to be allocated then.
            lane.free.reserve(lane.slots.count());
            while waiting.len() > self.task.batch {
                let chunk = self.task.batch.min(waiting.len() - self.task.batch);
                let rest = waiting.len() - chunk;
                self.lanes[index].free.extend(waiting.drain(rest..));
                self.turn(index, 0)?;
            }
            self.lanes[index].free.extend(waiting);
        }
        Ok(())
    }

    /// Submits and reaps batches up to the limit; returns how many I/Os that were.
    pub fn work(&mut self, limit: Limit) -> Result<u64> {
        let batch = self.task.batch as u64;
        let mut done = 0;
        match limit {
            Limit::Ios(count) => {
                while done < count {
                    self.next_turn()?;
                    done += batch;
                }
            }
            Limit::Time(time) => {
                let start = Instant::now();
                let mut next_look = 0;
                while done < next_look || start.elapsed() < time {
                    if done >= next_look {
                        next_look = done + CLOCK_INTERVAL;
                    }
                    self.next_turn()?;
                    done += batch;
                }
            }
        }
        Ok(done)
    }

    /// Forgets the latencies so far: what they were of is not part of the measurement.
    pub fn forget_latencies(&mut self) {
        self.latencies = Histogram::new();
    }

    /// Waits for all I/Os in flight.
    pub fn drain(&mut self, depth: usize) -> Result<()> {
        for index in 0..self.lanes.len() {
            let lane = &mut self.lanes[index];
            lane.queue.turn(depth - self.task.batch, &mut lane.free)?;
        }
        Ok(())
    }

    /// Reads all blocks back that were submitted, and checks them.
    ///
    /// Nothing is in flight, in any thread.
    pub fn read_back(&mut self) -> Result<()> {
        self.task.direction = Direction::Read;
        self.task.verify = true;
        self.task.latency = false;
        self.places = self.row.clone();
        let mut left = self.submitted;
        let lane = &mut self.lanes[0];
        lane.queue.set_direction(Direction::Read);
        while left > 0 {
            let count = left.min(self.task.batch as u64) as usize;
            self.lanes[0].free.truncate(count);
            self.turn(0, count)?;
            left -= count as u64;
        }
        Ok(())
    }

    /// The latencies of what was reaped, in ticks.
    pub fn into_latencies(self) -> Histogram {
        self.latencies
    }

    fn next_turn(&mut self) -> Result<()> {
        let index = self.next_lane;
        self.next_lane = if index + 1 == self.lanes.len() {
            0
        } else {
            index + 1
        };
        self.turn(index, self.task.batch)
    }

    /// Submits I/Os with all free slots of a lane and waits for `want`.
    #[inline]
    fn turn(&mut self, index: usize, want: usize) -> Result<()> {
        let lane = &mut self.lanes[index];
        let started = if self.task.latency { ticks() } else { 0 };
        self.submitted += lane.free.len() as u64;
        for &slot in &lane.free {
            let place = self.places.next();
            if self.task.latency {
                lane.slots.set_started(slot, started);
            }
            if self.task.verify {
                lane.slots.set_place(slot, place);
            }
            if self.task.direction == Direction::Write {
                // SAFETY: A free slot is owned by this thread.
                let words = unsafe { lane.slots.words(slot) };
                self.task.content.lay_down(place, words);
            }
            lane.queue.prepare(slot, place);
        }
        lane.free.clear();
        lane.queue.turn(want, &mut lane.free)?;
        if self.task.latency {
            let now = ticks();
            for &slot in &lane.free {
                let latency = now.saturating_sub(lane.slots.started(slot));
                self.latencies.record(latency);
            }
        }
        if self.task.verify && self.task.direction == Direction::Read {
            self.check(index)?;
        }
        Ok(())
    }

    fn check(&self, index: usize) -> Result<()> {
        let lane = &self.lanes[index];
        for &slot in &lane.free {
            let place = lane.slots.place(slot);
            // SAFETY: A slot that was reaped is owned by this thread.
            let words = unsafe { lane.slots.words(slot) };
            if !self.task.content.is_at(place, words) {
                bail!(
                    "block {} of file {} holds something else",
                    place.block,
                    place.file
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::VecDeque;
    use std::rc::Rc;

    use super::*;
    use crate::allocations;
    use crate::place::{Order, Place};
    use crate::queue::IoFailure;

    const BLOCK: usize = 512;

    /// A device that completes the oldest I/O first and keeps what is written.
    struct Memory {
        slots: Arc<Slots>,
        blocks: Vec<[u64; BLOCK / 8]>,
        direction: Direction,
        ready: Vec<(Slot, Place)>,
        in_flight: VecDeque<Slot>,
        most_in_flight: Rc<Cell<usize>>,
    }

    impl Queue for Memory {
        fn prepare(&mut self, slot: Slot, place: Place) {
            self.ready.push((slot, place));
        }

        fn turn(&mut self, want: usize, done: &mut Vec<Slot>) -> Result<(), IoFailure> {
            for (slot, place) in self.ready.drain(..) {
                let block = &mut self.blocks[place.block as usize];
                // SAFETY: The slot was handed over by its owner.
                let words = unsafe { self.slots.words(slot) };
                match self.direction {
                    Direction::Read => words.copy_from_slice(block),
                    Direction::Write => block.copy_from_slice(words),
                }
                self.in_flight.push_back(slot);
            }
            let most = self.most_in_flight.get().max(self.in_flight.len());
            self.most_in_flight.set(most);
            assert!(want <= self.in_flight.len(), "it would wait forever");
            done.extend(self.in_flight.drain(..want));
            Ok(())
        }

        fn set_direction(&mut self, direction: Direction) {
            self.direction = direction;
        }
    }

    const DEPTH: usize = 10;
    const BLOCKS: u32 = 64;

    fn worker(direction: Direction) -> (Worker<Memory>, Rc<Cell<usize>>) {
        let task = Task {
            batch: 4,
            direction,
            latency: true,
            verify: false,
            content: Content::new(1),
        };
        let slots = Arc::new(Slots::new(DEPTH, BLOCK).unwrap());
        let most_in_flight = Rc::new(Cell::new(0));
        let memory = Memory {
            slots: slots.clone(),
            blocks: vec![[0; BLOCK / 8]; BLOCKS as usize],
            direction,
            ready: Vec::with_capacity(DEPTH),
            in_flight: VecDeque::with_capacity(DEPTH),
            most_in_flight: most_in_flight.clone(),
        };
        let lane = Lane::new(memory, slots, 0..DEPTH as Slot);
        let places = Places::new(1, BLOCKS, Order::Random(5));
        (Worker::new(task, vec![lane], places), most_in_flight)
    }

    #[test]
    fn a_context_is_filled_kept_full_and_drained() {
        let (mut worker, most_in_flight) = worker(Direction::Read);
        worker.fill().unwrap();
        assert_eq!(worker.lanes[0].queue.in_flight.len(), DEPTH - 4);
        assert_eq!(worker.work(Limit::Ios(41)).unwrap(), 44);
        assert_eq!(most_in_flight.get(), DEPTH);
        worker.drain(DEPTH).unwrap();
        assert!(worker.lanes[0].queue.in_flight.is_empty());
        let mut slots = worker.lanes[0].free.clone();
        slots.sort_unstable();
        assert_eq!(slots, (0..DEPTH as Slot).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_is_allocated_while_it_works() {
        let (mut worker, _) = worker(Direction::Write);
        worker.fill().unwrap();
        let before = allocations::count();
        worker.work(Limit::Ios(1000)).unwrap();
        worker.work(Limit::Time(Duration::from_millis(1))).unwrap();
        worker.drain(DEPTH).unwrap();
        assert_eq!(allocations::count(), before);
    }

    #[test]
    fn what_was_written_is_read_back_whole() {
        let written = || {
            let (mut worker, _) = worker(Direction::Write);
            worker.fill().unwrap();
            worker.work(Limit::Ios(101)).unwrap();
            worker.drain(DEPTH).unwrap();
            worker
        };
        written().read_back().unwrap();

        let mut worker = written();
        let first = worker.row.clone().next().block;
        worker.lanes[0].queue.blocks[first as usize][7] ^= 1;
        let error = worker.read_back().unwrap_err().to_string();
        assert!(error.contains(&format!("block {first}")), "{error}");
    }
}
