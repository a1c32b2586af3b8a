"""Shape annotations: jaxtyping where it is installed, plain tensors where it is not.

Tests check the shapes at run time. A deployed policy needs PyTorch alone, so the
annotations must not drag another package into it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
else:
    try:
        from jaxtyping import Bool, Float, Int
    except ImportError:

        class _Unchecked:
            """Substitute for any shaped tensor type: ``Float[Tensor, "B N"]`` is ``Tensor``."""

            def __class_getitem__(cls, item: Any) -> Any:
                return item[0]

        Bool = Float = Int = _Unchecked

__all__ = ["Bool", "Float", "Int", "Tensor"]
