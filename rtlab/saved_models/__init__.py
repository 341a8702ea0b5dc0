"""What a run has trained: saved and checked, described, opened again, used, merged."""
