"""Speed, as ratios between things run side by side. `make bench` runs all of it."""
