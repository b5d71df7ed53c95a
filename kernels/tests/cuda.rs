//! Streams, copies, captured graphs, kernels and faults: on the stub driver in every legal interleaving, and on a GPU where
//! `VISAGE_CUDA=1` is set (`tests/gpu/backend.sh`).

#![expect(clippy::disallowed_methods, reason = "the environment says whether there is a GPU")]
#![expect(clippy::print_stdout, reason = "skipped tests and figures are printed")]

#[path = "driver/stub_driver.rs"]
mod stub_driver;

use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stub_driver::{Fault, StubDriver};
use visage_engines::Sm;
use visage_kernels::cuda::{
    Argument, CudaError, Device, Driver, DriverError, Event, FaultKind, Function, Graph, Grid, LIBRARY, Memory, Module,
    Pinned, PinnedPool, Stream, Transfer,
};

const SEEDS: u64 = 500;
/// Number of elements in the buffers.
const COUNT: usize = 1000;
const BYTES: usize = COUNT * 4;
/// Pinned buffers; a fault may leak two.
const BLOCKS: usize = 3;

/// Adds one to each of `count` floats at `place`.
const ADD_ONE: &[u8] = concat!(include_str!("driver/add_one.ptx"), "\0").as_bytes();

/// The same on the host.
unsafe extern "C" fn add_one(arguments: *const *const c_void, _grid: *const u32) {
    // SAFETY: the stub passes as many arguments as were registered, each as long.
    let (place, count) = unsafe { ((*arguments).cast::<u64>().read_unaligned(), *(*arguments.add(1)).cast::<u32>()) };
    // SAFETY: the tests pass the address of so many floats of device memory, which is host memory here.
    let numbers = unsafe { std::slice::from_raw_parts_mut(place as *mut f32, count as usize) };
    numbers.iter_mut().for_each(|number| *number += 1.0);
}

/// A device with everything that the tests use.
struct Fixture {
    pool: PinnedPool,
    memory: Memory,
    ran: Event,
    kernel: Function,
    up: Stream,
    run: Stream,
    down: Stream,
    device: Device,
}

impl Fixture {
    fn open(driver: &Driver) -> Self {
        let device = Device::open(driver, 0).expect("a device");
        // SAFETY: the text ends with a zero.
        let module = unsafe { Module::load(&device, ADD_ONE) }.expect("PTX");
        let [up, run, down] = [(); 3].map(|()| Stream::new(&device).expect("a stream"));
        Self {
            pool: PinnedPool::reserve(&device, BLOCKS, BYTES).expect("blocks"),
            memory: Memory::take(&device, BYTES).expect("memory"),
            ran: Event::new(&device).expect("an event"),
            kernel: module.function(c"add_one").expect("the kernel"),
            up,
            run,
            down,
            device,
        }
    }

    fn launch(&self, stream: &Stream) -> Result<(), CudaError> {
        let arguments = [Argument::Address(self.memory.address()), Argument::U32(COUNT as u32)];
        let grid = Grid { blocks: [COUNT.div_ceil(128) as u32, 1, 1], threads: [128, 1, 1] };
        // SAFETY: the kernel takes a place and a count; the memory holds so many floats and outlives the stream's work.
        unsafe { self.kernel.launch(stream, grid, &arguments) }
    }

    fn send(&self, number: f32) -> Result<Transfer, CudaError> {
        let mut block = self.pool.take().expect("a block");
        block[..BYTES].chunks_exact_mut(4).for_each(|bytes| bytes.copy_from_slice(&number.to_le_bytes()));
        let transfer = self.up.upload(block, &self.memory, BYTES)?;
        self.run.wait_for(&transfer)?;
        Ok(transfer)
    }

