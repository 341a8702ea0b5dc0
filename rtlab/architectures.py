"""What our own code has to know of an architecture: one row each, under transformers' `model_type`.

An architecture without a row is trained by the reference engine, and its target modules are named one by one.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One row.

    Attributes:
        attention: Linear layers of the attention, as PEFT takes their names: the group `attention`.
        mlp: Those of the feed-forward part: with the former the group `attention+mlp`.
        key_value: Key and value projections of a self-attention whose function transformers lets one replace; `None`
            where it does not, so that sentences cannot be packed.
        layers: Where the transformer layers are in the model without a head.
        positions_behind_padding: Whether positions are counted from behind the padding token's id instead of from 0.
    """

    attention: tuple[str, ...]
    mlp: tuple[str, ...]
    key_value: tuple[str, str] | None
    layers: str = "encoder.layer"
    positions_behind_padding: bool = False

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """Names for several target modules at once."""
        return {"attention": self.attention, "attention+mlp": self.attention + self.mlp}


_BERT = Architecture(
    attention=("query", "key", "value", "attention.output.dense"),
    mlp=("intermediate.dense", "output.dense"),
    key_value=("key", "value"),
)
_ROBERTA = Architecture(
    attention=_BERT.attention, mlp=_BERT.mlp, key_value=_BERT.key_value, positions_behind_padding=True
)
ARCHITECTURES: Mapping[str, Architecture] = {
    "distilbert": Architecture(
        attention=("q_lin", "k_lin", "v_lin", "out_lin"),
        mlp=("lin1", "lin2"),
        key_value=("k_lin", "v_lin"),
        layers="transformer.layer",
    ),
    "bert": _BERT,
    "electra": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "mpnet": Architecture(
        attention=("attn.q", "attn.k", "attn.v", "attn.o"),
        mlp=("intermediate.dense", "output.dense"),
        key_value=None,
        positions_behind_padding=True,
    ),
}
PACKED = tuple(name for name, row in ARCHITECTURES.items() if row.key_value is not None)
