"""What trials taught about predictions: how far off the next ones probably are.

Measured time over predicted time is taken to be a product: of one factor for everything, one for
each choice and one for each pair of choices, all log-normal. Two candidates then have in common
what their shared choices contribute, which makes a Gaussian process whose covariance only depends
on how many choices they share. How large the factors are is picked by likelihood from a few
scales: an estimator may be good or poor here, or there may be none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

#: What a scale of 1 means: log deviations of a choice and of a pair (numbers.md F3, good prior).
_CHOICE, _PAIR = 0.10, 0.04
#: Of everything together: a whole machine may be a few times faster or slower than thought.
_ALL = 0.7
#: Repetitions of a short trial differ by a few per cent (measured on the demo: 1 to 4 %).
_NOISE = 0.02
#: From an estimator that is right to one that knows nothing.
_SCALES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
#: How far the scale usually is from what it is usually, as a factor up or down.
_SPREAD = 2.5

Array = Any


@dataclass(frozen=True, kw_only=True)
class Belief:
    """A posterior: ``predict`` says mean and deviation of log(measured / predicted)."""

    codes: Array
    scale: float
    _weights: Array
    _inverse: Array

    def predict(self, codes: Array) -> tuple[Array, Array]:
        """Mean and standard deviation for candidates, encoded as numbers of their choices."""
        whole = _covariance(codes[:1], codes[:1], self.scale)[0, 0]
        if not len(self.codes):
            return np.zeros(len(codes)), np.full(len(codes), np.sqrt(whole))
        shared = _covariance(codes, self.codes, self.scale)
        mean = shared @ self._weights
        explained = np.einsum("ij,jk,ik->i", shared, self._inverse, shared, optimize=True)
        return mean, np.sqrt(np.maximum(whole - explained, 1e-9))


def learn(codes: Array, surprises: Array, *, usual: float) -> Belief:
    """Learn from candidates that were measured.

    Args:
        codes: The candidates.
        surprises: Of each, log(measured / predicted).
        usual: The scale of errors that such predictions usually have.
    """
    if not len(codes):
        return Belief(codes=codes, scale=usual, _weights=None, _inverse=None)
    scale = max(_SCALES, key=lambda one: _log_likelihood(codes, surprises, one, usual))
    inverse = np.linalg.inv(_noisy(codes, scale))
    return Belief(codes=codes, scale=scale, _weights=inverse @ surprises, _inverse=inverse)


def _noisy(codes: Array, scale: float) -> Array:
    return _covariance(codes, codes, scale) + _NOISE**2 * np.eye(len(codes))


def _covariance(ours: Array, theirs: Array, scale: float) -> Array:
    shared = np.zeros((len(ours), len(theirs)))
    for lever in range(ours.shape[1]):
        shared += ours[:, lever, None] == theirs[None, :, lever]
    pairs = shared * (shared - 1) / 2
    return _ALL**2 + scale**2 * (_CHOICE**2 * shared + _PAIR**2 * pairs)


def _log_likelihood(codes: Array, surprises: Array, scale: float, usual: float) -> float:
    covariance = _noisy(codes, scale)
    _, log_determinant = np.linalg.slogdet(covariance)
    fit = surprises @ np.linalg.solve(covariance, surprises)
    beforehand = (np.log(scale / usual) / np.log(_SPREAD)) ** 2
    return float(-0.5 * (fit + log_determinant + beforehand))
