"""Recognition with onnxruntime and OpenFst graphs: imports neither torch nor k2."""

from augmem.onnx_engine.openfst import NOT_FINAL, Graph, write_openfst

__all__ = ["NOT_FINAL", "Graph", "write_openfst"]
