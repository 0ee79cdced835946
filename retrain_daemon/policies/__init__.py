"""Policy files: finding, strictly reading and re-reading them. What a policy means is in `core/policy.py`."""

from retrain_daemon.policies.expansion import Expanded, expand
from retrain_daemon.policies.fleet import Fleet
from retrain_daemon.policies.folder import PolicyFolder, PolicySet, Reading, read_files, read_policies, read_policy_text
from retrain_daemon.policies.nodes import Problem

__all__ = [
    "Expanded",
    "Fleet",
    "PolicyFolder",
    "PolicySet",
    "Problem",
    "Reading",
    "expand",
    "read_files",
    "read_policies",
    "read_policy_text",
]
