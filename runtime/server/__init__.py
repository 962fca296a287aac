"""HTTP: what `padinv serve` and `padinv studio` share, and the REST service itself. Needs the extra `serve`."""
