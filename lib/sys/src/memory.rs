//! The memory of a program made with [`program!`](crate::program): a room of fixed size that the program has from the
//! start, and the C library's heap when that is full.
//!
//! Most programs live for one message. The heap would map and unmap every buffer of theirs, which costs more than using
//! it; a room in the program's own data costs a page fault for what is touched, and goes with the process. Blocks come in
//! powers of two and are used again for the same power; long-lived programs that outgrow the room use the heap.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};

/// How large the room is (bytes).
const ROOM: usize = 384 << 10;
/// The smallest block: 2 to this power (bytes). It is also how blocks are aligned.
const LEAST: u32 = 4;
/// The largest block that is taken from the room: 2 to this power (bytes).
const MOST: u32 = 17;
const SIZES: usize = (MOST - LEAST + 1) as usize;

/// Install one with `#[global_allocator]`; [`program!`](crate::program) does.
#[repr(C)]
pub struct Room {
    taken: AtomicBool,
    inside: UnsafeCell<Inside>,
}

/// What is touched most comes first.
#[repr(C)]
struct Inside {
    /// By size: the first free block, which begins with the address of the next one.
    free: [*mut u8; SIZES],
    /// Where what was never used begins.
    fresh: usize,
    bytes: Bytes,
}

#[repr(align(16))]
struct Bytes([u8; ROOM]);

// SAFETY: `inside` is only touched by whoever has set `taken` from false to true.
unsafe impl Sync for Room {}

/// What [`Room::take`] found.
enum Block {
    /// Never used: all its bytes are 0.
    Fresh(*mut u8),
    Used(*mut u8),
    /// No room.
    None,
}

impl Default for Room {
    fn default() -> Room {
        Room::new()
    }
}

impl Room {
    /// An empty one.
    pub const fn new() -> Room {
        let inside = Inside { free: [null_mut(); SIZES], fresh: 0, bytes: Bytes([0; ROOM]) };
        Room { taken: AtomicBool::new(false), inside: UnsafeCell::new(inside) }
    }

    /// Runs `f` if nobody else is inside, which in a program without threads is never.
    fn with<T>(&self, f: impl FnOnce(&mut Inside) -> T) -> Option<T> {
        if self.taken.swap(true, Ordering::Acquire) {
            return None;
        }
        // SAFETY: `taken` was false, so this is the only reference until it is false again.
        let done = f(unsafe { &mut *self.inside.get() });
        self.taken.store(false, Ordering::Release);
        Some(done)
    }

    fn take(&self, layout: Layout) -> Block {
        let Some(size) = size_of_block(layout) else { return Block::None };
        let bytes = 1 << (size + LEAST as usize);
        let take = |inside: &mut Inside| {
            let free = &mut inside.free[size];
            if !free.is_null() {
                let block = *free;
                // SAFETY: a free block of this room, at least 16 bytes and so aligned, begins with the address that `give`
                // wrote there.
                *free = unsafe { block.cast::<*mut u8>().read() };
                return Block::Used(block);
            }
            if ROOM - inside.fresh < bytes {
                return Block::None;
            }
            let block = inside.bytes.0[inside.fresh..].as_mut_ptr();
            inside.fresh += bytes;
            Block::Fresh(block)
        };
        self.with(take).unwrap_or(Block::None)
    }

    /// Takes a block back, if it is from here.
    fn give(&self, block: *mut u8, layout: Layout) -> bool {
        let room = self.inside.get() as usize..self.inside.get() as usize + size_of::<Inside>();
        if !room.contains(&(block as usize)) {
            return false;
        }
        let give = |inside: &mut Inside| {
            if let Some(size) = size_of_block(layout) {
                // SAFETY: the block was taken from this room for this layout, so it is at least 16 bytes, 16-aligned, and
                // nobody uses it any more.
                unsafe { block.cast::<*mut u8>().write(inside.free[size]) };
                inside.free[size] = block;
            }
        };
        // With another thread inside, the block is lost: wasteful, but safe.
        let _ = self.with(give);
        true
    }
}

/// Which size of block a layout gets, counted from the smallest; `None`: none here.
fn size_of_block(layout: Layout) -> Option<usize> {
    if layout.align() > 1 << LEAST || layout.size() > 1 << MOST {
        return None;
    }
    let power = layout.size().next_power_of_two().trailing_zeros().max(LEAST);
    Some((power - LEAST) as usize)
}

