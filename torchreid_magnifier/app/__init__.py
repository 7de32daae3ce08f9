"""A page in the browser, to try a network by hand; everything stays on this machine."""
