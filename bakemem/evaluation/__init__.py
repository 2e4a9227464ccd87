"""Benchmarks of lm-eval, asked of a base with or without a prompt, baked or not. `harness` needs the extra `eval`."""
