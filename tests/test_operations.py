"""Operations of our own against torch's and PEFT's."""

import peft
import pytest
import torch
import transformers
from torch import nn

from rtlab.encoders import load_encoder
from rtlab.engines import operations
from rtlab.engines.dropout import Masks, draw
from rtlab.engines.operations import EmbeddingGradient
from rtlab.engines.products import KINDS, ONEDNN, Products

needs_onednn = pytest.mark.skipif(not ONEDNN, reason="torch was built without oneDNN")


@pytest.mark.parametrize("padding", [None, 7])
def test_an_embeddings_gradient_is_torchs_over_several_steps(padding):
    torch.manual_seed(0)
    ours, theirs = (nn.Embedding(50, 8, padding_idx=padding) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    model = nn.Sequential(ours)
    operations.install(model, Masks())
    for step in range(3):
        ids = torch.randint(0, 50, (2, 13))
        ids[0, 3] = 7
        weights = torch.randn(2, 13, 8)
        for embedding in (ours, theirs):
            embedding.zero_grad(set_to_none=True)
            (embedding(ids) * weights).sum().backward()
        torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
        if step == 1:  # a second batch before the step adds up
            for embedding in (ours, theirs):
                (embedding(ids.flip(1)) * weights).sum().backward()
            torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)


def test_an_embeddings_gradient_lies_where_it_lay():
    weight = nn.Parameter(torch.zeros(5, 2))
    gradient = EmbeddingGradient(weight)
    gradient.add(torch.tensor([1]), torch.ones(1, 2))
    place = weight.grad.data_ptr()
    weight.grad = None
    gradient.add(torch.tensor([3]), torch.ones(1, 2))
    assert weight.grad.data_ptr() == place
    assert weight.grad[:, 0].tolist() == [0, 0, 0, 1, 0]


