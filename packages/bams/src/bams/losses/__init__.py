"""What BAMS is trained on: histograms of future actions, and latents of other frames.

``config`` the options; ``draws`` what is random; ``hoa`` targets and distance of histograms;
``latent`` the latent loss; ``chunks`` a sum over many frames; ``objective`` the whole.
"""

from bams.losses.config import Compat, LossConfig, PairConfig

__all__ = ["Compat", "LossConfig", "PairConfig"]
