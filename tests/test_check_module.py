"""The door for modules: what is compared and where it is put, every kind of module that it takes, and what is refused."""

import copy
import sys

import numpy as np
import pytest
import torch
from torch import nn

from oracle.doors.errors import DoorError
from oracle.doors.module import check_module
from oracle.doors.walking import mapped, tensors_in

X = torch.from_numpy(np.random.default_rng(0).standard_normal((7, 4)))


def lines(report):
    return "\n".join(text for advice in report.diagnoses for _, text in advice.lines)


def symbols(report, comparison):
    return list(report.table["symbol"][report.table["comparison"] == comparison])


class Net(nn.Module):
    def __init__(self, out=3):
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, out)
        self.double()

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


def spoilt(model, at, factor):
    """The model, one of whose submodules gives so much of its gradient back."""
    model.get_submodule(at).register_full_backward_hook(lambda _, grads, __: tuple(factor * grad for grad in grads))
    return model


def test_everything_is_compared_in_the_order_of_the_computation():
    report = check_module(Net(), Net(), X)
    assert report.ok
    assert symbols(report, "end to end") == [
        "fc1", "act", "fc2", "output",
        "dC/d fc2", "dC/d fc2.weight", "dC/d fc2.bias", "dC/d act", "dC/d fc1", "dC/d fc1.weight", "dC/d fc1.bias", "dC/dx",
    ]  # fmt: skip
    assert {"fc1: output", "fc1: dC/dinput", "fc1: dC/dweight", "act: dC/dinput"} <= set(symbols(report, "layerwise"))
    assert {"x unchanged", "called twice", "no upstream gradient", "transposed input", "settings unchanged"} <= set(
        symbols(report, "contract")
    )


@pytest.mark.parametrize("factor", [-1.0, 1 + 1e-11])
@pytest.mark.parametrize("at", ["fc1", "act", "fc2"])
def test_a_fault_of_a_submodule_fails_its_own_rows_and_no_others(at, factor):
    report = check_module(spoilt(Net(), at, factor), Net(), X)
    failing = report.failing
    own = failing[failing["comparison"] == "layerwise"]
    assert set(own["symbol"]) == {f"{at}: dC/dinput"}
    assert report.diagnoses[0].location.startswith(f"{at}, ")
    through = set(failing["symbol"][failing["comparison"] == "end to end"])
    assert through  # it travels on
    assert "output" not in through


def test_neither_module_is_changed():
    candidate, reference = Net(), Net()
    before = [copy.deepcopy(each.state_dict()) for each in (candidate, reference)]
    assert check_module(candidate, reference, X).ok
    for module, state in zip((candidate, reference), before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
        assert all(parameter.grad is None for parameter in module.parameters())


def test_without_loading_each_has_its_own_parameters():
    candidate, reference = Net(), Net()
    report = check_module(candidate, reference, X, load=False)
    assert not report.ok
    candidate.load_state_dict(reference.state_dict())
    assert check_module(candidate, reference, X, load=False).ok


def test_other_names_are_mapped():
    class Renamed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(4, 5), nn.Linear(5, 3)])
            self.double()

        def forward(self, x):
            return self.layers[1](torch.tanh(self.layers[0](x)))

    mapping = {"fc1": "layers.0", "fc2": "layers.1"}
    report = check_module(Renamed(), Net(), X, mapping=mapping)
    assert report.ok, lines(report)
    assert "act" not in symbols(report, "end to end"), "which it has not"
    wrong = check_module(spoilt(Renamed(), "layers.1", 2.0), Net(), X, mapping=mapping)
    assert wrong.diagnoses[0].location.startswith("fc2, ")


class Fused(Net):
    """Has the submodules, and does without two of them."""

    def forward(self, x):
        return torch.tanh(nn.functional.linear(x, self.fc1.weight, self.fc1.bias)) @ self.fc2.weight.T + self.fc2.bias


class HalfFused(Net):
    def forward(self, x):
        return self.fc2(torch.tanh(self.fc1(x))) * 1.5


def test_a_submodule_that_is_not_called_claims_nothing():
    report = check_module(Fused(), Net(), X)
    assert report.ok, lines(report)
    assert symbols(report, "end to end")[0] == "output"
    assert {"dC/d fc1.weight", "dC/d fc2.bias", "dC/dx"} < set(symbols(report, "end to end"))
    wrong = check_module(HalfFused(), Net(), X)
    assert {"act", "act: output"}.isdisjoint(wrong.table["symbol"])
    assert "output is the first that is wrong" in lines(wrong)
    assert "times a constant, 1.5" in lines(wrong)