    fn fetch(&self) -> Result<(Vec<f32>, Duration), CudaError> {
        self.run.record(&self.ran)?;
        self.down.wait(&self.ran)?;
        let transfer = self.down.download(&self.memory, 0, BYTES, self.pool.take().expect("a block"))?;
        let (block, took) = poll(transfer)?;
        let numbers = block[..BYTES].chunks_exact(4);
        Ok((numbers.map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four"))).collect(), took))
    }
}

fn poll(mut transfer: Transfer) -> Result<(Pinned, Duration), CudaError> {
    loop {
        match transfer.poll()? {
            Ok(landed) => return Ok(landed),
            Err(still) => transfer = still,
        }
    }
}

/// An upload, three runs, two of them by a replay, and a download.
fn pass(driver: &Driver, number: f32) {
    let fixture = Fixture::open(driver);
    let twice = Graph::capture(&fixture.run, |stream| fixture.launch(stream).and_then(|()| fixture.launch(stream)));
    let twice = twice.expect("a graph");
    for _ in 0..2 {
        let transfer = fixture.send(number).expect("a copy");
        fixture.launch(&fixture.run).expect("a launch");
        twice.replay(&fixture.run).expect("a replay");
        assert_eq!(fixture.fetch().expect("a copy").0, vec![number + 3.0; COUNT]);
        drop(transfer);
        assert_eq!(fixture.pool.free(), BLOCKS);
    }
}

/// A kernel that fails ends the context; in a new context the device works.
fn fail(driver: &Driver, break_it: impl FnOnce(&Fixture)) {
    let fixture = Fixture::open(driver);
    break_it(&fixture);
    let transfer = fixture.send(1.0);
    let failed = transfer.and_then(|transfer| {
        fixture.launch(&fixture.run)?;
        fixture.fetch()?;
        poll(transfer).map(drop)
    });
    let error = failed.expect_err("a kernel that fails");
    assert_eq!(error.kind(), FaultKind::Launch, "{error}");
    fixture.device.reset().expect("a reset");
    assert!(fixture.send(1.0).is_err(), "nothing more is queued in a destroyed context");
    drop(fixture);
    pass(driver, 5.0);
}

fn on_stub() -> (StubDriver, Driver) {
    let stub = StubDriver::new();
    let driver = stub.driver();
    stub.register_kernel(c"add_one", add_one, &[8, 4]);
    (stub, driver)
}

fn gpu() -> Option<Driver> {
    if std::env::var_os("VISAGE_CUDA").is_none() {
        println!("skipped: cuda: VISAGE_CUDA is not set; tests/gpu/backend.sh sets it");
        return None;
    }
    Some(Driver::open(Path::new(LIBRARY)).expect("VISAGE_CUDA says that there is a GPU"))
}

#[test]
fn uploads_runs_and_downloads_give_the_same_result_in_every_interleaving() {
    let (stub, driver) = on_stub();
    for seed in 0..SEEDS {
        stub.seed(seed);
        pass(&driver, seed as f32);
        stub.assert_obeyed();
        assert_eq!(stub.counts().living(), 0, "seed {seed}: {:?}", stub.counts());
    }
}

#[test]
fn a_failed_kernel_ends_the_context_and_the_device_works_in_a_new_one() {
    let (stub, driver) = on_stub();
    for seed in 0..SEEDS {
        stub.seed(seed);
        fail(&driver, |_| stub.fail(Fault::Launch(719), 1));
        stub.assert_obeyed();
        assert_eq!(stub.counts().living(), 0, "seed {seed}: {:?}", stub.counts());
    }
}

/// Whether `at` is inside a mapping of this process.
fn is_mapped(at: usize) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("the program's memory");
    maps.lines().any(|line| {
        let (start, end) = line.split(' ').next().and_then(|range| range.split_once('-')).expect("a range");
        let [start, end] = [start, end].map(|place| usize::from_str_radix(place, 16).expect("a place"));
        (start..end).contains(&at)
    })
}

#[test]
fn pinned_memory_is_freed_only_if_the_driver_confirms_that_no_copy_is_under_way() {
    let (stub, driver) = on_stub();
    for (fault, stays) in [(Fault::Sticky(719), false), (Fault::Gone(999), true)] {
        stub.seed(1);
        let device = Device::open(&driver, 0).expect("a device");
        let pool = PinnedPool::reserve(&device, 1, 64 << 20).expect("blocks");
        let at = pool.take().expect("a block").as_ptr() as usize + (32 << 20);
        assert!(is_mapped(at));
        stub.fail(fault, 1);
        Stream::new(&device).expect_err("a fault");
        assert_eq!(device.reset().is_err(), stays);
        drop((pool, device));
        // Freed memory may belong to another thread by now.
        assert!(is_mapped(at) || !stays, "{fault:?}");
    }
}

#[test]
fn a_slow_copy_has_a_longer_time() {
    let (stub, driver) = on_stub();
    for seed in 0..SEEDS {
        stub.seed(seed);
        let fixture = Fixture::open(&driver);
        let fast = poll(fixture.send(1.0).expect("a copy")).expect("done").1;
        stub.fail(Fault::SlowCopy, 1);
        let slow = poll(fixture.send(1.0).expect("a copy")).expect("done").1;
        assert!(!fast.is_zero() && slow > fast * 20, "seed {seed}: {fast:?} and {slow:?}");
    }
}

#[test]
fn a_copy_that_does_not_fit_is_refused_before_the_driver_is_called() {
    let (stub, driver) = on_stub();
    let fixture = Fixture::open(&driver);
    let copies = stub.counts().copies;
    let block = |fixture: &Fixture| fixture.pool.take().expect("a block");
    assert!(fixture.up.upload(block(&fixture), &fixture.memory, BYTES + 1).is_err());
    assert!(fixture.down.download(&fixture.memory, 1, BYTES, block(&fixture)).is_err());
    assert!(fixture.down.download(&fixture.memory, usize::MAX, 2, block(&fixture)).is_err());
    assert!(fixture.run.copy_on_device((&fixture.memory, 0), (&fixture.memory, 4), BYTES).is_err());
    let longer = Memory::take(&fixture.device, 2 * fixture.pool.block_bytes()).expect("memory");
    assert!(fixture.up.upload(block(&fixture), &longer, longer.bytes()).is_err(), "longer than its block");
    assert!(fixture.down.download(&longer, 0, longer.bytes(), block(&fixture)).is_err());
    assert_eq!((stub.counts().copies, fixture.pool.free()), (copies, BLOCKS));
}

#[test]
fn the_buffer_of_a_dropped_transfer_returns_when_its_copy_is_done() {
    let (stub, driver) = on_stub();
    for seed in 0..SEEDS {
        stub.seed(seed);
        let fixture = Fixture::open(&driver);
        drop(fixture.send(7.0).expect("a copy"));
        assert_eq!(fixture.pool.free(), BLOCKS);
        // The next owner may write the buffer at once.
        let mut again: Vec<Pinned> = (0..BLOCKS).map(|_| fixture.pool.take().expect("a block")).collect();
        again.iter_mut().for_each(|block| block.fill(0));
        drop(again);
        assert_eq!(fixture.fetch().expect("a copy").0, vec![7.0; COUNT], "seed {seed}");
    }
}

#[test]
fn without_a_driver_or_with_another_library_nothing_is_called() {
    let missing = Driver::open(Path::new("/nowhere/libcuda.so.1")).expect_err("no library");
    assert!(matches!(missing, DriverError::Missing { .. }), "{missing}");
    let other = Driver::open(Path::new("libm.so.6")).expect_err("another library");
    let DriverError::TooOld { calls, .. } = &other else { panic!("{other}") };
    assert!(calls.len() == visage_kernels::cuda::sys::NAMES.len() && calls.contains(&"cuInit"), "{other}");
    let (stub, driver) = on_stub();
    let beyond = Device::open(&driver, 3).expect_err("one device");
    assert!(matches!(beyond, DriverError::NoSuchDevice { ordinal: 3, found: 1 }), "{beyond}");
    assert_eq!((driver.version(), stub.counts().living_contexts), (Ok(12080), 0));
}

/// The files of this package's sources.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

#[test]
fn cudarc_is_named_only_by_the_table_of_entry_points() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let names = |path: &PathBuf| std::fs::read_to_string(path).is_ok_and(|text| text.contains("cudarc::"));
    let found: Vec<_> = sources(&src).into_iter().filter(names).collect();
    assert_eq!(found, [src.join("cuda/sys.rs")]);
    let text = std::fs::read_to_string(&found[0]).expect("the table");
    // Used for their types only: no symbol is looked up.
    assert_eq!(text.matches("= sys::$name;").count(), 1);
    assert_eq!(text.matches("sys::$name").count() + text.matches("sys::cu").count(), 1);
}

