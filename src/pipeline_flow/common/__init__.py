"""Import paths of 1.0.8 that plugins use when they run. New plugins have no need of them."""
