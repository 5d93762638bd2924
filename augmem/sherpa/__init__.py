"""Export of models for sherpa-onnx, which runs them as streaming CTC models with HLG decoding."""

from augmem.sherpa.folder import export_sherpa, format_tokens
from augmem.sherpa.onnx_model import MEMORY_RESET, write_int8, write_onnx_model

__all__ = ["MEMORY_RESET", "export_sherpa", "format_tokens", "write_int8", "write_onnx_model"]
