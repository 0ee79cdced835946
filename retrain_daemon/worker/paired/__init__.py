"""Paired statistics: how sure the difference of two models on the same rows is, by the method that fits the metric."""