#[test]
fn the_loader_finds_the_stub_as_it_finds_the_driver() {
    let stub = StubDriver::new();
    if std::env::var_os("VISAGE_STUB_CHILD").is_some() {
        let driver = Driver::open(Path::new(LIBRARY)).expect("found by its name");
        let device = Device::open(&driver, 0).expect("a device");
        assert_eq!((device.name().as_deref(), device.sm().map(Sm::tag)), (Ok("stub"), Ok("sm89".to_owned())));
        assert_eq!(device.bus_address().as_deref(), Ok("00000000:0A:00.0"));
        return;
    }
    let this = std::env::current_exe().expect("this test");
    let child = std::process::Command::new(this)
        .args(["--exact", "the_loader_finds_the_stub_as_it_finds_the_driver"])
        .env("LD_LIBRARY_PATH", stub.path().parent().expect("a folder"))
        .env("VISAGE_STUB_CHILD", "1")
        .output()
        .expect("a child");
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
}

#[test]
fn on_a_real_gpu_copies_runs_and_replays_work_and_survive_a_fault() {
    let Some(driver) = gpu() else { return };
    let device = Device::open(&driver, 0).expect("a device");
    println!("{} sm {:?}, CUDA {:?}", device.name().expect("a name"), device.sm(), driver.version());
    pass(&driver, 41.0);
    if std::env::var_os("VISAGE_CUDA_UNBROKEN").is_some() {
        println!("skipped: cuda: faults are not injected under a sanitizer");
        return;
    }
    // An address that belongs to nothing.
    fail(&driver, |fixture| {
        let grid = Grid { blocks: [1, 1, 1], threads: [32, 1, 1] };
        let nowhere = [Argument::Address(16), Argument::U32(32)];
        // SAFETY: it is not kept: the kernel is to fail on the device, which harms nothing of the host's.
        unsafe { fixture.kernel.launch(&fixture.run, grid, &nowhere) }.expect("a launch");
    });
}