class Zoo(nn.Module):
    """An embedding, a normalisation that keeps statistics, a dropout, a recurrent cell with several outputs, keywords."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(9, 6)
        self.conv = nn.Conv1d(6, 4, 3, padding=1)
        self.norm = nn.BatchNorm1d(4)
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.cell = nn.LSTM(4, 3, batch_first=True)
        self.pick = Pick()
        self.double()

    def forward(self, tokens):
        z = self.act(self.norm(self.conv(self.words(tokens).mT)))
        out, (state, _) = self.cell(self.drop(z).mT)
        return {"last": self.pick(out, at=-1), "state": state}


class Pick(nn.Module):
    def forward(self, x, *, at):
        return x[:, at] * 2


def test_modules_of_every_kind():
    tokens = torch.from_numpy(np.random.default_rng(1).integers(0, 9, (4, 5)))
    candidate, reference = Zoo(), Zoo()
    before = candidate.norm.running_mean.clone()
    report = check_module(candidate, reference, tokens)
    assert report.ok, report.failing[["symbol", "note"]].to_string()
    assert torch.equal(candidate.norm.running_mean, before)
    through = symbols(report, "end to end")
    assert {"words", "dC/d words.weight", "cell", "cell (output 2)", "dC/d cell.weight_ih_l0", "output 1"} <= set(through)
    assert "pick: dC/dinput" in symbols(report, "layerwise")
    wrong = check_module(spoilt(Zoo(), "conv", 2.0), Zoo(), tokens)
    assert wrong.diagnoses[0].location.startswith("conv, Conv1d")


class Tied(nn.Module):
    """One matrix under two names, and one that is not differentiated."""

    def __init__(self):
        super().__init__()
        self.words, self.mix, self.out = nn.Embedding(9, 6), nn.Linear(6, 6), nn.Linear(6, 9, bias=False)
        self.out.weight = self.words.weight
        self.mix.weight.requires_grad_(False)
        self.double()

    def forward(self, tokens):
        return self.out(torch.tanh(self.mix(self.words(tokens))))


class Bare(nn.Module):
    """No submodules, and a parameter of its own."""

    def __init__(self, cut=False):
        super().__init__()
        self.w, self.cut = nn.Parameter(torch.linspace(-1, 1, 12).view(4, 3).double()), cut

    def forward(self, x):
        return torch.tanh(x @ (self.w.detach() if self.cut else self.w))


def test_a_module_without_submodules_is_a_function():
    report = check_module(Bare(), Bare(), X)
    assert report.ok
    assert symbols(report, "end to end") == ["output", "dC/d w", "dC/dx"]
    assert symbols(report, "layerwise") == []
    wrong = check_module(Bare(cut=True), Bare(), X)
    assert next(iter(wrong.failing["symbol"])) == "dC/d w"
    assert "not given" in lines(wrong)


class Attending(nn.Module):
    """torch's attention, which holds a Linear and never calls it, and a plain one behind."""

    def __init__(self):
        super().__init__()
        self.attend, self.out = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 2)
        self.double()

    def forward(self, x):
        return self.out(self.attend(x, x, x, need_weights=False)[0])


def test_a_module_of_torch_with_parameters_is_looked_at_as_a_whole():
    x = torch.from_numpy(np.random.default_rng(2).standard_normal((2, 3, 4)))
    report = check_module(Attending(), Attending(), x)
    assert report.ok, report.failing[["symbol", "note"]].to_string()
    assert {"attend: dC/dout_proj.weight", "attend: dC/din_proj_weight"} <= set(symbols(report, "layerwise"))
    wrong = check_module(spoilt(Attending(), "attend", 2.0), Attending(), x)
    assert wrong.diagnoses[0].location.startswith("attend, MultiheadAttention")


