// SPDX-License-Identifier: GPL-2.0-only

//! What a process does to its rings.

use super::contexts::{head_and_tail, Header};
use super::sys::{result_text, with_error};
use super::world::World;
use crate::abi::{EVENT_BYTES, RING_COMPAT_HIPRI, RING_HEADER_BYTES};
use crate::program::{RingAct, RING_WORDS};

const PAGE: u64 = 4096;
/// Rings are moved to addresses from here on.
const MOVED: u64 = 0x20_0000_0000;
/// How far these addresses are apart.
const MOVE_STEP: u64 = 1 << 30;

/// Words of a ring's header.
const HEAD_WORD: u8 = 2;
const TAIL_WORD: u8 = 3;
const COMPAT_WORD: usize = 5;

/// Takes addresses that a ring has left, so that nothing else does: the kernel may still unmap
/// them with the context, and an id that means nothing must go on to do so.
pub fn keep_free(addr: u64, bytes: u64) {
    if bytes == 0 {
        return;
    }
    // SAFETY: With MAP_FIXED_NOREPLACE nothing that is mapped changes.
    unsafe {
        libc::mmap(
            addr as *mut _,
            bytes as usize,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
            -1,
            0,
        );
    }
}

/// The header of a ring, without what kernels may differ in.
pub fn header_text(header: &Header) -> String {
    let mut header = *header;
    header[COMPAT_WORD] &= !RING_COMPAT_HIPRI;
    RING_WORDS
        .iter()
        .zip(header)
        .map(|(name, word)| format!("{name}={word:x}"))
        .collect::<Vec<_>>()
        .join(" ")
}

