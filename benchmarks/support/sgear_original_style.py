"""S-GEAR's feature network as in the original code, to measure against.

Same parameters and names, same mathematics: every cosine similarity with the prototypes is a sum
over an array (B, T, N, D) of all pairs, attention of GPT-2 is written out, and its activation is a
chain of element-wise steps. Written anew from the description of the method; nothing is copied.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import GPT2Config, GPT2Model

from sgear.model import SGear


class OriginalStyle(nn.Module):
    """The network with the weights of one of ours, for extracted features.

    Args:
        model: Ours.
    """

    def __init__(self, model: SGear) -> None:
        super().__init__()
        self.config = model.config
        self.scale = model.backbone_dim**0.5
        self.ours = model
        predictor = model.config.future_predictor
        config = GPT2Config(
            n_embd=predictor.inter_dim,
            n_layer=predictor.n_layer,
            n_head=predictor.n_head,
            vocab_size=1,
            attn_pdrop=predictor.attn_pdrop,
            embd_pdrop=predictor.embd_pdrop,
            resid_pdrop=predictor.resid_pdrop,
            bos_token_id=None,
            eos_token_id=None,
            attn_implementation="eager",
        )
        with torch.device("meta"):
            self.gpt = GPT2Model(config)
        del self.gpt.wte
        # The same tensors, so that both fit into memory; older transformers keep masks as buffers.
        ours = model.future_predictor.gpt_model
        for name, tensor in [*ours.named_parameters(), *ours.named_buffers()]:
            owner, _, last = name.rpartition(".")
            setattr(self.gpt.get_submodule(owner), last, tensor)

    def forward(self, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """(B, T, C, 1, 1, 1) to outputs and losses."""
        m = self.ours
        v = m.vis_prototypes
        f = m.mapper_to_inter(x.flatten(2))
        f = (f - v.detach().mean()) / v.detach().std()
        seen = similarity(f[:, :, None], v.detach()[None, None])
        chosen = similarity(f.mean(1)[:, None], v.detach()[None]).topk(f.shape[1]).indices
        tokens = v.detach()[chosen.flatten()].view(f.shape[1], len(f), -1).permute(1, 0, 2)
        share = m.alpha.sigmoid()
        f = share * f + (1 - share) * m.ProtAttn(tokens, f)
        d = m.future_predictor.decoder(self._gpt(m.future_predictor.encoder(f)))
        past, z = torch.cat([f[:, :1], d[:, :-1]], dim=1), d[:, -1]
        s_past = similarity(past[:, :, None], v[None, None])
        s = similarity(z.detach()[:, None], v[None])
        share = m.balancer.sigmoid()
        mixed = share * z + (1 - share) * ((s / self.scale).softmax(-1) @ v)
        of_past = share * past + (1 - share) * ((s_past / self.scale).softmax(-1) @ v)
        outputs = {
            "similarities": s,
            "similarities_past": seen,
            "future_z": z,
            "past_logits/action": m.classifiers["action"](m.dropout(of_past)),
            "logits/action": m.classifiers["action"](m.dropout(mixed)),
        }
        return outputs, {"feat": F.mse_loss(d[:, :-1], f[:, 1:], reduction="none")}

    def _gpt(self, x: Tensor) -> Tensor:
        """Hidden states of (B, T, E)."""
        return self.gpt(inputs_embeds=x, use_cache=True).last_hidden_state


def similarity(x: Tensor, prototypes: Tensor) -> Tensor:
    """Cosine similarities over the pairs of (..., 1, D) and (..., N, D)."""
    return F.cosine_similarity(x, prototypes, dim=-1)
