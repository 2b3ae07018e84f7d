"""Speed, measured as ratios in one run; nothing in `genvec` imports from here."""
