"""The rounding scale of any torch callable: as wide as torch's own errors, and no wider than would hide a wrong gradient."""

import numpy as np
import pytest
import torch
from torch.nn import functional

import oracle
from oracle.doors.errors import DoorError
from oracle.rounding.callables import Of, callable_scales, callable_sides, run
from oracle.twins import to_numpy
from oracle.verdict import TOLERANCE


def draw(seed, *shapes, dtype=torch.float32):
    rng = torch.Generator().manual_seed(seed)
    return {f"x{at}": torch.randn(shape, generator=rng).to(dtype).requires_grad_() for at, shape in enumerate(shapes)}


class Looks(torch.autograd.Function):
    """No replica can be mapped over this: it looks at numbers, and works in place."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        result = x.detach().clone()
        return result.mul_(2.0 if x.sum().item() > 1e9 else x.detach())

    @staticmethod
    def backward(ctx, grad):
        return 2 * ctx.saved_tensors[0] * grad


LABELS = torch.tensor([0, 2, 1, 2, 6])
CAPTURED = torch.randn(7, 3, generator=torch.Generator().manual_seed(5))
FUNCTIONS = {
    "gelu": (functional.gelu, (50, 41)),
    "cross entropy": (lambda x: functional.cross_entropy(x, LABELS, reduction="none"), (5, 7)),
    "layer_norm": (lambda x, w, b: functional.layer_norm(x, (17,), w, b), (30, 17), (17,), (17,)),
    "matmul": (torch.matmul, (13, 40), (40, 11)),
    "conv2d": (lambda x, w, b: functional.conv2d(x, w, b, stride=2, padding=1), (2, 3, 9, 8), (5, 3, 3, 2), (5,)),
    "conv_transpose2d": (lambda x, w: functional.conv_transpose2d(x, w, stride=2), (2, 4, 5, 6), (4, 5, 3, 3)),
    "attention": (functional.scaled_dot_product_attention, (2, 5, 4), (2, 5, 4), (2, 5, 4)),
    "numbers of its own": (lambda x: x @ CAPTURED, (5, 7)),
    "autograd.Function": (Looks.apply, (50, 41)),
    "bilinear": (functional.bilinear, (30, 17), (30, 5), (7, 17, 5)),
    "inverse": (torch.linalg.inv, (12, 12)),
    "solve": (torch.linalg.solve, (12, 12), (12, 5)),
    "cumsum": (lambda x: x.cumsum(1), (3, 50)),
}

#: Those that torch does not compute in half precisions, or not with numbers of another dtype.
WIDE_ONLY = ("numbers of its own", "inverse", "solve")


def measured(function, inputs, params=None, ways=2):
    outputs = run(function, inputs, params or {}, []).values()
    rng = torch.Generator().manual_seed(1)
    upstreams = [tuple(torch.randn(out.shape, generator=rng).to(out.dtype) for out in outputs) for _ in range(ways)]
    reference = {of: to_numpy(value) for of, value in run(function, inputs, params or {}, upstreams).items()}
    dtype = reference[Of("output", "0")].dtype
    return reference, callable_scales(function, inputs, params or {}, upstreams, reference, dtype), upstreams


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        (name, dtype)
        for name in FUNCTIONS
        for dtype in (torch.float32, torch.bfloat16)
        if name not in WIDE_ONLY or dtype == torch.float32
    ],
)
def test_torchs_own_error_is_of_the_size_of_the_scale(name, dtype):
    function, *shapes = FUNCTIONS[name]
    inputs = draw(3, *shapes, dtype=dtype)
    reference, scales, _ = measured(function, inputs)
    if name == "layer_norm" and dtype is torch.bfloat16:  # torch adds up the gradient of its bias in bfloat16: that is told
        found = reference[Of("gradient", "x2")], scales.exact[Of("gradient", "x2")], scales.sigma[Of("gradient", "x2")]
        assert (np.abs(found[0].astype(np.float64) - found[1]) / found[2]).max() > TOLERANCE
        scales = scales._replace(sigma={of: sigma for of, sigma in scales.sigma.items() if of.name != "x2"})
    errors = {
        of: np.abs(reference[of].astype(np.float64) - scales.exact[of]) / np.where(sigma > 0, sigma, 1)
        for of, sigma in scales.sigma.items()
    }
    together = np.concatenate([error.ravel() for error in errors.values()])
    assert 0.1 < together.max() < 8
    assert 0.02 < np.median(together) < 1


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_exact_copy_is_torchs_own_run_in_float64(name):
    function, *shapes = FUNCTIONS[name]
    inputs = draw(3, *shapes)
    _, scales, upstreams = measured(function, inputs)
    try:
        wide = run(function, inputs, {}, upstreams, wide=True)
    except RuntimeError:
        assert name == "numbers of its own"  # which are narrower: in a copy every operation is in float64
        return
    assert {of.name for of in scales.exact if of.kind == "gradient"} == set(inputs)
    for of, exact in scales.exact.items():
        assert np.abs(exact - wide[of].numpy()).max() <= 1e-12 * np.abs(exact).max(), of


@pytest.mark.parametrize("name", ["gelu", "layer_norm", "conv2d"])
def test_a_relative_error_of_a_few_roundings_in_one_element_is_outside(name):
    function, *shapes = FUNCTIONS[name]
    _, scales, _ = measured(function, draw(3, *shapes))
    of = Of("gradient", "x0", 0)
    largest = np.unravel_index(np.abs(scales.exact[of]).argmax(), scales.exact[of].shape)
    assert TOLERANCE * scales.sigma[of][largest] < 1e-4 * abs(scales.exact[of][largest])


def test_a_module_is_run_with_the_parameters_it_is_given_and_stays_as_it_was():
    module = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.BatchNorm1d(4))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    params = {name: (value.detach() * 2).requires_grad_() for name, value in module.named_parameters()}
    reference, scales, _ = measured(module, draw(0, (6, 5)), params)
    assert {of.name for of in scales.sigma if of.kind == "gradient"} == {"x0", *params}
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert np.abs(reference[Of("gradient", "1.weight")] - scales.exact[Of("gradient", "1.weight")]).max() < 1e-5


def test_a_comparison_within_rounding_widens_the_scale_and_one_on_a_kink_has_sides():
    z = torch.tensor([[1.0, -1.0, 0.0]], requires_grad=True)
    scale = measured(functional.relu, {"x": z})[1].sigma[Of("gradient", "x")]
    sides = callable_sides(functional.relu, {"x": z}, {}, [(torch.tensor([[3.0, 3.0, 3.0]]),)])[Of("gradient", "x")]
    assert (sides.min(axis=0) == [[3, 0, 0]]).all()
    assert (sides.max(axis=0) == [[3, 0, 3]]).all()
    near = measured(lambda x: functional.relu((x + 1e4) - 1e4), {"x": z})[1].sigma[Of("gradient", "x")]
    assert near[0, 2] > 1e3 * scale[0, 0]


def test_where_every_noisy_copy_overflows_anything_of_its_size_is_allowed():
    """The difference is exactly 0, and rounding may make it 1e184, whose square is no number."""
    x = {"x": torch.tensor([1e200, 1.0], dtype=torch.float64)}
    reference, scales, _ = measured(lambda x: (x * 3 - (x + x + x)) ** 2 + x, x)
    sigma = scales.sigma[Of("output", "0")]
    assert reference[Of("output", "0")][0] == 1e200
    assert sigma[0] * TOLERANCE >= 1e200
    assert sigma[1] < 1e-14


def test_a_compiled_function_has_the_scale_that_it_has_uncompiled(recwarn):
    def function(x, w):
        return torch.softmax(x @ w, 1) @ w.T

    inputs = draw(1, (5, 30), (30, 30))
    upstreams = [[torch.ones(5, 30)]]
    wanted = {of: to_numpy(value) for of, value in run(function, inputs, {}, upstreams).items()}
    plain, compiled = (
        callable_scales(each, inputs, {}, upstreams, wanted, np.dtype("float32"))
        for each in (function, torch.compile(function, backend="eager"))
    )
    for of, sigma in plain.sigma.items():
        assert np.array_equal(sigma, compiled.sigma[of])
    assert not [warning for warning in recwarn if "Dynamo" in str(warning.message)]


def test_random_numbers_are_the_same_in_every_copy():
    _, scales, _ = measured(lambda x: functional.dropout(x, 0.5), draw(0, (20, 5)))
    assert (scales.exact[Of("output", "0")] == 0).any()
    assert scales.sigma[Of("gradient", "x0")].max() < 1e-5


def test_only_what_is_kept_is_held():
    inputs = draw(0, (20, 5))
    upstreams = [(torch.ones(20, 5),)]
    keep = lambda of, tensor: tensor.flatten()[[3, 7]]  # noqa: E731
    reference = {of: to_numpy(value) for of, value in run(functional.gelu, inputs, {}, upstreams, keep=keep).items()}
    scales = callable_scales(functional.gelu, inputs, {}, upstreams, reference, np.dtype(np.float32), keep=keep)
    assert {sigma.shape for sigma in scales.sigma.values()} == {(2,)}


def with_zeros(shape):
    numbers = draw(4, shape)["x0"].detach()
    return numbers * (torch.arange(numbers.numel()) % 4 > 0).view(shape)


#: What torch takes apart into places or counts, which are whole numbers; constants; and what has no memory, or lies elsewhere.
THEMSELVES = {
    **{
        f"grid_sample {mode} {padding}": (
            lambda x, grid, mode=mode, padding=padding: functional.grid_sample(x, grid, mode, padding, align_corners=False),
            torch.arange(32.0).sin().view(1, 2, 4, 4),
            1.1 * torch.arange(18.0).mul(7).cos().view(1, 3, 3, 2),
        )
        for mode in ("bilinear", "nearest", "bicubic")
        for padding in ("zeros", "border", "reflection")
    },
    "grid_sample of the grid itself": (
        lambda x, theta: functional.grid_sample(
            x, functional.affine_grid(theta, x.shape, align_corners=True), align_corners=True
        ),
        torch.arange(35.0).sin().view(1, 1, 7, 5),
        torch.eye(2, 3).unsqueeze(0),
    ),
    "cumprod": (lambda x: x.cumprod(1), draw(4, (3, 5))["x0"].detach()),
    "cumprod with zeros": (lambda x: x.cumprod(1), with_zeros((3, 5))),
    "vander": (lambda x: torch.linalg.vander(x, N=4), draw(4, (5,))["x0"].detach()),
    "eye": (lambda w: ((w @ w.T - torch.eye(300)) ** 2).sum(), draw(4, (300, 4))["x0"].detach()),
    "tril_indices": (lambda x: x[tuple(torch.tril_indices(4, 4))], draw(4, (4, 4))["x0"].detach()),
    "sgn": (lambda x: x.sgn() * x, draw(4, (3, 4))["x0"].detach()),
    "sparse": (lambda x: torch.sparse.mm(torch.eye(3).to_sparse(), x), draw(4, (3, 2))["x0"].detach()),
    "slogdet": (torch.linalg.slogdet, draw(4, (12, 12))["x0"].detach()),
    "lstsq": (lambda a, b: torch.linalg.lstsq(a, b).solution, *(x.detach() for x in draw(4, (12, 11), (12, 3)).values())),
    "matrix_exp": (torch.linalg.matrix_exp, 2 * draw(4, (12, 12))["x0"].detach()),
    "eigvals": (lambda a: torch.linalg.eigvals(a).abs().sum(), draw(4, (12, 12))["x0"].detach()),
    "conv_tbc": (torch.conv_tbc, *(x.detach() for x in draw(4, (5, 2, 3), (3, 3, 4), (4,)).values())),
}


@pytest.mark.parametrize("name", THEMSELVES)
def test_a_function_of_torch_agrees_with_itself(name):
    function, *inputs = THEMSELVES[name]
    report = oracle.check_function(function, function, *inputs)
    assert report.ok, str(report)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bicubic"])
def test_places_are_whole_numbers_without_noise(mode):
    _, scales, _ = measured(lambda x: functional.interpolate(x, size=(3, 9), mode=mode), draw(3, (1, 2, 6, 6)))
    for of, sigma in scales.sigma.items():
        assert sigma.max() < 100 * 2.0**-24 * np.abs(scales.exact[of]).max(), of


def test_a_wrong_gradient_of_grid_sample_is_outside():
    function, *inputs = THEMSELVES["grid_sample bilinear zeros"]
    reference, scales, _ = measured(function, {f"x{at}": value.requires_grad_() for at, value in enumerate(inputs)})
    for of, sigma in scales.sigma.items():
        assert np.median(np.abs(reference[of][reference[of] != 0] * 1e-4) / sigma[reference[of] != 0]) > TOLERANCE, of


@pytest.mark.parametrize("error", [IndexError, KeyError, TypeError, AssertionError])
def test_whatever_a_reference_raises_in_float64_is_told(error):
    def function(x):
        if x.dtype == torch.float64:
            raise error("only single precision")
        return 2 * x

    with pytest.raises(DoorError, match=f"{error.__name__} where its rounding is measured: .*only single precision"):
        oracle.check_function(function, function, torch.ones(2, 3))
