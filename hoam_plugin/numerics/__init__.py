"""Numerical methods that know nothing of steppers: tables, integrators, tolerances."""
