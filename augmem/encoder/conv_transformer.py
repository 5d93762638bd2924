"""Conv-Transformer: convolutions between the layers see the future, self-attention sees the past alone.

Source: Huang, Hu, Yeung, Chen, "Conv-Transformer Transducer: Low Latency, Low Frame Rate, Streamable End-to-End Speech
Recognition", Interspeech 2020, arXiv 2008.05750. Layer l, with h = LayerNorm(x) before each part::

    x_t <- x_t + conv(h_(t - K + 1 + a_l) ... h_(t + a_l))          gated, depthwise; a_l frames of look-ahead
    x_t <- x_t + attention of h_t to h_(t - L) ... h_t              limited history, no look-ahead
    x_t <- x_t + feed-forward(h_t)

The look-ahead a_1 + ... + a_layers = R is the right context. It is distributed over the layers, so that a frame is
emitted as soon as R later frames have come, without segments. The paper lowers the frame rate between its three blocks
of layers; here the front end does, as in the other encoders.

Letters: B streams, T frames, P packed frames, W columns and Q outputs of a line, K kernel width, D model width.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from augmem.devices import to_device
from augmem.encoder.base import initialise
from augmem.encoder.baselines.time_restricted import Line, LineStage, TimeRestrictedEncoder, distribute
from augmem.encoder.config import DEFAULT_KERNEL, EncoderConfig
from augmem.encoder.dropout import Dropout
from augmem.encoder.index import LayerIndex, spread_blocks
from augmem.encoder.layer import BlockConvolution
from augmem.encoder.norm import LayerNorm
from augmem.encoder.rows import gather
from augmem.encoder.segments import consecutive
from augmem.errors import check_option


class LookAheadConvolution(nn.Module):
    """Convolution with pre-norm and residual.

    Args:
        config: sizes.
        kernel: K.
        ahead: taps after the frame of the output.
    """

    def __init__(self, config: EncoderConfig, kernel: int, ahead: int) -> None:
        super().__init__()
        self.norm = LayerNorm(config.dim)
        self.convolution = BlockConvolution(config.dim, kernel, ahead)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, spaced: Tensor, positions: Tensor) -> Tensor:
        """Convolve packed frames `x` (P, D); see `LayerIndex` for `spaced` and `positions`."""
        return x + self.dropout(self.convolution(self.norm(x), spaced, positions))


class ConvTransformerEncoder(TimeRestrictedEncoder):
    """Transformer with a convolution before each layer, which carries all of the look-ahead.

    Args:
        config: sizes and options.
        feature_dim: feature bins F.
        frame_shift: seconds between feature frames.

    Raises:
        UserError: the right context is more than the convolutions reach.
    """

    def __init__(self, config: EncoderConfig, feature_dim: int, frame_shift: float) -> None:
        # The transformer layers have no convolution of their own, which would be within a block.
        super().__init__(replace(config, convolution_kernel=0), feature_dim, frame_shift)
        self.kernel = config.convolution_kernel or DEFAULT_KERNEL
        most = config.layers * (self.kernel - 1)
        rule = f"be at most {most * self.frame_seconds:g} s, layers x (convolution_kernel - 1) encoder frames"
        check_option("encoder.right_context", config.right_context, self.right <= most, rule)
        self.rights, self.aheads = [0] * config.layers, distribute(self.right, config.layers)
        self.convolutions = nn.ModuleList([LookAheadConvolution(config, self.kernel, n) for n in self.aheads])
        initialise(self.convolutions, config.layers)

    @property
    def look_ahead(self) -> float:
        return self.right * self.frame_seconds

    def _run_layer(self, n: int, x: Tensor, index: LayerIndex) -> Tensor:
        return super()._run_layer(n, self.convolutions[n](x, index.spaced, index.positions), index)

    def _window(self, lengths: Tensor, right: int, like: Tensor) -> LayerIndex:
        spaced, positions = to_device(spread_blocks(consecutive(lengths), self.kernel - 1), like.device)
        return super()._window(lengths, right, like)._replace(spaced=spaced, positions=positions)

    def _stages(self) -> list[LineStage]:
        convolutions = [
            LineStage(self.kernel - 1 - ahead, ahead, partial(self._convolve, convolution))
            for convolution, ahead in zip(self.convolutions, self.aheads, strict=True)
        ]
        return [stage for pair in zip(convolutions, super()._stages(), strict=True) for stage in pair]

    def _convolve(self, convolution: nn.Module, line: Line) -> Tensor:
        """Return the outputs (B, Q, D) of a convolution over the frames of a line that exist."""
        real = line.exists.flatten()
        rows = (real.cumsum(0) - 1).clamp(min=0).view_as(line.exists).gather(1, line.columns)
        spaced, positions = spread_blocks(consecutive(line.exists.sum(1)), self.kernel - 1)
        return gather(convolution(line.inputs.flatten(0, 1)[real], spaced, positions), rows)
