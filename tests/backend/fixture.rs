//! A card that is the stand-in for the driver, with engines that reckon as the CPU does.

use std::path::Path;
use std::sync::{Arc, Mutex};

use visage::backend::gpu::{DeviceLoop, GpuBackend, GpuConfig, card};
use visage::backend::{Backend, CpuBackend, Onnx, Tensor, Value};
use visage_kernels::cuda::{EngineError, Port, Side};

use crate::engine::{HostEngines, Open, Compute};
use crate::stub_driver::StubDriver;

pub const MOUTH: &[u8] = include_bytes!("../../engines/packs/portrait/mouth/mouth.onnx");
pub const MOUTH_JSON: &[u8] = include_bytes!("../../engines/packs/portrait/mouth/mouth.json");

pub fn config(driver: &Path) -> GpuConfig {
    GpuConfig { driver: driver.to_owned(), ordinal: 0, slots: 3, rows: 4, blocks: 64 }
}

/// A card on the stand-in. Its loop is the test's to turn.
pub fn on(stub: &StubDriver) -> (GpuBackend, DeviceLoop) {
    with(config(stub.path()))
}

/// A card used in another way.
pub fn with(config: GpuConfig) -> (GpuBackend, DeviceLoop) {
    card(config, Box::new(HostEngines(engines())))
}

/// Reckons as the CPU does.
pub fn engines() -> Open {
    Box::new(|name, onnx| {
        let Onnx::Bytes(onnx) = onnx else { return Err(unfit(name, "no bytes")) };
        let ports = if name == "mouth" { mouth_ports() } else { step_ports() };
        let graph = CpuBackend::new().load(name, Onnx::Bytes(onnx)).map_err(|error| unfit(name, &error.to_string()))?;
        let slot = Mutex::new(graph.slot().expect("a CPU has room"));
        let names = |side| {
            let named = ports.iter().filter(move |port: &&Port| port.side == side).map(|port| port.name.clone());
            named.collect::<Vec<_>>()
        };
        let (inputs, outputs) = (names(Side::Input), names(Side::Output));
        let compute: Compute = Arc::new(move |given| {
            let tensor =
                |(shape, values): &(Vec<usize>, &[f32])| Tensor { shape: shape.clone(), values: values.to_vec() };
            let values: Vec<Value> = given.iter().map(|given| tensor(given).into()).collect();
            let named: Vec<_> = inputs.iter().map(String::as_str).zip(&values).collect();
            let wanted: Vec<_> = outputs.iter().map(String::as_str).collect();
            let found = slot.lock().expect("a lock").step(&named, &wanted).expect("a step");
            found.into_iter().map(|value| value.take().expect("a tensor").values).collect()
        });
        Ok((ports, compute))
    })
}

fn unfit(graph: &str, found: &str) -> EngineError {
    EngineError::Unfit { graph: graph.to_owned(), found: found.to_owned() }
}

fn port(name: &str, side: Side, shape: &[Option<usize>]) -> Port {
    Port { name: name.to_owned(), side, shape: shape.to_vec() }
}

pub fn step_ports() -> Vec<Port> {
    vec![
        port("x", Side::Input, &[None, Some(3)]),
        port("state", Side::Input, &[None, Some(2)]),
        port("y", Side::Output, &[None, Some(2)]),
        port("next_state", Side::Output, &[None, Some(2)]),
    ]
}

/// As `mouth.json` says them.
fn mouth_ports() -> Vec<Port> {
    let spec: serde_json::Value = serde_json::from_slice(MOUTH_JSON).expect("json");
    let lengths = |shape: &serde_json::Value| {
        let axes = shape.as_array().expect("a shape").iter();
        axes.map(|axis| axis.as_u64().map(|axis| axis as usize)).collect::<Vec<_>>()
    };
    let bands = spec["mel_bands"].as_u64().expect("bands") as usize;
    let weights = spec["weights"].as_array().expect("weights").len();
    let mut ports = vec![
        port("mel", Side::Input, &[Some(1), Some(4), Some(bands)]),
        port("weights", Side::Output, &[Some(1), Some(2), Some(weights)]),
        port("voice", Side::Output, &[Some(1), Some(2)]),
    ];
    for (state, next) in spec["next"].as_object().expect("next") {
        let shape = lengths(&spec["states"][state]);
        ports.push(port(state, Side::Input, &shape));
        ports.push(port(next.as_str().expect("a name"), Side::Output, &shape));
    }
    ports
}
