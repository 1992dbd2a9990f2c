"""What HYSP, SimSiam and SkeletonCLR do beyond the numbers of the reference cases."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from behaviorzoo.errors import UserError
from hysp.contrast import mixed_nce
from hysp.hyperbolic import cosine_distance, distance, exp_map
from hysp.model import (
    HYSP,
    Classifier,
    ClassifierConfig,
    EncoderConfig,
    GraphConfig,
    ModelConfig,
    SimSiam,
    SkeletonCLR,
    build_model,
)

CHAIN = GraphConfig("custom", n_joints=4, edges=((0, 1), (1, 2), (2, 3)), centre=1)
ENCODER = EncoderConfig(2, 3, 7, CHAIN)
OPTIONS = {
    "encoder": ENCODER,
    "projection_hidden_size": (6, 5),
    "predictor_hidden_size": (4, 5),
    "moving_average_decay": 0.75,
    "queue_size": 9,
}


def config(**changes):
    return ModelConfig(**{**OPTIONS, **changes})


def views(n=4):
    torch.manual_seed(5)
    return torch.randn(2, n, 2, 11, 4, 2).unbind()


def still(model):
    """Without dropout, so that two passes agree."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def statistics(module):
    return {k: v.clone() for k, v in module.state_dict().items() if "running" in k}


@pytest.mark.parametrize("hyper", [True, False])
@pytest.mark.parametrize("method", ["hysp", "simsiam", "skeletonclr"])
def test_every_method_learns_through_its_online_network_only(method, hyper):
    torch.manual_seed(0)
    model = build_model(config(method=method, hyper=hyper)).train()
    output = model(*views(), 0.5)
    output.loss.mean().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == name.startswith("online"), name
        assert parameter.requires_grad == name.startswith("online"), name
    assert not output.k.requires_grad
    assert (output.loss_euc is None) == (output.loss_hyp is None) == (not hyper)


@pytest.mark.parametrize("method", ["hysp", "simsiam", "skeletonclr"])
def test_a_batch_of_one_is_refused_in_training(method):
    model = build_model(config(method=method))
    with pytest.raises(UserError, match="a batch of one sequence has no statistics"):
        model.train()(*views(1), 1.0)
    assert torch.isfinite(model.eval()(*views(1), 1.0).loss).all()


def test_loss_of_hysp_pairs_each_view_with_the_other():
    model = HYSP(config()).eval()
    strong, weak = views()
    q1, q2 = (model.online_predictor(model.online_projector(model.online_encoder(x)))
              for x in (strong, weak))  # fmt: skip
    k1, k2 = (model.target_projector(model.target_encoder(x)) for x in (strong, weak))
    euclidean = (cosine_distance(q1, k2) + cosine_distance(q2, k1)) / 2
    far = [distance(exp_map(q), exp_map(k)) for q, k in ((q1, k2), (q2, k1))]
    expected = 0.7 * euclidean + 0.3 * sum(far) / 2
    torch.testing.assert_close(model(strong, weak, 0.3).loss, expected, check_dtype=False)


def test_target_of_hysp_has_statistics_of_its_own():
    torch.manual_seed(0)
    model = still(HYSP(config())).train()
    before = statistics(model.target_encoder)
    twin = copy.deepcopy(model.target_encoder)
    strong, weak = views()
    model(strong, weak, 1.0)
    model.update_target()
    twin(strong), twin(weak)
    after, expected = statistics(model.target_encoder), statistics(twin)
    assert all(torch.equal(after[name], expected[name]) for name in after)
    assert any(not torch.equal(after[name], before[name]) for name in after)


@pytest.mark.parametrize("decay", [None, 0.5])
def test_target_moves_by_parameters_only(decay):
    torch.manual_seed(0)
    model = HYSP(config())
    for parameter in model.online_encoder.parameters():
        nn.init.normal_(parameter)
    nn.init.normal_(model.online_encoder.data_bn.running_mean)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.update_target(decay)
    share = 0.75 if decay is None else decay
    for name, value in model.target_encoder.named_parameters():
        old, new = before[f"target_encoder.{name}"], before[f"online_encoder.{name}"]
        torch.testing.assert_close(value, share * old + (1 - share) * new)
    assert torch.equal(model.target_encoder.data_bn.running_mean, torch.zeros(8))


def test_size_as_published():
    model = HYSP(ModelConfig())
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trainable == 16_994_452
    assert len(model.state_dict()) == 381


def test_simsiam_has_no_target():
    model = SimSiam(config())
    before = copy.deepcopy(model.state_dict())
    model.update_target()
    assert not any(name.startswith("target") for name in before)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def moved(model):
    """Whether a training pass moves the target towards a changed online network."""
    nn.init.normal_(model.online_encoder.data_bn.weight)
    before = model.target_encoder.data_bn.weight.clone()
    model.train()(*views(), 0.5)
    target, online = model.target_encoder.data_bn.weight, model.online_encoder.data_bn.weight
    if torch.equal(target, before):
        return False
    torch.testing.assert_close(target, 0.75 * before + 0.25 * online)
    return True


