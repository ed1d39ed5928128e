"""The mathematics of off-policy evaluation, as functions of arrays."""
