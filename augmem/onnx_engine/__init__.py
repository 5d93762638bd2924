"""Recognition without torch and k2: onnxruntime for the model, kaldi-decoder for the search.

`augmem export --format onnx` makes packages for this engine, see `augmem.onnx_package`.
"""

from augmem.onnx_engine.recognizer import OnnxRecognizer
from augmem.onnx_engine.search import EngineOptions

__all__ = ["EngineOptions", "OnnxRecognizer"]
