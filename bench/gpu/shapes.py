"""Work of known size on one GPU, with weights at random: energy does not depend on what they say.

Decoding is one step of a Llama of 7 billion parameters in bfloat16, replayed as a CUDA graph, so
that no time is lost to Python; prefill and training are the same layers with many tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Work = Callable[[], int]
"""Does some work, waits for it, and says how many outcomes it made."""
REPLAYS = 20


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a decoder-only transformer."""

    width: int = 4096
    inner: int = 11008
    layers: int = 32
    heads: int = 32
    words: int = 32000


LLAMA_7B = Shape()
LLAMA_1B = Shape(2048, 5632, 22, 32)


class Decoder:
    """Layers with random weights in bfloat16 on the GPU."""

    def __init__(self, shape: Shape, *, trains: bool = False) -> None:
        self.shape = shape
        s = shape
        sizes = ((s.width, 3 * s.width), (s.width, s.width), (s.width, 2 * s.inner))
        self.layers = [
            [_weights(*size, trains=trains) for size in (*sizes, (s.inner, s.width))]
            for _ in range(s.layers)
        ]
        self.words = _weights(s.words, s.width, trains=trains)

    def parameters(self) -> list[Tensor]:
        return [self.words, *(one for layer in self.layers for one in layer)]

    def forward(self, tokens: Tensor, caches: list[tuple[Tensor, Tensor]] | None = None) -> Tensor:
        """Return the last states of ``tokens`` (batch, length); with caches the length is 1."""
        s = self.shape
        batch, length = tokens.shape
        states = self.words[tokens]
        for number, (projection, out, gate, down) in enumerate(self.layers):
            mixed = (functional.rms_norm(states, (s.width,)) @ projection).view(
                batch, length, 3, s.heads, s.width // s.heads
            )
            query, key, value = mixed.transpose(1, 3).unbind(2)
            if caches is not None:
                keys, values = caches[number]
                keys[:, :, -1:].copy_(key)
                values[:, :, -1:].copy_(value)
                key, value = keys, values
            seen = functional.scaled_dot_product_attention(
                query, key, value, is_causal=caches is None
            )
            states = states + seen.transpose(1, 2).reshape(batch, length, s.width) @ out
            left, right = (functional.rms_norm(states, (s.width,)) @ gate).chunk(2, -1)
            states = states + (functional.silu(left) * right) @ down
        return states


def decode(model: Decoder, batch: int, context: int = 512) -> Work:
    """Return work that makes tokens, ``REPLAYS`` steps of a batch at a time."""
    s = model.shape
    size = (batch, s.heads, context, s.width // s.heads)
    caches = [(_weights(*size), _weights(*size)) for _ in range(s.layers)]
    tokens = torch.randint(0, s.words, (batch, 1), device="cuda")

    def step() -> None:
        tokens.copy_((model.forward(tokens, caches) @ model.words.T).argmax(-1))

    graph = _graph(step)

    def work() -> int:
        for _ in range(REPLAYS):
            graph.replay()
        torch.cuda.synchronize()
        return REPLAYS * batch

    return work


def prefill(model: Decoder, batch: int = 4, length: int = 2048) -> Work:
    """Return work that reads prompts; it counts their tokens."""

    def work() -> int:
        tokens = torch.randint(0, model.shape.words, (batch, length), device="cuda")
        with torch.inference_mode():
            model.forward(tokens)
        torch.cuda.synchronize()
        return batch * length

    return work


def train(model: Decoder, batch: int = 8, length: int = 1024) -> Work:
    """Return work that makes one step of training, and counts it."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def work() -> int:
        tokens = torch.randint(0, model.shape.words, (batch, length), device="cuda")
        logits = model.forward(tokens) @ model.words.T
        functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
        torch.cuda.synchronize()
        return 1

    return work


def multiply(side: int = 8192, times: int = 50) -> Work:
    """Return work that multiplies square matrices, and counts the products."""
    left, right = _weights(side, side), _weights(side, side)

    def work() -> int:
        for _ in range(times):
            torch.mm(left, right)
        torch.cuda.synchronize()
        return times

    return work


def _weights(*size: int, trains: bool = False) -> Tensor:
    return torch.randn(*size, device="cuda", dtype=torch.bfloat16).mul_(0.02).requires_grad_(trains)


def _graph(step: Callable[[], None]) -> Any:
    with torch.inference_mode():
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
    return graph
