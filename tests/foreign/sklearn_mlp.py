"""scikit-learn's backpropagation behind one function of parameters, input and target: the only place that knows its private names."""

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor

#: By the kind of answer: the estimator, the output activation that `fit` would choose, and the loss by its name in there.
KINDS = {
    "binary": (MLPClassifier, "logistic", "log_loss"),
    "multiclass": (MLPClassifier, "softmax", "log_loss"),
    "squared": (MLPRegressor, "identity", "squared_error"),
    "poisson": (MLPRegressor, "exp", "poisson"),
}


def backprop(kind, activation, alpha=0.0, times=1.0, estimator=None, with_loss=True):
    """The function (params, x, y) -> gradients of an MLP with these options, as `fit` computes them; rows are samples."""
    plain, out_activation, loss = KINDS[kind]

    def gradients(params, x, y):
        count = len(params) // 2
        model = (estimator or plain)(activation=activation, alpha=alpha)
        model.loss, model.out_activation_, model.n_layers_ = loss, out_activation, count + 1
        model.coefs_ = [params[f"W{layer + 1}"] for layer in range(count)]
        model.intercepts_ = [params[f"b{layer + 1}"] for layer in range(count)]
        widths = [W.shape[1] for W in model.coefs_]
        activations = [x, *(np.empty((len(x), width), x.dtype) for width in widths)]
        if kind == "multiclass":
            y = np.eye(widths[-1], dtype=x.dtype)[y]
        value, weights, biases = model._backprop(x, y, None, activations, [None] * count, [None] * count, [None] * count)
        found = {f"dW{layer + 1}": times * each for layer, each in enumerate(weights)}
        found |= {f"db{layer + 1}": times * each for layer, each in enumerate(biases)}
        return found | {"loss": times * value} if with_loss else found

    return gradients
