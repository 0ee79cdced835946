"""Tests of policies in `*.test.yaml` files: reading them strictly. How they are played is in `core/timeline`."""