def test_tied_and_frozen_parameters():
    tokens = torch.from_numpy(np.random.default_rng(1).integers(0, 9, (4, 5)))
    report = check_module(Tied(), Tied(), tokens)
    assert report.ok, report.failing[["symbol", "note"]].to_string()
    through = symbols(report, "end to end")
    assert "dC/d words.weight" in through
    assert "dC/d mix.bias" in through
    assert not {"dC/d out.weight", "dC/d mix.weight"} & set(through)
    assert "out: dC/dweight" in symbols(report, "layerwise")


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_every_dtype_and_described_inputs(dtype):
    kind = getattr(torch, dtype)
    candidate, reference = Net().to(kind), Net().to(kind)
    report = check_module(candidate, reference, "6x4")
    assert report.ok, report.failing[["symbol", "note"]].to_string()
    assert set(report.table["dtype"][report.table["comparison"] == "layerwise"]) == {dtype}
    assert not check_module(spoilt(candidate, "act", 1.5), reference, "6x4").ok


def test_a_rewritten_attention_agrees_within_rounding():
    class Attention(nn.Module):
        def __init__(self, plain):
            super().__init__()
            self.query, self.key, self.value = (nn.Linear(6, 6) for _ in range(3))
            self.plain = plain

        def forward(self, x):
            q, k, v = self.query(x), self.key(x), self.value(x)
            if not self.plain:
                return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            later = torch.ones(5, 5, dtype=torch.bool).triu(1)
            return (q @ k.mT / 6**0.5).masked_fill(later, -torch.inf).softmax(-1) @ v

    report = check_module(Attention(False), Attention(True), torch.randn(2, 5, 6))
    assert report.ok, report.failing[["symbol", "sigmas"]].to_string()
    assert report.table["max_abs"].max() > 0


class Talking(Net):
    def forward(self, x):
        sys.stdout.write("here\n")
        torch.set_default_dtype(torch.float64)
        return super().forward(x) + 0.001


class Raising(Net):
    def forward(self, x):
        raise RuntimeError("by hand")


class Endless(Net):
    def forward(self, x):
        while True:
            x = x + 0


class Counting(Net):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) * self.calls


class Detached(Net):
    def forward(self, x):
        with torch.no_grad():
            return super().forward(x)


class Wider(Net):
    def forward(self, x):
        return super().forward(x)[:, :2]


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        (Talking(), "here"),
        (Talking(), "default dtype"),
        (Raising(), "RuntimeError: by hand"),
        (Endless(), "did not end within 0.5 seconds"),
        (Counting(), "something else"),
        (Detached(), "torch.no_grad"),
        (Wider(), "(7, 2)"),
    ],
)
def test_a_candidate_that_fails_is_a_failing_row_that_says_why(candidate, said):
    report = check_module(candidate, Net(), X, timeout=0.5)
    assert not report.ok
    assert said in lines(report) + report.failing[["symbol", "note"]].to_string(), lines(report)
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize(
    ("candidate", "reference", "inputs", "options", "said"),
    [
        (Net, Net(), (X,), {}, "an instance, not the class"),
        (Net(), torch.tanh, (X,), {}, "reference takes a torch.nn.Module"),
        (Net(), Net(), (), {}, "takes inputs"),
        (Net(), Net(), (X.T,), {}, "Do the shapes fit it?"),
        (Net(), Net(), (X, X), {}, "reference"),
        (Net(), Net(), (X.float(),), {}, "reference"),
        (Net(2), Net(), (X,), {}, "fc2.weight is torch.float64 (3, 5) in the reference and torch.float64 (2, 5)"),
        (nn.Linear(4, 3).double(), Net(), (X,), {}, "both modules take the same parameters"),
        (Net(), Net(), (X,), {"mapping": {"fc3": "fc1"}}, "the reference has no 'fc3'"),
        (Net(), Net(), (X,), {"mapping": {"fc1": "first"}}, "the candidate has no 'first'"),
        (
            Net(),
            Net(),
            (X,),
            {"mapping": ["fc1"]},
            "mapping takes a dictionary, the candidate's name by the reference's; got list",
        ),
        (
            Net().requires_grad_(False),
            Net(),
            (X,),
            {},
            "fc1.weight requires a gradient in the reference and none in the candidate",
        ),
        (Net(), Net(), (X,), {"upstreams": 0}, "upstreams takes a whole number"),
        (Net(), Net(), (X,), {"timeout": 0}, "timeout takes seconds"),
    ],
)
def test_a_call_that_is_wrong_is_refused(candidate, reference, inputs, options, said):
    with pytest.raises(DoorError, match=r".") as raised:
        check_module(candidate, reference, *inputs, **options)
    assert said in str(raised.value)


