"""What the tests of the losses on classes need: torch.nn itself beside us, and the truth in 2400 bits."""

import numpy as np
import torch
from flint import arb

DTYPES = {"float64": torch.float64, "float32": torch.float32}


def to_torch(array):
    """(features, *extra, m) as torch's (m, features, *extra)."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 0)))


def from_torch(tensor):
    array = tensor.detach().numpy()
    return np.moveaxis(array, 0, -1) if array.ndim else array


def twin(record, dtype):
    options = {k: torch.from_numpy(v).to(dtype) if isinstance(v, np.ndarray) else v for k, v in record.twin_options().items()}
    return getattr(torch.nn, record.twin())(**options).to(dtype)


def agree(got, want, eps, scale=4.0):
    """Where torch has a number, the same to 16 units roundoff; where it has infinity or NaN, the same."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    finite = np.isfinite(want)
    np.testing.assert_array_equal(got[~finite], want[~finite])
    assert (np.abs(got - want)[finite] <= 16 * eps * np.maximum(np.abs(want[finite]), scale)).all()


def upstream_like(value):
    """A random upstream gradient for this value, of both signs."""
    rng = np.random.default_rng(7)
    return (rng.uniform(0.5, 2, np.shape(value)) * rng.choice([-1, 1], np.shape(value))).astype(np.asarray(value).dtype)


def compare_activation(record, z, dtype="float64", scale=4.0):
    z = np.asarray(z, dtype)
    wide = to_torch(z).requires_grad_()
    out = twin(record, DTYPES[dtype])(wide)
    a, residuals = record.forward({}, z)
    g = upstream_like(a)
    out.backward(to_torch(g))
    agree(a, from_torch(out), np.finfo(dtype).eps)
    agree(record.backward({}, residuals, g)[0], from_torch(wide.grad), np.finfo(dtype).eps, scale)


def compare_loss(record, x, target, dtype="float64", params=None):
    eps, torch_dtype = np.finfo(dtype).eps, DTYPES[dtype]
    x, params = np.asarray(x, dtype), params or {}
    target = np.asarray(target)
    target = target.astype(dtype) if target.dtype.kind == "f" else target
    module, wide = twin(record, torch_dtype), to_torch(x).requires_grad_()
    module.load_state_dict({name: torch.from_numpy(value) for name, value in params.items()}, strict=False)
    wanted = module(wide, to_torch(target))
    wanted = wanted if isinstance(wanted, torch.Tensor) else wanted.loss
    value, residuals = record.forward(params, x, target)
    g = upstream_like(value)
    wanted.backward(to_torch(g) if g.ndim else torch.tensor(g))
    agree(value, from_torch(wanted), eps)
    grad, grads = record.backward(params, residuals, g)
    agree(grad, from_torch(wide.grad), eps)
    assert {name: tuple(p.shape) for name, p in module.named_parameters()} == record.parameter_shapes()
    for name, parameter in module.named_parameters():
        wanted = np.zeros(parameter.shape, dtype) if parameter.grad is None else parameter.grad.numpy()
        agree(grads[name], wanted, eps, 16.0)


def exact(x):
    return arb(float(x)) if np.isfinite(x) else arb(-10) ** 400


def ulps(got, true):
    """Distance in units in the last place of the truth; 0 where that is no normal number."""
    nearest = float(true.mid())
    if abs(nearest) < 2.3e-308:
        return 0.0
    return abs(float((exact(got) - true) / exact(np.spacing(abs(nearest)))))
