"""Pretrained encoders: found, checked weight by weight, loaded under a fresh head."""

from rtlab.encoders.encoder import FILES, ONLY_ASKED_FOR, Encoder, checked, load_encoder, packs, target_modules

__all__ = ["FILES", "ONLY_ASKED_FOR", "Encoder", "checked", "load_encoder", "packs", "target_modules"]
