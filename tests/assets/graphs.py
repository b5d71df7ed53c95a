"""Makes denoise.onnx and decode.onnx, which stand for a diffusion step and a decoder in tests of the device queue:
half precision, 64-bit integers, several free axes, an output twice as large as its input.

    pip install onnx numpy
    python tests/assets/graphs.py
"""
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

folder = pathlib.Path(__file__).parent
half = lambda name, values: numpy_helper.from_array(np.array(values, np.float16), name)
single = lambda name, values: numpy_helper.from_array(np.array(values, np.float32), name)
whole = lambda name, values: numpy_helper.from_array(np.array(values, np.int64), name)
value = helper.make_tensor_value_info
node = helper.make_node


def save(name, nodes, inputs, outputs, constants):
    graph = helper.make_graph(nodes, name, inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, folder / f"{name}.onnx")


# v = tanh(0.5 noisy + 0.25 portrait + 0.1 timestep + table[id of the frame])
axes = ["batch", "frames", 2, "height", "width"]
save(
    "denoise",
    [
        node("Gather", ["sample", "first"], ["noisy"], axis=2),
        node("Gather", ["sample", "second"], ["portrait"], axis=2),
        node("Mul", ["noisy", "noisy_weight"], ["a"]),
        node("Mul", ["portrait", "portrait_weight"], ["b"]),
        node("Add", ["a", "b"], ["c"]),
        node("Cast", ["timestep"], ["t"], to=TensorProto.FLOAT16),
        node("Mul", ["t", "time_weight"], ["d"]),
        node("Gather", ["table", "ids"], ["e"], axis=0),
        node("Unsqueeze", ["e", "columns"], ["f"]),
        node("Add", ["c", "d"], ["g"]),
        node("Add", ["g", "f"], ["h"]),
        node("Tanh", ["h"], ["v"]),
    ],
    [
        value("sample", TensorProto.FLOAT16, axes),
        value("timestep", TensorProto.FLOAT, [1]),
        value("ids", TensorProto.INT64, ["frames"]),
    ],
    [value("v", TensorProto.FLOAT16, ["batch", "frames", "height", "width"])],
    [
        whole("first", 0),
        whole("second", 1),
        whole("columns", [1, 2]),
        half("noisy_weight", 0.5),
        half("portrait_weight", 0.25),
        half("time_weight", 0.1),
        half("table", [0.0, 0.125, -0.25, 0.5]),
    ],
)

# Three channels, each a shade of the latent, every pixel twice as wide and high.
save(
    "decode",
    [
        node("Unsqueeze", ["latents", "channel"], ["a"]),
        node("Mul", ["a", "shades"], ["b"]),
        node("Tanh", ["b"], ["c"]),
        node("Resize", ["c", "", "scales"], ["image"], mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    ],
    [value("latents", TensorProto.FLOAT, ["frames", "height", "width"])],
    [value("image", TensorProto.FLOAT, ["frames", 3, "2*height", "2*width"])],
    [whole("channel", [1]), single("shades", np.reshape([0.5, -0.75, 1.25], (3, 1, 1))), single("scales", [1, 1, 2, 2])],
)