// SAFETY: a block is handed out once until it is given back (free lists and `fresh` see to that, under `taken`), is as
// large and aligned as the layout asks, and blocks of the heap go back to the heap: `give` knows its own by address.
unsafe impl GlobalAlloc for Room {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.take(layout) {
            Block::Fresh(block) | Block::Used(block) => block,
            // SAFETY: the caller's promise is the same.
            Block::None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match self.take(layout) {
            Block::Fresh(block) => block,
            Block::Used(block) => {
                // SAFETY: the block is at least as large as the layout.
                unsafe { block.write_bytes(0, layout.size()) };
                block
            }
            // SAFETY: the caller's promise is the same.
            Block::None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !self.give(block, layout) {
            // SAFETY: not from here, so from the heap, with the same layout.
            unsafe { System.dealloc(block, layout) };
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let room = self.inside.get() as usize..self.inside.get() as usize + size_of::<Inside>();
        if !room.contains(&(block as usize)) {
            // SAFETY: from the heap; the caller's promise is the same.
            return unsafe { System.realloc(block, layout, new_size) };
        }
        let Ok(new) = Layout::from_size_align(new_size, layout.align()) else { return null_mut() };
        if size_of_block(layout) == size_of_block(new) {
            return block;
        }
        // SAFETY: the new block is at least as large as what is copied, and cannot overlap one in use.
        unsafe {
            let to = self.alloc(new);
            if !to.is_null() {
                to.copy_from_nonoverlapping(block, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            to
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 1).unwrap()
    }

    #[test]
    fn blocks_do_not_overlap_and_are_used_again() {
        static ROOM_ONE: Room = Room::new();
        let sizes = [1, 16, 17, 100, 4096, 5000, 65536, 131_072];
        // SAFETY: every block is used within its size and given back once with its layout.
        unsafe {
            let blocks: Vec<_> = sizes.iter().map(|&n| ROOM_ONE.alloc(layout(n))).collect();
            for (i, (&block, &n)) in blocks.iter().zip(&sizes).enumerate() {
                assert_eq!(block as usize % 16, 0);
                block.write_bytes(i as u8 + 1, n);
            }
            for (i, (&block, &n)) in blocks.iter().zip(&sizes).enumerate() {
                assert!(std::slice::from_raw_parts(block, n).iter().all(|&b| b == i as u8 + 1));
                ROOM_ONE.dealloc(block, layout(n));
            }
            let again = ROOM_ONE.alloc_zeroed(layout(4000));
            assert_eq!(again, blocks[4]);
            assert!(std::slice::from_raw_parts(again, 4000).iter().all(|&b| b == 0));
            ROOM_ONE.dealloc(again, layout(4000));
        }
    }

    #[test]
    fn what_does_not_fit_comes_from_the_heap() {
        static ROOM_TWO: Room = Room::new();
        // SAFETY: as above.
        unsafe {
            let all: Vec<_> = (0..10).map(|_| ROOM_TWO.alloc(layout(131_072))).collect();
            for &block in &all {
                block.write_bytes(7, 131_072);
            }
            all.iter().for_each(|&block| ROOM_TWO.dealloc(block, layout(131_072)));
            let large = ROOM_TWO.alloc(layout(1 << 20));
            large.add((1 << 20) - 1).write(1);
            let larger = ROOM_TWO.realloc(large, layout(1 << 20), 2 << 20);
            assert_eq!(larger.add((1 << 20) - 1).read(), 1);
            ROOM_TWO.dealloc(larger, layout(2 << 20));
            let wide = Layout::from_size_align(64, 64).unwrap();
            let block = ROOM_TWO.alloc(wide);
            assert_eq!(block as usize % 64, 0);
            ROOM_TWO.dealloc(block, wide);
        }
    }

    #[test]
    fn growing_keeps_what_is_there() {
        static ROOM_THREE: Room = Room::new();
        // SAFETY: as above.
        unsafe {
            let mut block = ROOM_THREE.alloc(layout(3));
            block.copy_from_nonoverlapping(b"abc".as_ptr(), 3);
            let mut size = 3;
            for next in [16, 17, 200, 70_000, 200_000, 300_000, 10] {
                block = ROOM_THREE.realloc(block, layout(size), next);
                size = next;
                assert_eq!(std::slice::from_raw_parts(block, 3), b"abc", "{next}");
            }
            ROOM_THREE.dealloc(block, layout(size));
        }
    }
}
