"""What is known of each survey: identity, time, night and photometry of its alerts."""
