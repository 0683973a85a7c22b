"""Marks that can be trusted: a sandbox for strangers' code, a judge outside it, a gradebook, feedback and exports."""
