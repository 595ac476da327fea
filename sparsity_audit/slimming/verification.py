"""Whether a slim network computes what it should: the original with the same filters held at their constants.

Removing a filter that is held at a constant changes no number but by rounding, so a right slim network and a wrong
one can be told apart without a tolerance to argue about:

- **fp64**: both in double precision, where rounding is 2⁻²⁹ of what it is in fp32. Correct surgery stayed under 6e-14
  of the outputs' scale on resnet20 and resnet56, and on vgg16_bn, densenet121, efficientnet_b0 and six more networks of
  torchvision with random weights; constants folded in single precision showed at 2e-8 to 2e-7, and 0.7 in place of
  the float32 next to it at 1e-8. The limit of 1e-9 lies between. A slim network that exists in fp32 alone has its
  constants rounded already: there the limit of fp32 holds.
- **fp32**, as it will run: rounding differs from the original's, since sums have fewer terms and other kernels run. The
  yardstick is the **noise floor**, what rounding does to the original itself: max |held fp32 − held fp64|. Both sides
  are about one floor off the truth: correct surgery stayed at 0.3 to 1.6 floors on 8 to 24 images, up to 3 on a single
  one, and the limit is 10. The floor of a few images or of a shallow network can be 0 by luck: 1e-6 of the scale, 8
  units in the last place, is allowed anyway. An ill-conditioned slim network fails here alone, such as one whose
  carriers have huge weights.

Lossless classes are compared with the untouched original too. Their constants may be off by a quarter unit in the last
place of fp32, which is no error in fp32 but one in fp64: there the limit is the original's noise floor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

FP64_LIMIT = 1e-9
"""In units of the scale."""
FP32_LIMIT = 1e-6
"""In units of the scale; or ``FLOORS`` noise floors, where that is more."""
FLOORS = 10.0

Against = Literal["held", "untouched"]


@dataclass(frozen=True)
class Comparison:
    """The slim network beside the original on all inputs of one kind; plain numbers, in units of the output."""

    against: Against
    """The original with the same filters held, or as it is."""
    inputs: str
    """The kind of images, as the caller names it: ``corpus``, ``random``, ``other size``."""
    output: int
    """Which of the network's output tensors; the logits are the first of those that have more."""
    images: int
    scale: float
    """Largest finite |output| of the original."""
    noise_floor: float
    """Largest |fp32 − fp64| of the original."""
    delta_fp32: float
    """Largest |slim − original|; infinite where one is not finite and the other is not the same."""
    delta_fp64: float
    limit_fp32: float
    limit_fp64: float
    changed: int
    """Images with another first answer in fp32; 0 where the output is not [images, classes]."""

    @property
    def passed(self) -> bool:
        """Both differences are within their limits."""
        return self.delta_fp32 <= self.limit_fp32 and self.delta_fp64 <= self.limit_fp64

    def __str__(self) -> str:
        original = "the original with the same filters held" if self.against == "held" else "the untouched original"
        return (
            f"Δ against {original}, {self.images:,} {self.inputs} images: {self.delta_fp64:.2g} in fp64 "
            f"(limit {self.limit_fp64:.2g}), {self.delta_fp32:.2g} in fp32 (limit {self.limit_fp32:.2g}, "
            f"noise floor {self.noise_floor:.2g}, scale {self.scale:.2g})"
        )


@dataclass(frozen=True)
class Verification:
    """All comparisons of a slim network, and what failed first."""

    comparisons: tuple[Comparison, ...]
    failure: str | None
    """One line; None where everything passed."""

    @property
    def passed(self) -> bool:
        """Every output agrees on every kind of input."""
        return self.failure is None

    def worst(self, against: Against = "held") -> Comparison | None:
        """Return the comparison nearest to its fp32 limit, or farthest beyond; None where there is none."""
        chosen = [comparison for comparison in self.comparisons if comparison.against == against]
        return max(chosen, key=lambda c: c.delta_fp32 / (c.limit_fp32 or math.ulp(0.0)), default=None)

    def changed(self, against: Against = "held") -> int:
        """Return how many images have another first answer, over all kinds of input."""
        return sum(c.changed for c in self.comparisons if c.against == against)
