"""Records in, text for people out. Nothing here imports torch, so every table can be rebuilt from `results/` alone."""
