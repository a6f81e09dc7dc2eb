"""What people use NovaPulse for: tasks."""
