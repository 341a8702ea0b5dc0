"""Tiny encoders of many architectures, built offline, as people have them; and ways to spoil one."""

import json
import shutil
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

from rtlab.encoders import load_encoder
from rtlab.encoders.built_in import quiet

SIZE = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "num_hidden_layers": 2}
POSITIONS = {"max_position_embeddings": 64}
# Wide, so that attention is not uniform; a fault in it would not show otherwise.
WIDE = {"initializer_range": 0.2}
DISENTANGLED = {"relative_attention": True, "position_biased_input": False, "pos_att_type": ["c2p", "p2c"]}
KINDS = {
    "bert": SIZE | POSITIONS | WIDE,
    "distilbert": {"dim": 16, "hidden_dim": 16, "n_layers": 2, "n_heads": 2} | POSITIONS | WIDE,
    "roberta": SIZE | POSITIONS | WIDE,
    "xlm-roberta": SIZE | POSITIONS | WIDE,
    "camembert": SIZE | POSITIONS | WIDE,
    "electra": SIZE | POSITIONS | WIDE | {"embedding_size": 8},
    "mpnet": SIZE | POSITIONS | WIDE,
    "albert": SIZE | POSITIONS | WIDE | {"embedding_size": 8},
    "deberta": SIZE | POSITIONS | WIDE | DISENTANGLED,
    "deberta-v2": SIZE | POSITIONS | WIDE | DISENTANGLED,
    "ernie": SIZE | POSITIONS | WIDE,
    "modernbert": SIZE | POSITIONS | WIDE | {f"{role}_token_id": None for role in ("bos", "eos", "cls", "sep")},
    "mobilebert": SIZE | POSITIONS | WIDE | {f"{part}_size": 16 for part in ("intra_bottleneck", "true_hidden")},
    "squeezebert": SIZE | POSITIONS | WIDE | {"embedding_size": 16},
    "longformer": SIZE | POSITIONS | WIDE | {"attention_window": 8},
    "big_bird": SIZE | POSITIONS | WIDE,
    "convbert": SIZE | POSITIONS | WIDE | {"embedding_size": 8, "head_ratio": 1, "conv_kernel_size": 3},
    "nystromformer": SIZE | POSITIONS | WIDE | {"segment_means_seq_len": 16, "num_landmarks": 4},
    "fnet": SIZE | POSITIONS | WIDE,
    "funnel": {"block_sizes": [1, 1], "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 16, "num_decoder_layers": 1},
    "xlnet": {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 16},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "bos_token_id": None, "eos_token_id": None},
    "llama": SIZE | POSITIONS | WIDE,
    "t5": {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2},
    "bart": {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16},
}
DROPOUTS = ("dropout", "dropout_prob", "_pdrop")
PACKED = ("bert", "distilbert", "electra", "roberta", "xlm-roberta", "camembert")
ROBERTAS = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer")


def dropout_off(kind: str) -> dict[str, float]:
    """Settings that turn off whatever dropout an architecture has."""
    config = transformers.AutoConfig.for_model(kind).to_dict()
    return {name: 0.0 for name, value in config.items() if isinstance(value, float) and name.endswith(DROPOUTS)}


def write(folder: Path, kind: str = "bert", of: str = "AutoModel", tokenizer=None, **settings) -> Path:
    """Write an encoder of an architecture, whose weights are random but always the same.

    Args:
        folder: Where to.
        kind: One of `KINDS`.
        of: transformers' class that is saved; `AutoModelForMaskedLM` has no pooler where a classifier has one.
        tokenizer: By default a built-in encoder's, as the architecture takes it.
        settings: Changes of the configuration.
    """
    tokenizer = tokenizer or load_encoder("tiny-roberta" if kind in ROBERTAS else "tiny-bert").tokenizer
    common = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    with quiet(), torch.random.fork_rng():
        config = transformers.AutoConfig.for_model(kind, **common | KINDS[kind] | settings)
        config.architectures = []
        torch.manual_seed(0)
        getattr(transformers, of).from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def change(folder: Path, file: str = "config.json", **settings) -> Path:
    """Change settings in one of a folder's JSON files."""
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return folder


def rewrite(folder: Path, spoil) -> Path:
    """Write a folder's weights anew as `spoil` gives them for those that are there."""
    path = folder / "model.safetensors"
    weights = spoil(load_file(path))
    save_file({name: tensor.clone().contiguous() for name, tensor in weights.items()}, path, {"format": "pt"})
    return folder


def copy(folder: Path, to: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(folder, to))


def rows(folder: Path) -> int:
    """Rows of a folder's word embedding, as its configuration has it."""
    return int(json.loads((folder / "config.json").read_text())["vocab_size"])
