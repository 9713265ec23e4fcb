"""Xen: domains, event channels, grants, resources, sHype hooks, the reference monitor and launch."""
