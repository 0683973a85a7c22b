"""Marks that can be trusted: a sandbox that runs strangers' code, a judge outside it, a gradebook, feedback and exports."""
