"""An encoder of your own: a stack of causal GRUs with the front end, streaming and tests of the other encoders.

    .venv/bin/python examples/custom_encoder.py

trains it with CTC on random features and compares streaming with whole utterances. For use in recipes, add an encoder
to `augmem/encoder/registry.py` (docs/extending.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import augmem

augmem.prepare_libraries()  # before torch is imported

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True)
class GruState(augmem.StreamState):
    """State of B streams.

    Args:
        frontend: state of the front end.
        hidden: (B, layers, D) last output of each layer.
    """

    frontend: Any
    hidden: Tensor


class CausalGru(augmem.Encoder):
    """GRUs with residual connections: an output depends on past frames only, so a stream needs no look-ahead."""

    def __init__(self, config: augmem.EncoderConfig, feature_dim: int, frame_shift: float) -> None:
        super().__init__(config, feature_dim, frame_shift)
        self.layers = nn.ModuleList(nn.GRU(config.dim, config.dim, batch_first=True) for _ in range(config.layers))

    @property
    def look_ahead(self) -> float:
        return 0.0

    def _encode(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Encode packed frames (sum of T', D) of `lengths` (B,): hidden (B, T', D), and no auxiliary outputs."""
        x = pad_sequence(frames.split(lengths.tolist()), batch_first=True)
        for layer in self.layers:
            x = x + layer(x)[0]
        return self._mask(self.norm(x), lengths), []

    def init_state(self, batch: int) -> GruState:
        hidden = self.norm.weight.new_zeros(batch, len(self.layers), self.output_dim)
        emitted = torch.zeros(batch, dtype=torch.int64, device=hidden.device)
        return GruState(emitted, self.frontend.init_state(batch), hidden)

    def step(self, chunk: Tensor, state: GruState, final: bool = False) -> tuple[Tensor, GruState]:
        x, count, frontend = self.frontend.step(chunk, state.frontend, final)
        x, hidden = self.dropout(x), []
        for number, layer in enumerate(self.layers):
            before = state.hidden[:, number]
            y = layer(x, before[None].contiguous())[0] if x.size(1) else x
            line = torch.cat([before[:, None], y], 1)  # output 0 is the last one of the previous chunk
            hidden.append(line[torch.arange(len(count)), count])
            x = x + y
        return self._mask(self.norm(x), count), GruState(count, frontend, torch.stack(hidden, 1))

    @staticmethod
    def _mask(x: Tensor, lengths: Tensor) -> Tensor:
        real = torch.arange(x.size(1), device=x.device) < lengths[:, None]
        return x * real[:, :, None]


augmem.ENCODERS["causal_gru"] = augmem.EncoderSpec("custom_encoder:CausalGru")


def train(encoder: augmem.Encoder, steps: int = 20) -> list[float]:
    """Train with CTC on two utterances of random features; return the losses."""
    output = nn.Linear(encoder.output_dim, 5)
    optimiser = torch.optim.Adam([*encoder.parameters(), *output.parameters()], lr=0.01)
    features, lengths = torch.randn(2, 160, 80), torch.tensor([160, 120])
    losses = []
    for _ in range(steps):
        hidden, frames = encoder(features, lengths)
        log_probs = output(hidden).log_softmax(-1).transpose(0, 1)
        targets = torch.tensor([[1, 2, 3], [4, 1, 2]])
        loss = nn.functional.ctc_loss(log_probs, targets, frames, torch.tensor([3, 3]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def streaming_difference(encoder: augmem.Encoder, chunk: int = 23) -> float:
    """Return the largest difference between streaming in chunks and the whole utterance."""
    features = torch.randn(1, 150, 80).to(encoder.norm.weight)
    encoder.eval()
    with torch.no_grad():
        whole, _ = encoder(features, torch.tensor([150]))
        state, parts = encoder.init_state(1), []
        for start in range(0, 150, chunk):
            hidden, state = encoder.step(features[:, start : start + chunk], state, final=start + chunk >= 150)
            parts.append(hidden)
    return float((torch.cat(parts, 1) - whole).abs().max())


if __name__ == "__main__":
    torch.manual_seed(0)
    config = augmem.EncoderConfig(type="causal_gru", dim=32, layers=2)
    encoder = CausalGru(config, feature_dim=80, frame_shift=0.01)
    losses = train(encoder)
    print(f"CTC loss {losses[0]:.3f} at the first step, {losses[-1]:.3f} at the last")
    print(f"streaming differs from the whole utterance by at most {streaming_difference(encoder):.1e}")
