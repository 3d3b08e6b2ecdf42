"""check_function: what it refuses, what it tells of a candidate, what it draws, and what it costs. Each check is shown to fail."""

import sys
import time

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import oracle
from oracle.doors.generate import Described, inputs_like

X = torch.randn(5, 7, generator=torch.Generator().manual_seed(2))


def square(forward=lambda x: x * x, backward=lambda x, grad: 2 * x * grad):
    """An autograd.Function of x^2, right unless a part of it is given."""

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return forward(x)

        @staticmethod
        def backward(ctx, grad):
            return backward(ctx.saved_tensors[0], grad)

    return Square.apply


def reference(x):
    return x**2


def failing(candidate, *inputs, reference=reference, **options):
    report = oracle.check_function(candidate, reference, *(inputs or (X,)), **options)
    assert not report.ok, report.explain()
    return set(report.failing["quantity"]), report


def test_a_right_one_agrees_everywhere():
    report = oracle.check_function(square(), reference, X)
    assert report.ok
    assert set(report.table["comparison"]) == {"end to end", "contract"}
    assert report.diagnosis == ""
    assert "all" in report.explain()
    assert "<iframe" in report._repr_html_()
    assert "Square" in report.to_markdown()
    report.raise_if_failed()


# What a candidate owes.


def zero_where_positive(x, grad):
    return 2 * x * grad + (grad == 0) * 1e-30


def in_place_upstream(x, grad):
    return grad.mul_(2 * x)


def clips(x, grad):
    return 2 * x * grad.clamp(-0.8, 0.8)


def by_pointer(x, grad):
    """Reads memory one after the other, as a kernel without strides."""
    return 2 * x * torch.as_strided(grad, grad.shape, (grad.shape[-1], 1) if grad.ndim == 2 else (1,))


def by_input_pointer(x, grad):
    return 2 * torch.as_strided(x, x.shape, (x.shape[-1], 1)) * grad


def input_changed(x, grad):
    x.data.mul_(1.0001)
    return 2 * x * grad / 1.0001


def quadratic(x, grad):
    return 2 * x * grad * grad.abs() / 0.7


count = 0


def counts(x, grad):
    global count
    count += 1
    return 2 * x * grad * (1 + 1e-3 * count)


@pytest.mark.parametrize(
    ("backward", "quantity"),
    [
        (in_place_upstream, "upstream gradient unchanged"),
        (input_changed, "x unchanged"),
        (counts, "called twice"),
        (quadratic, "scaled upstream gradient"),
        (clips, "scaled upstream gradient"),
        (zero_where_positive, "no upstream gradient"),
        (by_pointer, "expanded upstream gradient"),
        (by_pointer, "non-contiguous upstream gradient"),
        (by_input_pointer, "non-contiguous input"),
        (by_input_pointer, "transposed input"),
        (by_input_pointer, "expanded x"),
    ],
)
def test_what_is_not_kept_is_a_row_that_fails(backward, quantity):
    quantities, report = failing(square(backward=backward))
    assert quantity in quantities
    note = report.failing.set_index("quantity")["note"][quantity]
    assert "dC/dx" in str(note) or "in place" in str(note)
    assert quantity in report.diagnosis or backward in (quadratic, clips)


