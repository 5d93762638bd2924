"""Export of models for sherpa-onnx, which runs them as streaming CTC models with HLG decoding."""

from augmem.sherpa.folder import export_sherpa, tokens
from augmem.sherpa.onnx_model import MEMORY_RESET, write_int8, write_model

__all__ = ["MEMORY_RESET", "export_sherpa", "tokens", "write_int8", "write_model"]