def test_only_the_public_hyperbolic_skeletonclr_has_a_frozen_target():
    assert moved(SkeletonCLR(config(hyper=True)))
    assert not moved(SkeletonCLR(config(hyper=True), "upstream"))
    assert moved(SkeletonCLR(config(hyper=False)))
    assert moved(SkeletonCLR(config(hyper=False), "upstream"))


@pytest.mark.parametrize("hyper", [True, False])
def test_queue_takes_the_keys_and_forgets_the_oldest(hyper):
    model = still(SkeletonCLR(config(hyper=hyper))).train()
    before = model.queue.clone()
    output = model(*views(), 0.5)
    assert torch.equal(model.queue, torch.cat([before[:, 4:], output.k.T], dim=1))
    after = model.queue.clone()
    model.eval()(*views(), 0.5)
    assert torch.equal(model.queue, after)
    model.train()(*views(12), 0.5)
    assert model.queue.shape == after.shape


def test_contrast_of_skeletonclr_is_with_the_queue_before_the_keys():
    model = SkeletonCLR(config()).eval()
    strong, weak = views()
    q = model.online_projector(model.online_encoder(strong))
    k = model.target_projector(model.target_encoder(weak))
    expected = mixed_nce(q, k, model.queue, 0.3, 0.07)
    output = model(strong, weak, 0.3)
    torch.testing.assert_close((output.loss, output.loss_euc, output.loss_hyp), expected)


def test_skeletonclr_starts_as_published():
    torch.manual_seed(0)
    big = EncoderConfig(3, 32, 64)
    model = SkeletonCLR(ModelConfig("skeletonclr", big, (64, 32), hyper=False, queue_size=50))
    norms = nn.BatchNorm1d | nn.BatchNorm2d
    for module in model.online_encoder.modules():
        if isinstance(module, nn.Conv2d | norms):
            centre = 1.0 if isinstance(module, norms) else 0.0
            assert abs(module.weight.mean().item() - centre) < 0.01
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.35)
            assert not module.bias.any()
    torch.testing.assert_close(model.queue, normalize(model.queue, dim=0))
    plain = SkeletonCLR(ModelConfig("skeletonclr", big, (64, 32), queue_size=5000))
    assert plain.queue.std().item() == pytest.approx(1, rel=0.02)
    assert plain.online_encoder.st_gcn_networks[9].tcn[2].weight.std().item() < 0.025
    assert torch.equal(plain.online_encoder.data_bn.weight, torch.ones(75))


def test_keys_of_all_processes_enter_the_queue(tmp_path):
    from hysp.model.skeletonclr import gathered

    keys = torch.randn(3, 5)
    assert gathered(keys) is keys
    store = f"file://{tmp_path / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    try:
        assert torch.equal(gathered(keys), keys)
    finally:
        torch.distributed.destroy_process_group()


def test_classifier_maps_into_the_ball_before_its_moebius_head():
    torch.manual_seed(0)
    model = Classifier(ClassifierConfig(ENCODER, 5, hyper=True)).eval()
    x = views()[0]
    features = model.online_encoder(x)
    logits = model(x)
    torch.testing.assert_close(logits, model.online_projector.net[0](exp_map(features)))
    assert logits.dtype == torch.float64
    names = [name for name in model.state_dict() if not name.startswith("online_encoder")]
    net = "online_projector.net.0"
    assert names == [f"{net}.weight", f"{net}.bias", f"{net}.ball.isp_c"]


def test_euclidean_classifier_is_one_layer_or_the_public_mlp():
    plain = Classifier(ClassifierConfig(ENCODER, 5)).eval()
    x = views()[0]
    torch.testing.assert_close(plain(x), plain.online_projector.net[0](plain.online_encoder(x)))
    assert plain(x).shape == (4, 5)
    stack = Classifier(ClassifierConfig(ENCODER, 5, head_hidden_size=(6, 3)))
    assert stack(x).shape == (4, 3)
    assert "online_projector.net.3.weight" in stack.state_dict()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "hyps"}, "model.method: unknown 'hyps'; did you mean 'hysp'"),
        ({"predictor_hidden_size": (4, 6)}, "projections have 5 features and predictions 6"),
        ({"projection_hidden_size": ()}, r"projection_hidden_size = \[\]: must list positive"),
        ({"hyper_c": 0.0, "temperature": 0.0}, "hyper_c = 0.0, temperature = 0.0: must be posi"),
        ({"moving_average_decay": 1.5}, r"moving_average_decay = 1.5 must lie in \[0, 1\]"),
    ],
    ids=["method", "widths", "empty", "positive", "decay"],
)
def test_options_are_checked(changes, message):
    with pytest.raises(UserError, match=message):
        config(**changes)


def test_unknown_compat_is_refused():
    with pytest.raises(UserError, match="did you mean 'paper'"):
        build_model(config(), "papers")