def test_a_backward_that_clears_grad_does_not_add_up():
    def own_grad(x):
        return Writes.apply(x)

    class Writes(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.x = x
            return x * x

        @staticmethod
        def backward(ctx, grad):
            if ctx.x.grad is not None:
                ctx.x.grad.zero_()
            return 2 * ctx.x * grad

    assert failing(own_grad)[0] == {"gradients add up"}


def test_the_state_of_torch_is_put_back_and_told():
    def forward(x):
        torch.set_default_dtype(torch.float64)
        return x * x

    quantities, report = failing(square(forward))
    assert quantities == {"settings unchanged"}
    assert torch.get_default_dtype() == torch.float32
    assert "default dtype" in report.diagnosis


def test_a_seed_that_is_set_for_everybody_is_told():
    def forward(x):
        torch.manual_seed(3)
        return x * x

    quantities, report = failing(square(forward))
    assert quantities == {"settings unchanged"}
    assert "random seed" in report.diagnosis
    assert torch.initial_seed() != 3
    assert oracle.check_function(lambda x: functional.dropout(x, 0.0) ** 2, reference, X).ok


def test_what_is_printed_is_shown_and_no_fault(capsys):
    def forward(x):
        sys.stdout.write(f"shape {tuple(x.shape)}")
        return x * x

    report = oracle.check_function(square(forward), reference, X)
    assert report.ok
    assert "shape (5, 7)" in report.table.set_index("quantity")["note"]["printed"]
    assert capsys.readouterr().out == ""
    for text in (report.explain(), report.to_markdown(), report.to_html(), report.to_json()):
        assert "it printed: shape" in text


# What may be random.


class Noisy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (1 - x.tanh() ** 2) * (1 + 1e-4 * torch.rand_like(x))


def dropout(x):
    return functional.dropout(x, 0.5)


@pytest.mark.parametrize(
    ("candidate", "reference", "said"),
    [
        (Noisy.apply, torch.tanh, "The candidate draws random numbers, and the reference does not"),
        (dropout, lambda x: x * 1, "The candidate draws random numbers, and the reference does not"),
        (lambda x: x * 1, dropout, "The reference draws random numbers, and the candidate does not"),
    ],
)
def test_what_is_random_is_called_so_and_nothing_else(candidate, reference, said):
    _, report = failing(candidate, "4x7", reference=reference)
    assert said in report.diagnosis
    assert "float16" not in report.diagnosis
    assert "transposed" not in report.diagnosis


def test_both_may_draw_the_same_random_numbers_however_the_input_lies():
    assert oracle.check_function(dropout, dropout, "4x7").ok
    wrong = failing(lambda x: dropout(x).detach() + 0 * x, "4x7", reference=dropout)[1]
    assert "draws random" not in wrong.diagnosis


# What is kept from one call to the next.


LAST, FIRST = {}, {}


class OfLast(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        LAST["x"] = x
        return x.sin()

    @staticmethod
    def backward(ctx, grad):
        return grad * LAST["x"].cos()


class OfFirst(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.x = FIRST.setdefault(x.shape, x.clone())
        return x.sin()

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.x.cos()


@pytest.mark.parametrize(("function", "quantity"), [(OfLast, "another call in between"), (OfFirst, "other numbers")])
def test_what_is_kept_outside_of_a_call_shows_at_other_numbers(function, quantity):
    assert failing(function.apply, reference=torch.sin)[0] == {quantity}


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a @ b

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        return grad @ b.T if all(ctx.needs_input_grad) else None, a.T @ grad


def test_each_gradient_is_asked_for_alone():
    assert oracle.check_function(torch.matmul, torch.matmul, "4x5", "5x3").ok
    assert failing(Product.apply, "4x5", "5x3", reference=torch.matmul)[0] == {"one gradient at a time"}


def test_who_clips_the_upstream_gradient_shows():
    assert failing(square(backward=lambda x, grad: 2 * x * grad.clamp(-10, 10)))[0] == {"scaled upstream gradient"}


class Normalised(torch.nn.BatchNorm1d):
    def __init__(self, unbiased):
        super().__init__(7)
        self.unbiased = unbiased

    def forward(self, x):
        with torch.no_grad():
            self.running_mean.lerp_(x.mean(0), 0.1)
            self.running_var.lerp_(x.var(0, unbiased=self.unbiased), 0.1)
            self.num_batches_tracked += 1
        return functional.batch_norm(x, None, None, self.weight, self.bias, training=True)


def test_running_statistics_are_compared():
    reference = torch.nn.BatchNorm1d(7)
    assert oracle.check_function(Normalised(unbiased=True), reference, X).ok
    quantities, report = failing(Normalised(unbiased=False), reference=reference)
    assert quantities == {"buffers after a call"}
    assert "the buffer running_var" in report.diagnosis
    chains = [torch.nn.Sequential(torch.nn.Linear(7, 7), each) for each in (Normalised(unbiased=False), reference)]
    report = oracle.check_module(*chains, X)
    assert set(report.failing["quantity"]) == {"buffers after a call"}
    assert "flattened" not in report.explain()


# What degenerate numbers leave, and what is no fault.


def naive_softmax(x):
    return torch.exp(x) / torch.exp(x).sum(1, keepdim=True)


def variance(x):
    return ((x - x.mean(1, keepdim=True)) ** 2).mean(1)


@pytest.mark.parametrize(
    ("candidate", "reference"),
    [
        (naive_softmax, lambda x: x.softmax(1)),
        (variance, lambda x: x.var(1, unbiased=False)),
        (lambda x: x.var(1, unbiased=False), variance),
    ],
)
@pytest.mark.parametrize("shape", ["4x7", "5x9"])
def test_rounding_that_is_all_there_is_is_allowed_in_any_order(candidate, reference, shape):
    assert oracle.check_function(candidate, reference, shape).ok
    assert not oracle.check_function(lambda x: candidate(x) * (1 + 1e-4), reference, shape).ok


def test_a_softmax_over_one_class_that_passes_the_gradient_on_is_wrong():
    assert failing(lambda x: x.softmax(1) if x.shape[1] > 1 else 1 + x - x.detach(), "4x7", reference=lambda x: x.softmax(1))


@pytest.mark.parametrize(
    ("function", "given"),
    [
        (lambda x: x.sort(0)[0], X),
        (torch.logdet, X @ X.T + torch.eye(5)),
        (torch.log, torch.tensor([[0.0, 1, 2]])),
        (torch.exp, torch.tensor([[1.0, 100, 2]])),
        (torch.sin, torch.tensor([1.0, float("nan")])),
    ],
)
def test_what_the_reference_does_too_is_no_fault(function, given):
    report = oracle.check_function(function, lambda x: function(x), given)
    assert report.ok, report.explain()


def test_a_candidate_may_use_the_older_kind_of_checkpoint():
    assert oracle.check_function(lambda x: checkpoint(torch.tanh, x, use_reentrant=True), torch.tanh, X).ok
    assert not oracle.check_function(lambda x: checkpoint(torch.sin, x, use_reentrant=True), torch.tanh, X).ok


def test_modules_of_whole_numbers():
    assert oracle.check_function(torch.nn.Embedding(5, 3), torch.nn.Embedding(5, 3), torch.tensor([0, 1, 1])).ok


# Numbers that are all equal hide mistakes.


class ForgetsGain(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gain):
        normed = x * (x * x).mean(1, keepdim=True).add(1e-6).rsqrt()
        ctx.save_for_backward(x, normed)
        return normed * gain

    @staticmethod
    def backward(ctx, grad):
        x, normed = ctx.saved_tensors
        scale = (x * x).mean(1, keepdim=True).add(1e-6).rsqrt()
        return scale * (grad - normed * (grad * normed).mean(1, keepdim=True)), (grad * normed).sum(0)  # grad * gain


def rms_norm(x, gain):
    return x * (x * x).mean(1, keepdim=True).add(1e-6).rsqrt() * gain


class Norm(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.gain = torch.nn.Parameter(torch.ones(7))

    def forward(self, x):
        return self.function(x, self.gain)


@pytest.mark.parametrize("how", ["parameter", "input"])
def test_a_weight_that_is_1_everywhere_does_not_hide_that_it_is_forgotten(how):
    def check(function):
        if how == "input":
            return oracle.check_function(function, rms_norm, X, torch.ones(7))
        candidate, reference = Norm(function), Norm(rms_norm)
        report = oracle.check_function(candidate, reference, "5x7")
        assert all(torch.equal(each.gain, torch.ones(7)) for each in (candidate, reference))
        return report

    assert check(rms_norm).ok
    report = check(ForgetsGain.apply)
    assert {case.rpartition(", ")[2] for case in report.failing["case"]} == {"uneven"}
    assert set(report.failing["quantity"]) == {"dC/dx"}
    assert "* gain is left out" in report.diagnosis


class Standardised(torch.nn.Module):
    """A batch norm in eval mode, in which the square root is forgotten on the way back, or not."""

    def __init__(self, wrong=False):
        super().__init__()
        self.register_buffer("variance", torch.ones(7))
        self.wrong = wrong

    def forward(self, x):
        right = x / self.variance.sqrt()
        straight = x + (right - x).detach()
        return straight if self.wrong else right


def test_nor_do_buffers_that_are_1_everywhere():
    assert oracle.check_function(Standardised(), Standardised(), "5x7").ok
    assert failing(Standardised(wrong=True), "5x7", reference=Standardised())[0] == {"dC/dx"}
    other = Standardised()
    other.variance += 1
    assert oracle.check_function(other, Standardised(), "5x7").ok  # it is run with the reference's
    assert torch.equal(other.variance, torch.full((7,), 2.0))


# What a report looks like where somebody prints it.


def test_a_report_prints_as_its_text_and_shows_as_its_answer():
    report = failing(square(backward=lambda x, grad: 2 * x * grad * (1 + 1e-3)))[1]
    assert str(report) == report.explain()
    assert repr(report) == f"<Report: {len(report.failing)} of {len(report.table)} comparisons fail>"
    assert "In Square/float32/5x7/given." in str(report)


def test_a_factor_next_to_1_is_told_with_what_is_beyond_it():
    report = failing(square(backward=lambda x, grad: 2 * x * grad * (1 - 1e-9)), "5x7", dtype="float64")[1]
    assert "times a constant, 1 - 1e-09" in report.diagnosis


def test_an_output_is_no_gradient():
    report = failing(square(forward=lambda x: 2 * x * x))[1]
    assert "output is the right output times 2, exactly." in report.diagnosis


def test_modules_are_converted_as_the_inputs_are():
    candidate, reference = torch.nn.Linear(7, 3), torch.nn.Linear(7, 3)
    report = oracle.check_function(candidate, reference, "5x7", dtype="float64")
    assert report.ok
    assert set(report.table["dtype"]) == {"float64"}
    assert candidate.weight.dtype == torch.float32
    chains = [torch.nn.Sequential(each) for each in (candidate, reference)]
    assert oracle.check_module(*chains, "5x7", dtype=torch.float64).ok
    assert set(oracle.check_function(candidate.double(), reference.double(), "5x7").table["dtype"]) == {"float64"}


# Candidates that give nothing, or something else.


def test_one_that_raises_says_what():
    def backward(x, grad):
        raise ZeroDivisionError("by hand")

    quantities, report = failing(square(backward=backward))
    assert quantities == {"dC/dx"}
    assert "ZeroDivisionError: by hand (line" in report.diagnosis
    assert 'raise ZeroDivisionError("by hand")' in report.diagnosis
    assert set(report.failing["verdict"]) == {"missing"}


def test_the_line_that_is_told_is_the_candidates_own_not_that_of_a_library():
    def forward(x):
        return functional.linear(x, torch.ones(2, 3))

    report = failing(forward)[1]
    assert ": return functional.linear(x, torch.ones(2, 3)))" in report.diagnosis
    assert ".." not in report.diagnosis


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit])
def test_nothing_that_it_raises_comes_through_but_an_interrupt(error):
    def forward(x):
        raise error

    assert error.__name__ in failing(forward)[1].diagnosis

    def interrupted(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        oracle.check_function(interrupted, reference, X)


def test_numpy_functions_are_sent_to_the_other_door():
    report = failing(lambda x: np.square(x.detach().numpy()))[1]
    assert "oracle.check_backward, or --backward" in report.diagnosis
    absent = lambda x: x.nothing  # noqa: E731 # its line is told
    assert "check_backward" not in failing(absent)[1].diagnosis


@pytest.mark.parametrize("wait", [lambda: time.sleep(60), lambda: [None for _ in iter(int, 1)]], ids=["sleep", "loop"])
def test_one_that_never_ends_is_stopped(wait):
    calls = []

    def forward(x):
        calls.append(x)
        wait()
        return x

    quantities, report = failing(square(forward), "5x7", timeout=0.3)
    assert "did not end within 0.3" in report.diagnosis
    assert len(calls) == 1, "one that does not end is not waited for again"
    assert quantities == {"output", "dC/dx"}


def test_no_limit_is_a_limit_too():
    assert oracle.check_function(square(), reference, X, timeout=float("inf")).ok


def test_one_that_never_ends_is_stopped_in_a_thread_too():
    from threading import Thread

    found = []
    thread = Thread(
        target=lambda: found.append(failing(square(lambda x: [None for _ in iter(int, 1)]), timeout=0.3)[1].diagnosis)
    )
    thread.start()
    thread.join(20)
    assert "did not end within 0.3" in found[0]


@pytest.mark.parametrize(
    ("forward", "backward", "said"),
    [
        (lambda x: x * x, lambda x, grad: None, "does not give it"),
        (lambda x: (x * x).double(), lambda x, grad: 2 * x * grad.float(), "dtype float64"),
        (lambda x: (x * x)[:, :3], lambda x, grad: torch.zeros_like(x), "shape (5, 3)"),
        (lambda x: x * x, lambda x, grad: 2 * x * grad / 0, "not finite"),
        (lambda x: x * x, lambda x, grad: (2 * x * grad).sum(0), "raised"),
    ],
)
def test_what_is_missing_or_of_another_form_fails_and_says_so(forward, backward, said):
    report = failing(square(forward, backward))[1]
    assert said in " ".join(report.failing["note"])


def test_one_that_is_detached_is_told_why():
    report = failing(lambda x: x.detach() ** 2)[1]
    assert "torch.no_grad()" in report.diagnosis


def test_outputs_are_a_tuple_and_each_has_its_gradient():
    def both(x):
        return x.sin(), x.cos()

    assert oracle.check_function(both, both, X).ok
    quantities, report = failing(lambda x: (x.sin(), x.cos() + x.detach() * 1e-3), reference=both)
    assert quantities == {"output 1"}
    assert "forward pass" in report.diagnosis
    assert failing(lambda x: x.sin(), reference=both)[0] >= {"output 1", "dC/dx"}
    report = failing(lambda x: (*both(x), x), reference=both)[1]
    assert "the candidate returns 3 outputs, and the reference 2 outputs" in report.diagnosis


def test_only_what_requires_a_gradient_is_asked_for_one():
    y = torch.randn(5, 7)
    report = oracle.check_function(lambda x, y: (x - y.detach()) ** 2, lambda x, y: (x - y) ** 2, X.clone().requires_grad_(), y)
    assert report.ok
    assert failing(lambda x, y: (x - y.detach()) ** 2, X, y, reference=lambda x, y: (x - y) ** 2)[0] == {"dC/dy"}


# The small input.


def test_a_failing_input_is_made_small_and_round():
    def backward(x, grad):
        return 2 * x * grad * torch.where(x > 2, 1.5, 1.0)

    report = failing(square(backward=backward), 3 * X)[1]
    assert "A small input that fails: x = [[3.]], upstream gradient = [[" in report.diagnosis
    assert "elements are wrong: only where x > 0, though not all of those" in report.diagnosis


# What is drawn.


def test_descriptions_are_drawn_in_shapes_that_break_things():
    report = oracle.check_function(torch.matmul, torch.matmul, "4x7", "7x3")
    assert report.ok, report.explain()
    cases = {name.partition("float32/")[2] for name in report.table["case"]}
    assert cases == {
        "4x7,7x3/generic",
        "4x7,7x3/constant",
        "1x7,7x3/4 is 1",
        "4x1,1x3/7 is 1",
        "4x7,7x1/3 is 1",
        "33x35,35x5/odd sizes",
    }


@pytest.mark.parametrize(
    ("wrong", "case"),
    [
        (lambda x, grad: 2 * x * grad * (2 if len(x) == 1 else 1), "4 is 1"),
        (lambda x, grad: 2 * x * grad * (torch.arange(x.shape[-1]) < 32), "odd sizes"),
        (lambda x, grad: 2 * x * grad * (2 if x.shape[-1] == 1 else 1), "7 is 1"),
    ],
)
def test_a_fault_in_a_degenerate_shape_is_found_there_alone(wrong, case):
    _, report = failing(square(backward=wrong), "4x7")
    assert {name.rpartition("/")[2] for name in report.failing["case"]} <= {case, "constant"}


def test_kinks_and_extremes_are_drawn_when_asked_for():
    def at_zero(x, grad):
        return grad * (x >= 0)

    def relu(backward):
        return square(lambda x: x.clamp_min(0), backward)

    report = oracle.check_function(relu(at_zero), torch.relu, "5x7", regimes=["kinks"])
    assert "kink" in set(report.table["verdict"])
    assert report.ok
    quantities, _ = failing(
        relu(lambda x, grad: grad * (x >= 0) * (1 + (x == 0))), "5x7", reference=torch.relu, regimes=["kinks"]
    )
    assert "dC/dx" in quantities
    shrinks = square(lambda x: functional.softshrink(x, 0.5), lambda x, grad: grad * (x.abs() >= 0.5))
    report = oracle.check_function(shrinks, functional.softshrink, "5x7", regimes=["kinks"])
    assert "kink" in set(report.table["verdict"]), "the kinks of the record that is recognised are drawn: 0.5 and -0.5"
    overflows = square(lambda x: x.exp() / (1 + x.exp()), lambda x, grad: grad * x.exp() / (1 + x.exp()) ** 2)
    assert oracle.check_function(overflows, torch.sigmoid, "5x7").ok
    assert "nonfinite" in set(failing(overflows, "5x7", reference=torch.sigmoid, regimes="extremes")[1].failing["verdict"])


def test_domains_and_labels_are_kept():
    rng = np.random.default_rng(0)
    drawn = Described.parse("40x7 unit").draw("generic", rng, np.dtype(np.float32))
    assert 0 <= drawn.min() <= drawn.max() <= 1
    labels = Described.parse("40 labels 7").draw("generic", rng, np.dtype(np.float32))
    assert labels.dtype == torch.int64
    assert set(labels.tolist()) == set(range(7))
    assert inputs_like(torch.zeros(4, 7), torch.tensor([3, 1])) == (Described((4, 7)), Described((2,), labels=4))
    assert oracle.check_function(torch.log, lambda x: x.log(), "5x7", domain="positive").ok
    assert oracle.check_function(functional.cross_entropy, functional.cross_entropy, "4x7", "4 labels 7").ok


@pytest.mark.parametrize(("dtype", "name"), [(torch.bfloat16, "bfloat16"), ("float16", "float16"), (np.float64, "float64")])
def test_in_every_dtype(dtype, name):
    report = oracle.check_function(square(), reference, "5x7", dtype=dtype)
    assert report.ok, report.explain()
    assert set(report.table[report.table["comparison"] == "end to end"]["dtype"]) == {name}


def test_the_same_seed_gives_the_same_table():
    first, again, other = (oracle.check_function(square(), reference, "5x7", seed=seed).table for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


# Modules.


class Scaled(torch.nn.Module):
    def __init__(self, name="weight", power=1.0):
        super().__init__()
        self.register_parameter(name, torch.nn.Parameter(torch.full((7,), 2.0)))
        self.name, self.power = name, power

    def forward(self, x):
        weight = getattr(self, self.name)
        return x * (weight**self.power if self.power != 1 else weight)


def test_parameters_are_matched_by_name_or_as_told_and_stay_what_they_are():
    ours = Scaled()
    report = oracle.check_function(Scaled(), ours, X)
    assert report.ok
    assert "dC/dweight" in set(report.table["quantity"])
    assert oracle.check_function(Scaled("gain"), ours, X, parameters={"weight": "gain"}).ok
    assert ours.weight.grad is None
    assert failing(Scaled(power=1.001), X, reference=ours)[0] >= {"output", "dC/dweight"}
    with pytest.raises(oracle.DoorError, match="the reference has weight, the candidate gain"):
        oracle.check_function(Scaled("gain"), ours, X)
    with pytest.raises(oracle.DoorError, match="the reference has none, the candidate weight"):
        oracle.check_function(Scaled(), torch.sin, X)


# What it costs.


def test_a_million_elements_cost_fewer_than_60_passes():
    """Measured side by side on one thread, the best of several."""

    def gelu(x):
        return functional.gelu(x)

    x, threads = torch.randn(1000, 1000), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        reports = [oracle.check_function(gelu, functional.gelu, x) for _ in range(5)]
    finally:
        torch.set_num_threads(threads)
    assert all(report.ok for report in reports)
    assert min(report.passes for report in reports) < 60
    assert f"It cost {reports[0].passes:.0f} passes" in reports[0].explain()


@pytest.mark.parametrize("first", [3, 100, 499])
def test_rows_of_a_large_array_that_are_wrong_are_those_that_are_compared(first):
    def normed(x):
        return functional.layer_norm(x, x.shape[1:])

    def candidate(x):
        factors = torch.ones(500, 1)
        factors[first:] = 2
        return normed(x) * factors

    assert oracle.check_function(normed, normed, torch.randn(500, 400)).ok
    assert {"output", "dC/dx"} <= failing(candidate, torch.randn(500, 400), reference=normed)[0]


def test_one_wrong_element_of_a_million_is_found_and_told_where():
    def backward(x, grad):
        right = 2 * x * grad
        if right.numel() > 10**5:
            right[123, 456] *= 1 + 1e-5
        return right

    _, report = failing(square(backward=backward), torch.randn(600, 700))
    assert set(report.failing["worst_index"]) == {"(123, 456)"}
    assert "elements compared" in report.failing["note"].iloc[0]


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (lambda x: torch.softmax(x, 1), ["300x40"]),
        (lambda x, w: functional.layer_norm(x, (40,), w), ["300x40", "40"]),
        (lambda x, w: x @ w, ["300x40", "40x50"]),
        (lambda x: x.cumsum(0), ["3000"]),
    ],
)
def test_large_arrays_of_every_kind_agree_and_a_wrong_one_does_not(function, shapes):
    options = {"max_elements": 1000, "regimes": ["generic"]}
    report = oracle.check_function(function, function, *shapes, **options)
    assert report.ok, report.explain()
    wrong = lambda *inputs: function(*inputs) + 1e-4 * inputs[0].sum()  # noqa: E731
    assert failing(wrong, *shapes, reference=function, **options)[0] >= {"output"}


# What it refuses.


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((torch.sin, torch.sin), {}, "takes inputs"),
        ((3, torch.sin, X), {}, "candidate takes something to call"),
        ((torch.sin, None, X), {}, "reference takes something to call"),
        ((torch.Tensor, torch.relu, X), {}, "class Tensor"),
        ((torch.sin, torch.sin, X, X), {}, "reference takes other arguments|raises"),
        ((torch.sin, torch.sin, torch.ones(3, dtype=torch.int64)), {}, "a gradient is that of real numbers"),
        ((torch.sin, torch.sin, torch.ones(3, dtype=torch.complex64)), {}, "real numbers"),
        ((torch.sin, torch.sin, torch.ones(0, 3)), {}, "at least one element"),
        ((torch.sin, torch.sin, "text"), {}, "described as 4x7"),
        ((functional.cross_entropy, functional.cross_entropy, "5x7", "5 labels 0"), {}, "labels a number of classes, from 1"),
        ((torch.nn.Linear(7, 3), torch.nn.Linear(7, 3), X.double()), {}, "Do the dtypes fit"),
        ((torch.sin, torch.sin, "0x7"), {}, "sizes, and labels a number of classes, from 1"),
        ((torch.sin, torch.sin, object()), {}, "array of numbers"),
        ((torch.add, torch.add, "5x7", X), {}, "all numbers, or all descriptions"),
        ((torch.add, torch.add, X, X.double()), {}, "one dtype"),
        ((torch.matmul, torch.matmul, X, X), {}, "the reference raises RuntimeError"),
        ((torch.sin, lambda x: x > 0, X), {}, "floating-point numbers"),
        ((torch.sin, lambda x: "sin", X), {}, "tensor"),
        ((torch.sin, torch.sin, X), {"upstreams": 0}, "upstreams takes a whole number from 1"),
        ((torch.sin, torch.sin, X), {"timeout": 0}, "timeout takes seconds"),
        ((torch.sin, torch.sin, X), {"timeout": "5"}, "timeout takes seconds, more than 0; got '5'"),
        ((torch.sin, torch.sin, X), {"seed": -1}, "seed takes a whole number from 0; got -1"),
        (
            (torch.sin, torch.sin, X.to_sparse()),
            {},
            r"x takes a dense tensor; got the layout torch.sparse_coo. Pass x.to_dense\(\)",
        ),
        ((torch.sin, lambda x: x.detach().numpy(), X), {}, "the reference is written in torch: .* got ndarray"),
        ((torch.sin, lambda x: x.detach().sin(), X), {}, "no gradient flows from its output to x. Does it detach"),
        ((torch.sin, torch.no_grad()(torch.sin), X), {}, "or compute under torch.no_grad"),
        ((torch.sin, torch.sin, X), {"regimes": ["odd"]}, "regimes takes some of"),
        ((torch.sin, torch.sin, "5x7"), {"domain": "odd"}, "domain takes one of"),
        ((torch.sin, torch.sin, X), {"dtype": "int32"}, "unknown dtype"),
        ((torch.sin, torch.sin, X), {"parameters": {"a": "b"}}, "the reference has no a"),
    ],
)
def test_a_wrong_call_is_refused_before_any_work(arguments, options, message):
    with pytest.raises(oracle.DoorError, match=message):
        oracle.check_function(*arguments, **options)