@pytest.mark.parametrize("by_blas", [pytest.param((), marks=needs_onednn), KINDS], ids=["oneDNN", "BLAS"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize(("inputs", "outputs"), [(12, 20), (20, 12), (16, 16)])
def test_a_linear_layer_is_torchs(inputs, outputs, frozen, bias, by_blas, monkeypatch):
    monkeypatch.setattr(operations, "fastest", lambda: Products(by_blas))
    torch.manual_seed(0)
    theirs, ours = (nn.Linear(inputs, outputs, bias=bias).requires_grad_(not frozen) for _ in range(2))
    ours.load_state_dict(theirs.state_dict())
    operations.install(nn.Sequential(ours), Masks())
    values = [torch.randn(2, 7, inputs).requires_grad_()]
    values.append(values[0].detach().clone().requires_grad_())
    weights = torch.randn(2, 7, outputs)
    found = [layer(value) for layer, value in zip((theirs, ours), values, strict=True)]
    torch.testing.assert_close(found[1], found[0])
    for output in found:
        (output * weights).sum().backward()
    torch.testing.assert_close(values[1].grad, values[0].grad)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert (one.grad is None) == frozen
        if not frozen:
            torch.testing.assert_close(one.grad, other.grad)


def test_a_linear_layers_gradients_are_those_of_finite_differences():
    torch.manual_seed(0)
    parts = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((5, 4), (3, 4), (3,))]
    assert torch.autograd.gradcheck(operations._Linear.apply, [*parts, Products(())])


def test_a_frozen_layer_keeps_no_inputs():
    layer = nn.Linear(4, 3).requires_grad_(False)
    output = operations._Linear.apply(torch.randn(2, 4, requires_grad=True), layer.weight, layer.bias, Products(()))
    assert output.grad_fn.saved_tensors[0] is None


def products(model, values):
    """Names of the operations of a forward and a backward pass, and how often each ran."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        model(values).sum().backward()
    return {event.key: event.count for event in profile.key_averages()}


@needs_onednn
@pytest.mark.parametrize(
    ("by_blas", "linears", "adapters"),
    [((), 3, 4), (("inputs",), 2, 2), (("narrow weights",), 2, 4), (("weights",), 3, 4), (KINDS, 0, 0)],
)
def test_what_is_installed_takes_products_where_they_are_fastest(by_blas, linears, adapters, monkeypatch):
    monkeypatch.setattr(operations, "fastest", lambda: Products(by_blas))
    values = torch.randn(5, 12, requires_grad=True)
    linear = nn.Sequential(nn.Linear(12, 7))
    assert "mkldnn::_linear_pointwise" not in products(linear, values)
    operations.install(linear, Masks())
    assert products(linear, values).get("mkldnn::_linear_pointwise", 0) == linears
    lora = adapted(0.1)
    operations.install(lora, Masks())
    assert products(lora, values).get("mkldnn::_linear_pointwise", 0) == adapters  # of four


def test_a_second_derivative_is_refused():
    """It would be silently wrong."""
    layer = nn.Linear(4, 3)
    operations.install(nn.Sequential(layer), Masks())
    values = torch.randn(2, 4, requires_grad=True)
    [gradient] = torch.autograd.grad(layer(values).pow(2).sum(), values, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def turned_off(model):
    model.base_model.disable_adapter_layers()


def merged(model):
    model.merge_adapter()


def two(model):
    model.add_adapter("other", peft.LoraConfig(r=2, target_modules=["0"], init_lora_weights=False))
    model.base_model.set_adapter(["default", "other"])


def with_bias(model):
    model.base_model.model[0].base_layer.bias.requires_grad_()


@pytest.mark.parametrize("change", [turned_off, merged, two, with_bias])
def test_an_adapter_of_another_kind_stays_pefts(change):
    theirs, ours = (adapted(0.0) for _ in range(2))
    operations.install(ours, Masks())
    for model in (theirs, ours):
        torch.manual_seed(1)
        change(model)
    values = torch.randn(5, 12, requires_grad=True)
    torch.testing.assert_close(ours(values), theirs(values))
    for model in (theirs, ours):
        model(values).sum().backward()
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name


def test_under_autocast_products_are_torchs():
    plain, ours = (adapted(0.1).eval() for _ in range(2))
    operations.install(ours, Masks())
    values = torch.randn(2, 7, 12)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(plain(values), ours(values))
        layer = nn.Linear(12, 5)
        expected = layer(values)
        operations.install(nn.Sequential(layer), Masks())
        assert torch.equal(layer(values), expected)
        assert expected.dtype == torch.bfloat16


def adapted(dropout, bias=True):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 20, bias=bias))
    model = peft.get_peft_model(model, peft.LoraConfig(r=3, lora_alpha=5, lora_dropout=dropout, target_modules=["0"]))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight)
    return model


@pytest.mark.parametrize("bias", [True, False])
def test_an_adapter_is_pefts(bias):
    theirs, ours = (adapted(0.0, bias) for _ in range(2))
    operations.install(ours, Masks())
    values = [torch.randn(2, 7, 12).requires_grad_() for _ in range(1)]
    values.append(values[0].detach().clone().requires_grad_())
    weights = torch.randn(2, 7, 20)
    outputs = [model(value) for model, value in zip((theirs, ours), values, strict=True)]
    close = {"atol": 1e-4, "rtol": 1e-4}
    torch.testing.assert_close(outputs[1], outputs[0], **close)
    for output in outputs:
        (output * weights).sum().backward()
    torch.testing.assert_close(values[1].grad, values[0].grad, **close)
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, **close)


def test_an_adapters_gradients_go_through_its_dropout():
    """In double precision and with the mask held, by finite differences."""
    model = adapted(0.4).double()
    operations.install(model, Masks())
    layer = model.base_model.model[0]
    values = torch.randn(5, 12, dtype=torch.float64, requires_grad=True)

    def forward(values, down, up):
        torch.manual_seed(5)
        with torch.no_grad():
            layer.lora_A["default"].weight.copy_(down)
            layer.lora_B["default"].weight.copy_(up)
        keep = draw(values.numel(), 0.4, values.dtype).view(values.shape)
        base = layer.base_layer
        scale = layer.scaling["default"]
        return operations._Adapted.apply(values, keep, base.weight, base.bias, down, up, scale, Products(()))

    down, up = (layer.lora_A["default"].weight, layer.lora_B["default"].weight)
    parts = (values, *(weight.detach().clone().requires_grad_() for weight in (down, up)))
    assert torch.autograd.gradcheck(forward, parts)


def test_an_adapter_drops_in_training_alone():
    model = adapted(0.5)
    operations.install(model, Masks())
    values = torch.randn(4, 12)
    assert not torch.equal(model.train()(values), model(values))
    assert torch.equal(model.eval()(values), model(values))


def test_modules_keep_their_names_and_weights():
    model = load_encoder("tiny-bert").classifier(("a", "b"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    operations.install(model, Masks())
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_dropout_modules_are_replaced_where_they_drop():
    transformers.set_seed(0)
    model = load_encoder("tiny-bert").classifier(("a", "b"))
    operations.install(model, Masks())
    dropouts = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    assert dropouts
    values = torch.rand(64, 64)
    for module in dropouts:
        assert torch.equal(module.eval()(values), values)
        kept = module.train()(values)
        assert 0 < (kept == 0).sum() < values.numel()
        torch.testing.assert_close(kept[kept != 0], values[kept != 0] / (1 - module.p), rtol=1e-4, atol=0)


def test_embeddings_that_share_a_weight_share_its_gradient():
    torch.manual_seed(0)
    ours, theirs = ([nn.Embedding(6, 2) for _ in range(2)] for _ in range(2))
    for pair in (ours, theirs):
        pair[0].weight = pair[1].weight = nn.Parameter(torch.ones(6, 2))
    operations.install(nn.ModuleList(ours), Masks())
    place = None
    for ids in (([0, 1], [2, 3]), ([3, 4], [0, 0])):
        for one, other in (ours, theirs):
            one.weight.grad = None
            (one(torch.tensor(ids[0])).sum() + other(torch.tensor(ids[1])).sum()).backward()
        torch.testing.assert_close(ours[0].weight.grad, theirs[0].weight.grad)
        assert place in (None, ours[0].weight.grad.data_ptr())
        place = ours[0].weight.grad.data_ptr()
