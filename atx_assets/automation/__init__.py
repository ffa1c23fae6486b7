"""What runs by itself: sensors, the nightly schedule, alerts. Not here: the jobs they ask for."""
