// SPDX-License-Identifier: GPL-2.0-only

//! The calls of a program that are not AIO's, and those of a child process.

use super::digest::Digest;
use super::files::{self, number, ready_events};
use super::sys::{last_error, result_text, with_error};
use super::world::World;
use crate::program::{Call, Fd, Manner, Object, Step};

impl World<'_> {
    /// write(2), if that would not block.
    pub(super) fn write(&mut self, fd: Fd, bytes: u32) {
        let number = number(&self.files, fd);
        if ready_events(number, libc::POLLOUT) & libc::POLLOUT == 0 {
            self.say("write would block");
            return;
        }
        let data = if self.is_eventfd(fd) {
            u64::from(bytes).to_ne_bytes().to_vec()
        } else {
            super::arena::pattern(0xda7a, u64::from(bytes))
        };
        // SAFETY: The data is valid for reads of that many bytes.
        let written = unsafe { libc::write(number, data.as_ptr().cast(), data.len()) };
        self.say(&format!(
            "write = {}",
            result_text(with_error(written as i64))
        ));
    }

    /// read(2), if that would not block.
    pub(super) fn read(&mut self, fd: Fd, bytes: u32) {
        let number = number(&self.files, fd);
        if ready_events(number, libc::POLLIN) & libc::POLLIN == 0 {
            self.say("read would block");
            return;
        }
        let mut data = vec![0_u8; bytes as usize];
        // SAFETY: The data is valid for writes of that many bytes.
        let read = unsafe { libc::read(number, data.as_mut_ptr().cast(), data.len()) };
        data.truncate(read.max(0) as usize);
        let (result, digest) = (with_error(read as i64), Digest::of(&data));
        self.say(&format!("read = {} {digest}", result_text(result)));
    }

    fn is_eventfd(&self, fd: Fd) -> bool {
        let object = self
            .program
            .file(fd)
            .and_then(|(index, _)| self.program.object(index));
        matches!(object, Some(Object::EventFd { .. }))
    }

    /// close(2)
    pub(super) fn close(&mut self, fd: Fd) {
        let closed = files::close(number(&self.files, fd));
        self.say(&format!("close = {}", result_text(closed)));
    }

    /// ftruncate(2)
    pub(super) fn truncate(&mut self, fd: Fd, size: u32) {
        // SAFETY: No memory is involved.
        let done = unsafe { libc::ftruncate(number(&self.files, fd), size.into()) };
        self.say(&format!(
            "truncate = {}",
            result_text(with_error(done.into()))
        ));
    }

    /// Has a child process make calls, and waits for its end.
    pub(super) fn fork(&mut self, calls: &[Call]) {
        // SAFETY: The child goes on with this thread alone, which holds no lock that another one
        // might have.
        match unsafe { libc::fork() } {
            -1 => self.say(&format!("fork = {}", result_text(-i64::from(last_error())))),
            0 => self.be_child(calls),
            child => {
                let mut status = 0;
                // SAFETY: `status` is valid for writes.
                unsafe { libc::waitpid(child, &raw mut status, 0) };
                self.say(&format!("child ended {status:#x}"));
            }
        }
    }

    fn be_child(&mut self, calls: &[Call]) -> ! {
        self.is_child = true;
        self.contexts.disown();
        self.flights.clear();
        let label = self.label.clone();
        for (index, call) in calls.iter().enumerate() {
            self.label = format!("{label}.{index}");
            self.step(&Step {
                thread: 0,
                manner: Manner::Wait,
                call: call.clone(),
            });
        }
        // SAFETY: Nothing of the parent's is to be flushed or freed.
        unsafe { libc::_exit(0) }
    }
}