impl World<'_> {
    /// Does something to the ring of a context.
    pub(super) fn ring(&mut self, name: u8, act: RingAct) {
        let mapped = self
            .contexts
            .named(name)
            .filter(|&at| self.contexts.get(at).mapped > 0);
        let Some(at) = mapped else {
            self.say("no ring");
            return;
        };
        match act {
            RingAct::Look => self.look(at),
            RingAct::Consume(most) => self.consume(at, most),
            RingAct::Scribble(word, value) => self.scribble(at, word, value),
            RingAct::Move => self.move_ring(at),
            RingAct::Shrink(pages) => self.shrink(at, pages),
            RingAct::Grow => self.grow(at),
            RingAct::Unmap => {
                let bytes = self.contexts.get(at).mapped;
                self.unmap(at, bytes);
            }
            RingAct::UnmapFirst => self.unmap(at, PAGE),
            RingAct::ProtectRead => self.protect(at, libc::PROT_READ),
            RingAct::ProtectNone => self.protect(at, libc::PROT_NONE),
            RingAct::Advise(advice) => self.advise(at, advice),
        }
    }

    fn look(&mut self, at: usize) {
        let text = match self.probe.header(self.contexts.get(at).id) {
            Some(header) => header_text(&header),
            None => "cannot be read".to_owned(),
        };
        self.say(&format!("ring {text}"));
    }

    /// Takes events as programs do that know the ring.
    fn consume(&mut self, at: usize, most: u8) {
        let (id, nr) = (self.contexts.get(at).id, self.contexts.get(at).nr);
        let header = self.probe.header(id);
        let Some((mut head, tail)) = header.as_ref().map(head_and_tail) else {
            self.say("ring cannot be read");
            return;
        };
        if head >= nr || tail >= nr {
            self.say("ring makes no sense");
            return;
        }
        let mut bytes = Vec::new();
        while head != tail && bytes.len() < usize::from(most) * EVENT_BYTES as usize {
            let event = id + RING_HEADER_BYTES + u64::from(head) * EVENT_BYTES;
            let Some(event) = self.probe.read(event, EVENT_BYTES as usize) else {
                break;
            };
            bytes.extend(event);
            head = (head + 1) % nr;
        }
        let count = bytes.len() / EVENT_BYTES as usize;
        let written = self.probe.write(id + u64::from(HEAD_WORD) * 4, head);
        self.say(&format!("consumed {count}, head written {written}"));
        if written {
            self.take_events(Some(at), &bytes);
        }
    }

    fn scribble(&mut self, at: usize, word: u8, value: u32) {
        let addr = self.contexts.get(at).id + u64::from(word) * 4;
        let written = self.probe.write(addr, value);
        self.say(&format!("scribbled {written}"));
        self.contexts.get_mut(at).scribbled |= matches!(word, HEAD_WORD | TAIL_WORD);
    }

    fn move_ring(&mut self, at: usize) {
        let (id, bytes) = (self.contexts.get(at).id, self.contexts.get(at).mapped);
        let to = MOVED + self.moves * MOVE_STEP;
        self.moves += 1;
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        let result = remap(id, bytes, bytes, flags, to);
        let moved = result == to as i64;
        let text = if moved {
            "moved".to_owned()
        } else {
            result_text(result)
        };
        self.say(&format!("mremap = {text}"));
        if moved {
            let context = self.contexts.get_mut(at);
            (context.before, context.id) = (id, to);
            keep_free(id, bytes);
        }
    }

    fn shrink(&mut self, at: usize, pages: u8) {
        let (id, bytes) = (self.contexts.get(at).id, self.contexts.get(at).mapped);
        let kept = u64::from(pages) * PAGE;
        let result = remap(id, bytes, kept, 0, 0);
        let done = result == id as i64;
        let text = if done {
            "done".to_owned()
        } else {
            result_text(result)
        };
        self.say(&format!("mremap = {text}"));
        if done && kept < bytes {
            self.contexts.get_mut(at).mapped = kept;
            keep_free(id + kept, bytes - kept);
        }
    }

    fn grow(&mut self, at: usize) {
        let (id, bytes) = (self.contexts.get(at).id, self.contexts.get(at).mapped);
        let to = MOVED + self.moves * MOVE_STEP;
        self.moves += 1;
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        let result = remap(id, bytes, bytes + PAGE, flags, to);
        let text = if result == to as i64 {
            "grown".to_owned()
        } else {
            result_text(result)
        };
        self.say(&format!("mremap = {text}"));
    }

    fn unmap(&mut self, at: usize, bytes: u64) {
        let id = self.contexts.get(at).id;
        // SAFETY: That memory is a ring's, which nothing refers to.
        let result = with_error(unsafe { libc::munmap(id as *mut _, bytes as usize) }.into());
        self.say(&format!("munmap = {}", result_text(result)));
        if result == 0 {
            keep_free(id, bytes);
            self.contexts.get_mut(at).mapped = 0;
        }
    }

    fn protect(&mut self, at: usize, protection: i32) {
        let (id, bytes) = (self.contexts.get(at).id, self.contexts.get(at).mapped);
        // SAFETY: That memory is a ring's, which nothing refers to.
        let done = unsafe { libc::mprotect(id as *mut _, bytes as usize, protection) };
        self.say(&format!(
            "mprotect = {}",
            result_text(with_error(done.into()))
        ));
    }

    fn advise(&mut self, at: usize, advice: i32) {
        let (id, bytes) = (self.contexts.get(at).id, self.contexts.get(at).mapped);
        // SAFETY: That memory is a ring's, which nothing refers to.
        let done = unsafe { libc::madvise(id as *mut _, bytes as usize, advice) };
        self.say(&format!(
            "madvise = {}",
            result_text(with_error(done.into()))
        ));
    }
}

/// mremap(2)
fn remap(addr: u64, bytes: u64, new_bytes: u64, flags: i32, to: u64) -> i64 {
    // SAFETY: The memory is a ring's, which nothing refers to; where it goes nothing is mapped.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mremap,
            addr,
            bytes,
            new_bytes,
            i64::from(flags),
            to,
        )
    };
    with_error(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kernels_may_differ_in_is_left_out_of_a_header() {
        let stock = [0, 126, 1, 2, 0xa10a_10a1, 1, 0, 32];
        let mut polling = stock;
        polling[COMPAT_WORD] |= RING_COMPAT_HIPRI;
        assert_eq!(header_text(&stock), header_text(&polling));
        assert_eq!(
            header_text(&stock),
            "id=0 nr=7e head=1 tail=2 magic=a10a10a1 compat=1 incompat=0 length=20"
        );
    }
}
