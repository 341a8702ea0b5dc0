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
            where it does not, or nobody has shown that it is right, so that sentences are not packed.
        layers: Where the transformer layers are in the model without a head, if sentences are packed.
        positions_behind_padding: Whether positions are counted from behind the padding token's id instead of from 0;
            of those that are not packed, the model itself is asked.
    """

    attention: tuple[str, ...]
    mlp: tuple[str, ...]
    key_value: tuple[str, str] | None = None
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
_LIKE_BERT = Architecture(attention=_BERT.attention, mlp=_BERT.mlp)
_LIKE_XLM = Architecture(attention=("q_lin", "k_lin", "v_lin", "out_lin"), mlp=("lin1", "lin2"))
_LIKE_LLAMA = Architecture(
    attention=("q_proj", "k_proj", "v_proj", "o_proj"), mlp=("gate_proj", "up_proj", "down_proj")
)
ARCHITECTURES: Mapping[str, Architecture] = {
    "distilbert": Architecture(
        attention=_LIKE_XLM.attention, mlp=_LIKE_XLM.mlp, key_value=("k_lin", "v_lin"), layers="transformer.layer"
    ),
    "bert": _BERT,
    "electra": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "mpnet": Architecture(attention=("attn.q", "attn.k", "attn.v", "attn.o"), mlp=_BERT.mlp),
    "albert": Architecture(
        attention=("attention.query", "attention.key", "attention.value", "attention.dense"), mlp=("ffn", "ffn_output")
    ),
    "deberta": Architecture(attention=("in_proj", "pos_proj", "pos_q_proj", "attention.output.dense"), mlp=_BERT.mlp),
    "deberta-v2": Architecture(
        attention=("query_proj", "key_proj", "value_proj", "attention.output.dense"), mlp=_BERT.mlp
    ),
    "modernbert": Architecture(attention=("Wqkv", "attn.Wo"), mlp=("Wi", "mlp.Wo")),
    "funnel": Architecture(attention=("q_head", "k_head", "v_head", "post_proj"), mlp=("linear_1", "linear_2")),
    "longformer": Architecture(
        attention=(*_BERT.attention, "query_global", "key_global", "value_global"), mlp=_BERT.mlp
    ),
    "jina_embeddings_v3": Architecture(attention=_LIKE_LLAMA.attention, mlp=("fc1", "fc2")),
    "xlm": _LIKE_XLM,
    "flaubert": _LIKE_XLM,
    **dict.fromkeys(
        (
            *(
                "big_bird",
                "data2vec-text",
                "ernie",
                "esm",
                "layoutlm",
                "luke",
                "markuplm",
                "megatron-bert",
                "mobilebert",
            ),
            *("rembert", "roberta-prelayernorm", "roc_bert", "roformer", "xlm-roberta-xl"),
        ),
        _LIKE_BERT,
    ),
    **dict.fromkeys(
        (
            *("eurobert", "gte", "nomic_bert"),
            *("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "smollm3", "olmo", "olmo2"),
        ),
        _LIKE_LLAMA,
    ),
}
PACKED = tuple(name for name, row in ARCHITECTURES.items() if row.key_value is not None)
