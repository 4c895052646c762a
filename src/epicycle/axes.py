"""Axis names and units used in every signature.

Axes (jaxtyping letters)
    p  residue or number, 0..modulus-1          k  frequency, 0..p//2 (cycles per p numbers)
    b  example (a question with its answer)     s  token position
    d  residual width                           h  attention head        e  head width
    m  MLP neuron                               v  vocabulary            c  answer class
    r  stacked run                              f  row of the real Fourier basis (constant, cos 1, sin 1, ...)

Units
    frequency  cycles per modulus, an integer   period    numbers, modulus / frequency
    phase      radians in (-pi, pi]             power     share of the centred sum of squares, in [0, 1]
    loss       nats per answer token            accuracy  share of answers, in [0, 1]
    steps      optimiser updates
"""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int

Table: TypeAlias = Float[np.ndarray, "p *site"]
"""One row per number; the remaining axes are pooled as channels."""

Labels: TypeAlias = Int[np.ndarray, " b"]
Tokens: TypeAlias = Int[np.ndarray, "b s"]
