"""Makes conv.onnx, the small graph of convolutions that engine builds are tried on: pip install onnx numpy."""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

random = np.random.default_rng(7)
weights = lambda name, *shape: numpy_helper.from_array((random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32), name)
conv = lambda x, w, y: helper.make_node("Conv", [x, w], [y], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
nodes = [conv("picture", "w1", "a"), helper.make_node("Relu", ["a"], ["b"]), conv("b", "w2", "c"),
         helper.make_node("Add", ["c", "b"], ["d"]), conv("d", "w3", "e"), helper.make_node("Tanh", ["e"], ["sharper"])]
value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, 32, 32])
graph = helper.make_graph(nodes, "conv", [value("picture")], [value("sharper")],
                          [weights("w1", 8, 3, 3, 3), weights("w2", 8, 8, 3, 3), weights("w3", 3, 8, 3, 3)])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "conv.onnx")
