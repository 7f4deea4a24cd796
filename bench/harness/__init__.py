"""What all works share: building and installing, running and timing, rows of results."""
