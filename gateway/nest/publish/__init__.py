"""Where readings go besides the archive and the page."""
