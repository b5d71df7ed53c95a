//! Streams, copies, graphs and kernels against the stand-in for the driver, in every order that is legal.

#[path = "driver/standin.rs"]
mod standin;

use std::ffi::c_void;

use standin::StandIn;
use visage_kernels::cuda::{CudaError, Device, Event, Memory, PinnedPool, Stream};

const SEEDS: u64 = 500;

/// Adds one to each of 64 bytes of the device's memory, which is the host's here.
unsafe extern "C" fn add_one(place: *mut c_void) {
    // SAFETY: the tests give it the address of 64 bytes that live as long as the stream.
    unsafe { std::slice::from_raw_parts_mut(place.cast::<u8>(), 64) }.iter_mut().for_each(|byte| *byte += 1);
}

fn land(stream: &Stream, memory: &Memory, pool: &PinnedPool) -> Result<Vec<u8>, CudaError> {
    let mut flight = stream.copy_down(memory, 0, 64, pool.take().expect("a block"))?;
    loop {
        match flight.land()? {
            Ok((block, _took)) => return Ok(block[..64].to_vec()),
            Err(still) => flight = still,
        }
    }
}

#[test]
fn what_goes_up_is_worked_on_and_comes_down_in_every_order() {
    let standin = StandIn::new();
    let driver = standin.driver();
    for seed in 0..SEEDS {
        standin.seed(seed);
        let device = Device::open(&driver, 0).expect("a device");
        let [up, run, down] = [(); 3].map(|()| Stream::new(&device).expect("a stream"));
        let (memory, ran) = (Memory::take(&device, 64).expect("memory"), Event::new(&device).expect("an event"));
        let pool = PinnedPool::reserve(&device, 2, 64).expect("blocks");
        let mut block = pool.take().expect("a block");
        block[..64].fill(seed as u8 / 2);
        let flight = up.copy_up(block, &memory, 64).expect("a copy");
        run.wait(flight.done()).expect("a wait");
        // SAFETY: the memory outlives the stream's work: it is read below before it is dropped.
        unsafe { run.call(Some(add_one), memory.address() as *mut c_void) }.expect("a call");
        run.record(&ran).expect("a mark");
        down.wait(&ran).expect("a wait");
        assert_eq!(land(&down, &memory, &pool).expect("a copy"), [seed as u8 / 2 + 1; 64], "seed {seed}");
        drop(flight);
        assert_eq!(pool.free(), 2);
        drop((pool, memory, ran, up, run, down, device));
        assert_eq!(standin.counts().living(), 0, "seed {seed}: {:?}", standin.counts());
        standin.assert_obeyed();
    }
}
