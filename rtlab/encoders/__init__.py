"""Pretrained encoders: found, checked weight by weight, loaded under a fresh head."""

from rtlab.encoders.encoder import FILES, Encoder, checked, load_encoder, packs, target_modules

__all__ = ["FILES", "Encoder", "checked", "load_encoder", "packs", "target_modules"]
