"""The temporal causal decoder (TCD): GPT-2 over the features of the clips predicts the next one.

B batch, T clips, D features, E = ``inter_dim``, L steps predicted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from behaviorzoo.errors import UserError
from sgear.model.config import FuturePredictorConfig

FUSED = {"gelu_new": "gelu_pytorch_tanh"}
_LOSSES = {"mse": F.mse_loss, "l1": F.l1_loss, "smooth_l1": F.smooth_l1_loss}


class Future(NamedTuple):
    """What a predictor of the future gives.

    Attributes:
        past: (B, T, D), what was expected of every clip; the first one as it is.
        future: (B, D), the next feature.
        losses: Name -> loss without a mean.
    """

    past: Tensor
    future: Tensor
    losses: dict[str, Tensor]


class TCD(nn.Module):
    """Linear encoder, GPT-2 (Radford et al. 2019), linear decoder; the head of AVT.

    Args:
        dim: D.
        config: Options.
    """

    def __init__(self, dim: int, config: FuturePredictorConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = nn.Linear(dim, config.inter_dim, bias=False)
        self.decoder = nn.Linear(config.inter_dim, dim, bias=False)
        if config.freeze_encoder_decoder:
            self.encoder.requires_grad_(False)
            self.decoder.requires_grad_(False)
        self.gpt_model = gpt2(config)

    def forward(self, features: Tensor, output_len: int | None = None) -> Future:
        """Predict.

        Args:
            features: (B, T, D).
            output_len: Steps ahead; None takes the configured ones of the present mode.

        Raises:
            UserError: More steps than GPT-2 has positions, or nothing left to see.
        """
        config = self.config
        seen = features
        if config.drop_last_n:
            seen = features[:, : -config.drop_last_n]
        n_steps = self._steps() if output_len is None else output_len
        self._check(features, seen, n_steps)
        decoded = self.decoder(self._roll_out(self.encoder(seen), n_steps))  # (B, T + L - 1, D)

        n_seen = seen.shape[1]
        past = torch.cat([seen[:, :1], decoded[:, : n_seen - 1]], dim=1)
        future = decoded[:, -n_steps:]
        if config.return_past_too:
            future = torch.cat([seen, decoded[:, n_seen - 1 :]], dim=1)
        future = future[:, -config.avg_last_n :].mean(1)
        return Future(past, future, self._losses(features, decoded))

    def _roll_out(self, x: Tensor, n_steps: int) -> Tensor:
        """Hidden states of (B, T, E) and of ``n_steps - 1`` further steps fed with the last one."""
        if n_steps == 1:
            return self._gpt(x, 0).last_hidden_state
        states, cache, position = [], None, 0
        for _ in range(n_steps):
            out = self._gpt(x, position, past_key_values=cache, use_cache=True)
            states.append(out.last_hidden_state)
            cache, position = out.past_key_values, position + x.shape[1]
            x = states[-1][:, -1:]
        return torch.cat(states, dim=1)

    def _gpt(self, x: Tensor, first: int, use_cache: bool = False, **options: Any) -> Any:
        positions = torch.arange(first, first + x.shape[1], device=x.device)[None]
        return self.gpt_model(
            inputs_embeds=x, position_ids=positions, use_cache=use_cache, **options
        )

    def _losses(self, features: Tensor, decoded: Tensor) -> dict[str, Tensor]:
        """How far the next feature is from the expected one, (B, T - 1, D)."""
        if self.config.future_pred_loss is None:
            return {}
        loss = _LOSSES[self.config.future_pred_loss]
        n = min(features.shape[1], decoded.shape[1])
        return {"feat": loss(decoded[:, : n - 1], features[:, 1:n], reduction="none")}

    def _steps(self) -> int:
        config = self.config
        of_training = self.training or config.output_len_eval < 0
        return config.output_len if of_training else config.output_len_eval

    def _check(self, features: Tensor, seen: Tensor, n_steps: int) -> None:
        if not seen.shape[1]:
            raise UserError(
                f"model.future_predictor.drop_last_n = {self.config.drop_last_n} leaves none of "
                f"{features.shape[1]} clips"
            )
        needed = seen.shape[1] + n_steps - 1
        if needed > self.config.n_positions:
            raise UserError(
                f"{needed} steps do not fit model.future_predictor.n_positions = "
                f"{self.config.n_positions}; use fewer frames"
            )


class FutureMLP(nn.Module):
    """Linear layers with ReLU in between, from one vector to the next.

    Args:
        dim: D.
        n_layers: Number of linear layers; 0 for the identity.
    """

    def __init__(self, dim: int, n_layers: int) -> None:
        super().__init__()
        layers = [layer for _ in range(n_layers) for layer in (nn.Linear(dim, dim), nn.ReLU())]
        self.model = nn.Sequential(*layers[:-1])

    def forward(self, features: Tensor, output_len: int | None = None) -> Future:
        """Predict from features (B, 1, D); ``output_len`` makes no difference."""
        return Future(features, self.model(features[:, -1]), {})


def build_future_predictor(dim: int, config: FuturePredictorConfig) -> TCD | FutureMLP:
    """The predictor that the options name."""
    if config.kind == "tcd":
        return TCD(dim, config)
    return FutureMLP(dim, config.num_layers if config.kind == "mlp" else 0)


def gpt2(config: FuturePredictorConfig) -> nn.Module:
    """GPT-2 of transformers without its table of words, with fused causal attention."""
    from transformers import GPT2Config, GPT2Model

    fused: dict[str, Any] = {"attn_implementation": "sdpa"}
    model = GPT2Model(
        GPT2Config(
            vocab_size=1,  # its table is deleted below
            n_positions=config.n_positions,
            n_embd=config.inter_dim,
            n_layer=config.n_layer,
            n_head=config.n_head,
            n_inner=config.n_inner,
            # The same function, as one kernel instead of eight tensors kept for the gradient.
            activation_function=FUSED.get(config.activation_function, config.activation_function),
            attn_pdrop=config.attn_pdrop,
            embd_pdrop=config.embd_pdrop,
            resid_pdrop=config.resid_pdrop,
            layer_norm_epsilon=config.layer_norm_epsilon,
            initializer_range=config.initializer_range,
            bos_token_id=None,
            eos_token_id=None,
            **fused,
        )
    )
    del model.wte
    return model