def test_nested_structures_keep_their_form():
    tree = {"a": (torch.ones(2), [torch.arange(2), None]), "b": torch.zeros(1)}
    assert [tuple(tensor.shape) for tensor in tensors_in(tree)] == [(2,), (1,)]
    doubled = mapped(tree, lambda tensor: tensor + 1)
    assert torch.equal(doubled["a"][0], torch.full((2,), 2.0))
    assert doubled["a"][1][0] is tree["a"][1][0]


class ForgetsWeight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        hat = nn.functional.layer_norm(x, x.shape[-1:])
        ctx.save_for_backward(x, hat, weight)
        return hat * weight

    @staticmethod
    def backward(ctx, grad):
        x, hat, _ = ctx.saved_tensors
        r = (x.var(-1, unbiased=False, keepdim=True) + 1e-5).rsqrt()
        inner = grad - grad.mean(-1, keepdim=True) - hat * (grad * hat).mean(-1, keepdim=True)  # of grad, not of grad * weight
        return inner * r, (grad * hat).flatten(0, -2).sum(0)


class Normed(torch.nn.Module):
    def __init__(self, apply):
        super().__init__()
        self.weight, self.call = torch.nn.Parameter(torch.ones(6)), apply

    def forward(self, x):
        return self.call(x, self.weight)


def test_a_weight_that_is_1_everywhere_does_not_hide_that_it_is_forgotten():
    def network(apply):
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(4, 6), Normed(apply), torch.nn.Linear(6, 3)).double()

    def right(x, weight):
        return nn.functional.layer_norm(x, x.shape[-1:]) * weight

    assert check_module(network(right), network(right), "5x4").ok
    candidate = network(ForgetsWeight.apply)
    before = {name: value.clone() for name, value in candidate.named_parameters()}
    report = check_module(candidate, network(right), "5x4")
    assert set(report.failing["case"]) >= {"Sequential/5x4/generic, uneven"}
    assert not any(case.endswith("5x4/generic") for case in report.failing["case"])
    assert "1, Normed: dC/dinput" in report.diagnosis
    assert all(torch.equal(value, before[name]) for name, value in candidate.named_parameters())
    assert check_module(candidate, network(right), "5x4", load=False).ok


class InPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp_min(0)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad.mul_(x > 0)


class Rectifier(nn.Module):
    def forward(self, x):
        return InPlace.apply(x)


def test_a_submodule_that_writes_over_the_upstream_gradient_is_the_one_that_is_told():
    def network(act):
        return nn.Sequential(nn.Linear(4, 4), act, nn.Identity(), nn.Linear(4, 2))

    assert check_module(network(nn.ReLU()), network(nn.ReLU()), "5x4").ok
    report = check_module(network(Rectifier()), network(nn.ReLU()), "5x4")
    assert report.diagnosis.startswith("1, Rectifier: upstream gradient unchanged")
    assert "upstream gradient is changed in place; work on a copy" in report.diagnosis


class Cells(nn.Module):
    """An LSTM by hand; two of its gates are exchanged where it is wrong."""

    def __init__(self, lstm, wrong):
        super().__init__()
        for name, value in lstm.named_parameters():
            setattr(self, name, nn.Parameter(value.detach().clone()))
        self.wrong = wrong

    def forward(self, x):
        h = c = x.new_zeros(x.shape[0], self.weight_hh_l0.shape[1])
        found = []
        for at in range(x.shape[1]):
            gates = x[:, at] @ self.weight_ih_l0.T + self.bias_ih_l0 + h @ self.weight_hh_l0.T + self.bias_hh_l0
            i, f, g, o = gates.chunk(4, 1)
            i, f = (f, i) if self.wrong else (i, f)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            found.append(h)
        return torch.stack(found, 1), (h[None], c[None])


class Reader(nn.Module):
    def __init__(self, lstm):
        super().__init__()
        self.lstm, self.out = lstm, nn.Linear(6, 2)

    def forward(self, x):
        return self.out(self.lstm(x)[0][:, -1])


def test_weights_of_a_recurrent_network_are_not_cut():
    """Torch ends the process where they do not fit each other."""
    lstm = nn.LSTM(4, 6, batch_first=True)
    x = torch.randn(3, 6, 4)
    assert check_module(Reader(Cells(lstm, wrong=False)), Reader(lstm), x).ok
    report = check_module(Reader(Cells(lstm, wrong=True)), Reader(lstm), x)
    assert report.diagnosis.startswith("lstm, Cells: output")
