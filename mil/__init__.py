"""Bags to predictions: attention heads, Cox, evaluation, baselines, model files and the report."""
