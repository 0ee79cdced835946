"""Policy files: finding, strictly reading and re-reading them. What a policy means is in `core/policy.py`."""

from retrain_daemon.policies.folder import PolicyFolder, PolicySet, Reading, read_policies, read_policy_text
from retrain_daemon.policies.nodes import Problem

__all__ = ["PolicyFolder", "PolicySet", "Problem", "Reading", "read_policies", "read_policy_text"]
