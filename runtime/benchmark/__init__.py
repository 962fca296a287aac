"""Measuring backends on the machine at hand: `padinv bench`, and the timing that `padinv verify` shares."""