/// Copies of so many bytes each way.
const LARGE_BYTES: usize = 256 << 20;

#[test]
fn on_a_real_gpu_copies_in_both_directions_overlap() {
    let Some(driver) = gpu() else { return };
    let device = Device::open(&driver, 0).expect("a device");
    let [up, down] = [(); 2].map(|()| Stream::new(&device).expect("a stream"));
    let [to, from] = [(); 2].map(|()| Memory::take(&device, LARGE_BYTES).expect("memory"));
    let pool = PinnedPool::reserve(&device, 2, LARGE_BYTES).expect("blocks");
    let [begun, done] = [(); 2].map(|()| Event::new(&device).expect("an event"));
    // A sanitizer reports downloads of uninitialised memory.
    drop(up.upload(pool.take().expect("a block"), &from, LARGE_BYTES).expect("a copy"));
    up.record(&begun).expect("a mark");
    down.wait(&begun).expect("a wait");
    let upwards = up.upload(pool.take().expect("a block"), &to, LARGE_BYTES).expect("a copy");
    let downwards = down.download(&from, 0, LARGE_BYTES, pool.take().expect("a block")).expect("a copy");
    up.wait_for(&downwards).expect("a wait");
    up.record(&done).expect("a mark");
    done.synchronise().expect("both");
    let (up_took, down_took) = (poll(upwards).expect("done").1, poll(downwards).expect("done").1);
    let both = done.since(&begun).expect("past");
    println!("256 MiB up {up_took:?}, down {down_took:?}, both at once {both:?}");
    assert!(both < (up_took + down_took).mul_f64(0.8), "{both:?} for {up_took:?} and {down_took:?}");
}
