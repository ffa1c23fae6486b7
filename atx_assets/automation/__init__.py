"""What runs by itself: the decisions of sensors, schedule and alerts. Not here: the jobs."""
