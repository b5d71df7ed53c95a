"""Makes a pack with one graph of about 3 GB of random weights, shaped as a video UNet: what compiling such a graph takes.

    pip install onnx numpy
    python kernels/assets/standin.py FOLDER [GIGABYTES]
    visage engines build --pack FOLDER --sm 8.9

25 frames of 64x64 latents go down three levels and up again: residual convolutions, attention within a frame and, in the
coarsest level, attention through time. No weight is anybody's: they are random numbers.
"""
import hashlib
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper

FRAMES, CHANNELS = 25, (320, 640, 1280)
folder = pathlib.Path(sys.argv[1])
wanted_bytes = float(sys.argv[2] if len(sys.argv) > 2 else 3.0) * 1e9
folder.mkdir(parents=True, exist_ok=True)
random = np.random.default_rng(7)
nodes, tensors, names = [], [], iter(range(1 << 20))
weights_file = open(folder / "unet.onnx_data", "wb")


def add(op, inputs, **attributes):
    name = f"{op}{next(names)}"
    nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
    return name


def weights(*shape):
    """A tensor whose bytes go to the file beside the graph."""
    fan_in = int(np.prod(shape[1:])) if len(shape) == 4 else shape[0]
    values = (random.standard_normal(shape, dtype=np.float32) / np.sqrt(fan_in)).astype(np.float16).tobytes()
    tensor = TensorProto(name=f"w{next(names)}", data_type=TensorProto.FLOAT16, dims=shape, data_location=TensorProto.EXTERNAL)
    for key, value in [("location", "unet.onnx_data"), ("offset", weights_file.tell()), ("length", len(values))]:
        tensor.external_data.add(key=key, value=str(value))
    weights_file.write(values)
    tensors.append(tensor)
    return tensor.name


def constant(values, kind):
    name = f"c{next(names)}"
    tensors.append(onnx.numpy_helper.from_array(np.array(values, kind), name))
    return name


def conv(x, inputs, outputs, size=3, stride=1):
    pad = size // 2
    return add("Conv", [x, weights(outputs, inputs, size, size)], kernel_shape=[size, size], pads=[pad] * 4, strides=[stride] * 2)


def norm(x, channels):
    groups = add("Reshape", [x, constant([0, 32, -1], np.int64)])
    scaled = add("InstanceNormalization", [groups, constant([1.0] * 32, np.float16), constant([0.0] * 32, np.float16)])
    return add("Reshape", [scaled, add("Shape", [x])])


def silu(x):
    return add("Mul", [x, add("Sigmoid", [x])])


def residual(x, inputs, outputs):
    y = conv(silu(norm(x, inputs)), inputs, outputs)
    y = conv(silu(norm(y, outputs)), outputs, outputs)
    return add("Add", [y, x if inputs == outputs else conv(x, inputs, outputs, 1)])


def attention(x, channels, side, through_time):
    """Self-attention over the pixels of a frame, or over the frames of a pixel; then a wide layer."""
    axes = [2, 0, 1] if through_time else [0, 2, 1]  # [pixel, frame, channel] or [frame, pixel, channel]
    tokens = add("Transpose", [add("Reshape", [x, constant([FRAMES, channels, side * side], np.int64)])], perm=axes)
    query, key, value = (add("MatMul", [tokens, weights(channels, channels)]) for _ in range(3))
    scale = constant(1 / np.sqrt(channels), np.float16)
    scores = add("Softmax", [add("Mul", [add("MatMul", [query, add("Transpose", [key], perm=[0, 2, 1])]), scale])], axis=-1)
    mixed = add("Add", [add("MatMul", [add("MatMul", [scores, value]), weights(channels, channels)]), tokens])
    wide = silu(add("MatMul", [mixed, weights(channels, 4 * channels)]))
    mixed = add("Add", [add("MatMul", [wide, weights(4 * channels, channels)]), mixed])
    back = [1, 2, 0] if through_time else [0, 2, 1]
    return add("Reshape", [add("Transpose", [mixed], perm=back), constant([FRAMES, channels, side, side], np.int64)])


x = conv("latents", 8, CHANNELS[0])
side, skips = 64, []
for level, channels in enumerate(CHANNELS):
    x = residual(x, CHANNELS[max(level - 1, 0)], channels)
    x = attention(x, channels, side, False) if side <= 32 else x
    skips.append((x, channels))
    if level < 2:
        x, side = conv(x, channels, channels, stride=2), side // 2
n = 0
while weights_file.tell() < wanted_bytes - 250e6:
    x = attention(residual(x, 1280, 1280), 1280, side, n % 2 == 1)
    n += 1
for level in (1, 0):
    side *= 2
    x = add("Resize", [x, "", constant([1.0, 1.0, 2.0, 2.0], np.float32)], mode="nearest")
    x = add("Concat", [x, skips[level][0]], axis=1)
    x = residual(x, CHANNELS[level + 1] + CHANNELS[level], CHANNELS[level])
nodes.append(helper.make_node("Conv", [x, weights(4, CHANNELS[0], 3, 3)], ["noise"], kernel_shape=[3, 3], pads=[1] * 4))
weights_file.close()

value = lambda name, channels: helper.make_tensor_value_info(name, TensorProto.FLOAT16, [FRAMES, channels, 64, 64])
graph = helper.make_graph(nodes, "standin", [value("latents", 8)], [value("noise", 4)], tensors)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "unet.onnx")
(folder / "pack.toml").write_text(
    'name = "standin"\ntitle = "Stand-in of a video UNet"\nmodel = "portrait"\nlicence = "MIT OR Apache-2.0"\navatars = ["none"]\n\n'
    '[[graphs]]\nname = "unet"\nonnx = { fp16 = "unet.onnx" }\nweights = ["unet.onnx_data"]\nshapes = "512x25"\n'
)
sums = ""
for name in ("pack.toml", "unet.onnx_data", "unet.onnx"):
    with open(folder / name, "rb") as file:
        sums += f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n"
(folder / "SHA256SUMS").write_text(sums)
print(f"{(folder / 'unet.onnx_data').stat().st_size / 1e9:.2f} GB of weights in {len(nodes)} nodes")
