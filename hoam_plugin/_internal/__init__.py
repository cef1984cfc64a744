"""Tools that nothing outside of this package uses: checks, files, progress, hardware, clocks of the wall."""
