"""What is told to whom, once: causes, messages, and how they are sent."""