def _first(x):
    return functional.one_hot(x.argmax(-1), x.shape[-1])


def _last(x):
    return _first(x.flip(-1)).flip(-1)


def _shared(x):
    return (x == x.amax(-1, keepdim=True)) / (x == x.amax(-1, keepdim=True)).sum(-1, keepdim=True)


MAXIMA = {
    "max": lambda x: x.max(-1).values,
    "amax": lambda x: x.amax(-1),
    "sort": lambda x: x.sort(-1).values[..., -1],
    "pool": lambda x: functional.max_pool1d(x, x.shape[-1])[..., 0],
}


@pytest.mark.parametrize("maximum", MAXIMA)
def test_of_equal_numbers_a_maximum_may_choose_any_or_all_but_not_none(maximum):
    def largest(share):
        return square(lambda x: x.amax(-1), lambda x, grad: grad[..., None] * share(x))

    def verdicts(share):
        report = oracle.check_function(largest(share), MAXIMA[maximum], "3x5", regimes=["generic", "constant"])
        gradients = report.table[report.table["quantity"] == "dC/dx"]
        return set(gradients["verdict"])

    for right in (_first, _last, _shared):
        assert verdicts(right) <= {"agree", "kink"}
    assert "kink" in verdicts(_first) | verdicts(_last)
    for wrong in (lambda x: 0 * x, lambda x: 2 * _first(x), lambda x: (x == x.amax(-1, keepdim=True)).to(x)):
        assert "differ" in verdicts(wrong)
