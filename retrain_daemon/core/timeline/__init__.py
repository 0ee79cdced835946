"""Policies tried on a virtual timeline: a world that stands in for folders, workers, registry and journal, about which
the daemon's own `decide` decides.
"""
