"""Jupyter kernels over any wire."""
