"""What each aten operation does to numbers: which move or decide, which add up, and what takes the others apart."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._decomp import decomposition_table


def names(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Operations that move, select or fill in numbers, and make no new ones. Views are known by their schema.
EXACT = names("""
    _to_copy _unsafe_view _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d abs adaptive_max_pool2d
    adaptive_max_pool3d amax amin aminmax arange argmax argmin cat ceil ceil_ clamp clamp_max clamp_min clone constant_pad_nd copy
    copy_ cummax cummin empty empty_like empty_permuted empty_strided eye fill fill_ flip floor floor_ fractional_max_pool2d
    fractional_max_pool3d full full_like gather index index_copy_ index_put index_select kthvalue lift_fresh lift_fresh_copy
    masked_fill masked_fill_ max max_pool2d_with_indices max_pool3d_with_indices max_unpool2d max_unpool3d maximum median min
    minimum mode msort nan_to_num nanmedian neg new_empty new_full new_zeros ones ones_like relu repeat roll round round_
    scalar_tensor scatter select_backward select_scatter slice_backward slice_scatter sort stack topk tril_indices triu_indices
    trunc trunc_ upsample_nearest1d upsample_nearest2d upsample_nearest3d where zero_ zeros zeros_like
""")
#: Operations that decide by the sign of a difference.
DECISIONS = names("eq ge gt le lt ne sgn sign")
#: Sums and inner products.
CONTRACTIONS = names("addmm baddbmm bmm mm sum")
#: Rounded once as they are, though torch could take them apart.
ROUNDED_ONCE = names("""
    add add_ cos div div_ erf erfc exp expm1 index_add log log1p mul mul_ pow pow_ reciprocal rsqrt rsub scatter_add sigmoid sin
    sqrt sub sub_ tanh true_divide
""")
WHOLE = EXACT | DECISIONS | CONTRACTIONS | ROUNDED_ONCE
#: Never 0: where their result is, it was flushed, and may be anything below the smallest normal number.
POSITIVE = names("erfc exp sigmoid")
#: Kernels that compute in the half precision itself also inside (measured, torch 2.13 on a CPU).
NARROW_INSIDE = names("_log_softmax binary_cross_entropy_with_logits glu_backward")


def _unless_single(operation: Any, alone: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    """The parts of a softmax; over a single number it is a constant, and nothing is rounded."""
    parts = decomposition_table[operation]
    axis = 2 if "backward" in operation._schema.name else 1

    def run(x: Tensor, *args: Any) -> Any:
        return alone(x) if x.shape[(x, *args)[axis]] == 1 else parts(x, *args)

    return run


#: What decides inside one kernel that torch cannot take apart; and constants.
_PARTS: dict[Any, Callable[..., Any]] = {
    **{
        operation: _unless_single(operation, alone)
        for operation, alone in (
            (torch.ops.aten._softmax.default, torch.ones_like),
            (torch.ops.aten._softmax_backward_data.default, torch.zeros_like),
            (torch.ops.aten._log_softmax.default, torch.zeros_like),
            (torch.ops.aten._log_softmax_backward_data.default, torch.zeros_like),
        )
    },
    torch.ops.aten.hardshrink_backward.default: lambda grad, x, lambd: torch.where(x.abs() <= lambd, 0.0, grad),
    torch.ops.aten.softshrink_backward.default: lambda grad, x, lambd: torch.where(x.abs() <= lambd, 0.0, grad),
}


@dataclass(frozen=True)
class Kind:
    """What an operation does to numbers; `parts` takes it apart."""

    exact: bool
    decides: bool
    contracts: bool
    narrow: bool
    positive: bool
    parts: Callable[..., Any] | None


@cache
def kind(operation: Any) -> Kind:
    """The kind of an aten or prims operation, from its name and schema."""
    name = operation._schema.name.split("::")[1]
    view = any(value.alias_info is not None and not value.alias_info.is_write for value in operation._schema.returns)
    parts = _PARTS.get(operation) or (None if view or name in WHOLE else decomposition_table.get(operation))
    return Kind(view or name in EXACT, name in DECISIONS, name in CONTRACTIONS, name in NARROW_INSIDE, name in POSITIVE, parts)
