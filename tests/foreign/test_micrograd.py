"""micrograd: a network of scalars, one object for each number, and what goes wrong in engines of its kind."""

import pytest
from named import lines, names, wrong

import manualbp as mb
from oracle.doors.network import check_network

engine = pytest.importorskip("micrograd.engine", reason="micrograd is not installed")
Value = engine.Value
NETWORK = mb.Network.dense((3, 4, 2), mb.ReLU(), mb.Identity(), mb.MSELoss())


def candidate(times=1, kind=Value):
    """candidate(params, x, y) of lists of lists of numbers; the way back is gone `times` times."""

    def gradients(params, x, y):
        W1, b1, W2, b2 = ([[kind(float(w)) for w in row] for row in params[name]] for name in ("W1", "b1", "W2", "b2"))

        def affine(W, b, a):
            return [sum((w * each for w, each in zip(row, a, strict=True)), start[0]) for row, start in zip(W, b, strict=True)]

        cost, count = kind(0.0), y.size
        for sample in range(x.shape[1]):
            a = [z.relu() for z in affine(W1, b1, [float(each) for each in x[:, sample]])]
            for output, wanted in zip(affine(W2, b2, a), y[:, sample], strict=True):
                cost = cost + (output - float(wanted)) ** 2
        cost = cost * (1 / count)
        for _ in range(times):
            cost.backward()
        names = ("dW1", "db1", "dW2", "db2")
        return {"loss": cost.data} | {
            name: [[w.grad for w in row] for row in held] for name, held in zip(names, (W1, b1, W2, b2), strict=True)
        }

    return gradients


def test_as_it_is_it_agrees():
    report = check_network(candidate(), NETWORK, bias="column")
    assert report.ok, lines(report)


class Assigned(Value):
    """= for +=: of a number that is used several times, the last use counts."""

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Assigned(other)
        out = Assigned(self.data * other.data, (self, other), "*")

        def back():
            self.grad = other.data * out.grad
            other.grad = self.data * out.grad

        out._backward = back
        return out

    def relu(self):
        out = Assigned(max(self.data, 0), (self,), "ReLU")

        def back():
            self.grad += (out.data > 0) * out.grad

        out._backward = back
        return out

    def __add__(self, other):
        plain = super().__add__(other)
        out = Assigned(plain.data, plain._prev, "+")

        def back():
            plain.grad = out.grad
            plain._backward()

        out._backward = back
        return out


class Unmasked(Value):
    """A ReLU that passes everything back."""

    def relu(self):
        out = super().relu()

        def back():
            self.grad += out.grad

        out._backward = back
        return out

    def __add__(self, other):
        return rewrapped(super().__add__(other))

    def __mul__(self, other):
        return rewrapped(super().__mul__(other))


def rewrapped(value):
    value.__class__ = Unmasked
    return value


def test_assignment_for_accumulation_is_found():
    report = check_network(candidate(kind=Assigned), NETWORK, bias="column", degenerate=False)
    assert {"dC/dW[1]", "dC/dW[2]"} <= wrong(report)
    assert not wrong(report) & {"C"}


def test_a_way_back_gone_twice_is_found():
    """micrograd's own `backward` does not reset what it has added up."""
    report = check_network(candidate(times=2), NETWORK, bias="column", degenerate=False)
    assert not report.ok
    assert "C" not in wrong(report)


def test_a_relu_without_its_mask_is_named():
    report = check_network(candidate(kind=Unmasked), NETWORK, bias="column", degenerate=False)
    assert wrong(report) == {"dC/dW[1]", "dC/db[1]"}
    assert "derivative forgotten" in names(report), lines(report)
